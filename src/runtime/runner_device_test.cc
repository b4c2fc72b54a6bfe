// A device that ranks candidates chooses the tokens of one that does not, and reads a row of logits
// only where they leave the token open.

#include "runtime/runner_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace qvl {
namespace {

constexpr int64_t kVocab = 3000;

enum class Ranks : uint8_t { yes, no };

struct Reads {
  int64_t rows = 0;
};

/// A model without one: logits of a row are random numbers.
class RandomRunner final : public Runner {
 public:
  RandomRunner(Ranks ranks, int64_t limit, Reads& reads)
      : ranks_(ranks), limit_(limit), reads_(&reads) {
    config_.text.vocab_size = kVocab;
  }

  void prepare(std::span<const SequenceChunk>) override {}
  void run(LayerObserver*) override {}
  Mat<const float> logits(RowRoles, Vec<const int32_t>) override { return all(); }
  void compute(RowRoles, Vec<const int32_t> rows, Vec<const CandidateRequest> wanted) override {
    rows_ = rows.size;
    logits_.clear();
    for (const int32_t row : rows) {
      std::mt19937 random(static_cast<uint32_t>(row));
      std::normal_distribution<float> normal;
      for (int64_t t = 0; t < kVocab; ++t) logits_.push_back(3 * normal(random));
    }
    ranked_.resize(static_cast<size_t>(wanted.size));
    Ref ref;
    rank_candidates(ref, all(), limit_, wanted, {ranked_.data(), wanted.size});
  }
  void wait() override {}
  bool is_asynchronous() const override { return true; }
  std::optional<int32_t> greedy_token(int64_t row) const override {
    if (ranks_ == Ranks::no) return std::nullopt;
    const float* const logits = all().row(row);
    return static_cast<int32_t>(std::max_element(logits, logits + limit_) - logits);
  }
  const Candidates* candidates(int64_t index) const override {
    return ranks_ == Ranks::yes ? &ranked_[static_cast<size_t>(index)] : nullptr;
  }
  Vec<const float> logits_row(int64_t row) override {
    ++reads_->rows;
    return {all().row(row), kVocab};
  }

  void begin_vision(std::span<const Picture>) override {}
  bool advance_vision(int64_t) override { return true; }
  double vision_ms() const override { return 0; }
  ActMat features(RowRange) override { return {}; }
  Mat<const float> vision_hidden() override { return {}; }

 private:
  Mat<const float> all() const { return {logits_.data(), rows_, kVocab, kVocab}; }

  Ranks ranks_;
  int64_t limit_;
  Reads* reads_;
  int64_t rows_ = 0;
  std::vector<float> logits_;
  std::vector<Candidates> ranked_;
};

/// One step that samples for every request, and how many rows of logits it read.
struct Step {
  std::vector<Sample> tokens;
  std::vector<int64_t> counts;
  int64_t rows_read = 0;
};

struct Asked {
  SamplingParams params;
  std::vector<int32_t> drafts = {};
  bool hash_logits = false;
};

Step step(Ranks ranks, int64_t limit, const std::vector<Asked>& requests) {
  Reads reads;
  const auto device = make_runner_device(std::make_unique<RandomRunner>(ranks, limit, reads),
                                         limit == kVocab ? 0 : limit);
  Sequence sequence;
  sequence.tokens = {1, 2, 3, 4, 5, 6};
  sequence.prompt_tokens = 4;
  std::vector<SequenceChunk> chunks;
  std::vector<SampleJob> jobs;
  int64_t row = 0;
  for (const Asked& asked : requests) {
    const int64_t rows = 1 + static_cast<int64_t>(asked.drafts.size());
    chunks.push_back({.sequence = &sequence,
                      .begin = 5,
                      .rows = rows,
                      .role = Role::generated,
                      .drafts = asked.drafts});
    jobs.push_back({.row = row,
                    .rows = rows,
                    .sequence = &sequence,
                    .params = &asked.params,
                    .drafts = asked.drafts,
                    .hash_logits = asked.hash_logits});
    row += rows;
  }
  device->start({.chunks = chunks, .sampled = {.generated = row}, .samples = jobs});
  const StepResult& result = device->finish();
  return {result.tokens, result.counts, reads.rows};
}

/// The tokens of both devices, if they are the same, and the rows that the ranking one read.
Step same_step(int64_t limit, const std::vector<Asked>& requests) {
  const Step plain = step(Ranks::no, limit, requests);
  Step ranked = step(Ranks::yes, limit, requests);
  EXPECT_EQ(ranked.counts, plain.counts);
  EXPECT_EQ(ranked.tokens.size(), plain.tokens.size());
  for (size_t i = 0; i < std::min(plain.tokens.size(), ranked.tokens.size()); ++i) {
    EXPECT_EQ(ranked.tokens[i].token, plain.tokens[i].token) << i;
    EXPECT_EQ(ranked.tokens[i].logits_hash, plain.tokens[i].logits_hash) << i;
    EXPECT_NEAR(ranked.tokens[i].logprob, plain.tokens[i].logprob, 1e-5) << i;
  }
  return ranked;
}

const SamplingParams kGreedy{};
const SamplingParams kDefaults{.temperature = 0.7F, .top_k = 20, .top_p = 0.8F, .seed = 5};

TEST(RunnerDevice, ReadsNoLogitsForRequestsThatCandidatesDecide) {
  for (const int64_t limit : {kVocab, int64_t{1700}}) {
    SamplingParams long_answer = kGreedy;
    long_answer.min_tokens = 10;
    long_answer.eos_token_ids = {7};
    SamplingParams talkative = kDefaults;
    talkative.top_logprobs = 5;
    const Step s = same_step(limit, {{kGreedy},
                                     {kDefaults},
                                     {kGreedy},
                                     {long_answer},
                                     {talkative},
                                     {{.temperature = 0.5F, .top_p = 0.9F}},
                                     {kDefaults}});
    EXPECT_EQ(s.rows_read, 0);
    EXPECT_EQ(s.tokens[4].top.size(), 5U);
  }
}

TEST(RunnerDevice, ReadsTheLogitsOfRowsThatCandidatesLeaveOpen) {
  const SamplingParams flat{.temperature = 2.0F, .top_p = 0.99F};
  SamplingParams eager = kDefaults;
  eager.presence_penalty = -2;
  EXPECT_EQ(same_step(kVocab, {{kDefaults}, {flat}, {kGreedy}, {eager}, {kDefaults}}).rows_read, 2);
}

TEST(RunnerDevice, ReadsTheLogitsThatAreHashed) {
  const Step s = same_step(kVocab, {{kGreedy}, {kGreedy, {}, true}, {kDefaults, {}, true}});
  EXPECT_EQ(s.rows_read, 2);
  EXPECT_EQ(s.tokens[0].logits_hash, 0U);
  EXPECT_NE(s.tokens[1].logits_hash, 0U);
  EXPECT_NE(s.tokens[2].logits_hash, s.tokens[1].logits_hash);
}

TEST(RunnerDevice, ChecksDraftsAgainstCandidates) {
  const Step alone = same_step(kVocab, {{kDefaults}});
  const int32_t right = alone.tokens[0].token;
  const Step s = same_step(kVocab, {{kDefaults, {right, 11, 12}}, {kDefaults}, {kGreedy, {9}}});
  EXPECT_EQ(s.counts, (std::vector<int64_t>{2, 1, 1}));
  EXPECT_EQ(s.tokens[0].token, right);
  EXPECT_EQ(s.rows_read, 0);
}

}  // namespace
}  // namespace qvl
