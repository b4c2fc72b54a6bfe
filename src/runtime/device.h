#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/sampler.h"
#include "runtime/sequence.h"

namespace qvl {

/// Tokens to choose for one sequence from the logits of `rows` rows of a step: one after what is
/// known, and one more for every draft that was right.
struct SampleJob {
  int64_t row = 0;  ///< first of the rows; row 0 is the first row of the first chunk
  int64_t rows = 1;
  const Sequence* sequence = nullptr;
  const SamplingParams* params = nullptr;
  std::span<const int32_t> drafts;  ///< [rows - 1]
  bool hash_logits = false;
};

/// What a device does in one step, in this order.
struct DeviceStep {
  std::span<const Picture> begin_vision;  ///< pictures of a new pass of the vision tower
  int64_t vision_layers = 0;              ///< layers of the pass that run now
  std::span<const SequenceChunk> chunks;  ///< prompt chunks first
  RowRoles sampled;                       ///< rows of all samples, by role
  std::span<const SampleJob> samples;     ///< in the order of their rows
};

struct StepResult {
  std::vector<Sample> tokens;   ///< of all samples, one after the other
  std::vector<int64_t> counts;  ///< per sample: how many of them, 1 to SampleJob::rows
  double vision_ms = 0;
  double text_ms = 0;
};

/// Runs steps, one at a time. Calls come from one thread.
class Device {
 public:
  virtual ~Device() = default;
  /// Begins the step and returns. Chunks are taken over before it returns; what samples point to
  /// stays as it is until finish().
  virtual void start(const DeviceStep& step) = 0;
  /// Waits for the step; valid until the next start().
  virtual const StepResult& finish() = 0;
};

}  // namespace qvl
