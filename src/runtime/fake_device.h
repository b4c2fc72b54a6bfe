#pragma once

#include "runtime/device.h"

namespace qvl {

/// A device without a model, for simulations and for measuring the engine itself. A token follows
/// from a hash of all that its sequence sees through its block table: tokens, features, positions,
/// roles. So a wrong page, a stale row, features of another picture or a token that was computed in
/// the wrong role change the output. Sampling parameters and drafts work as in a real one,
/// greedily.
class FakeDevice final : public Device {
 public:
  struct Config {
    int64_t kv_pages = 0;
    int64_t feature_rows = 0;
    int64_t merge_unit = 4;
    int64_t vision_layers = 1;
    int32_t vocab_size = 1000;
  };
  explicit FakeDevice(const Config& config);

  void start(const DeviceStep& step) override;
  const StepResult& finish() override;

  /// The same hash for one sequence that is alone in the world.
  class Oracle {
   public:
    void push(uint64_t value, Role role);  ///< a token id or feature_value()
    int32_t next_token(int32_t vocab_size) const;

   private:
    uint64_t hash_ = 0;
    uint64_t position_ = 0;
  };
  /// What row `row` of a picture's features holds. Pictures differ by their first 8 bytes.
  static uint64_t feature_value(const uint8_t* patches, int64_t row);

 private:
  struct Chunk {
    int64_t first_row = 0;
    int64_t begin = 0;
    Role role = Role::prompt;
    std::vector<int32_t> block_table;
  };

  Config config_;
  std::vector<uint64_t> kv_;  // hash of a sequence up to and with this token
  std::vector<uint64_t> features_;
  std::vector<Picture> pass_;
  int64_t next_layer_ = 0;

  // The step under way.
  int64_t vision_layers_ = 0;
  std::vector<uint64_t> values_;  // by row
  std::vector<Chunk> chunks_;
  std::vector<int64_t> feature_row_of_;  // by row; -1: none
  std::vector<uint64_t> hashes_;
  std::vector<SampleJob> samples_;
  StepResult result_;
};

}  // namespace qvl
