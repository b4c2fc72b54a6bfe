#include "runtime/runner_device.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "core/clock.h"
#include "runtime/logits_hash.h"

namespace qvl {
namespace {

class RunnerDevice final : public Device {
 public:
  RunnerDevice(std::unique_ptr<Runner> runner, int64_t token_limit)
      : runner_(std::move(runner)), sampler_(runner_->config().text.vocab_size) {
    const int64_t vocab = runner_->config().text.vocab_size;
    if (token_limit > 0 && token_limit < vocab) {
      allowed_.assign(static_cast<size_t>((vocab + 63) / 64), 0);
      for (int64_t id = 0; id < token_limit; ++id) {
        allowed_[static_cast<size_t>(id / 64)] |= uint64_t{1} << (id % 64);
      }
    }
    if (!runner_->is_asynchronous()) thread_ = std::thread([this] { work(); });
  }

  ~RunnerDevice() override {
    if (!thread_.joinable()) return;
    hand_over(Turn::quit);
    thread_.join();
  }

  void start(const DeviceStep& step) override {
    pictures_.assign(step.begin_vision.begin(), step.begin_vision.end());
    vision_layers_ = step.vision_layers;
    runner_->prepare(step.chunks);
    has_rows_ = !step.chunks.empty();
    jobs_.assign(step.samples.begin(), step.samples.end());
    logits_rows_.clear();
    wanted_.clear();
    for (const SampleJob& job : jobs_) {
      for (int64_t i = 0; i < job.rows; ++i) {
        if (needs_candidates(job, i)) {
          wanted_.push_back(candidates_for(*job.params, static_cast<int64_t>(logits_rows_.size())));
        }
        logits_rows_.push_back(static_cast<int32_t>(job.row + i));
      }
    }
    sampled_ = step.sampled;
    if (thread_.joinable()) {
      hand_over(Turn::device);
    } else {
      begin();
    }
  }

  const StepResult& finish() override {
    if (thread_.joinable()) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return turn_ == Turn::host; });
    }
    if (failure_) std::rethrow_exception(failure_);
    if (!thread_.joinable()) end();
    result_.tokens.clear();
    result_.counts.clear();
    int64_t row = 0;
    for (const SampleJob& job : jobs_) {
      result_.counts.push_back(choose(job, row));
      row += job.rows;
    }
    return result_;
  }

 private:
  enum class Turn : uint8_t { host, device, quit };

  void hand_over(Turn turn) {
    {
      const std::lock_guard lock(mutex_);
      turn_ = turn;
    }
    changed_.notify_one();
  }

  void work() {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return turn_ != Turn::host; });
        if (turn_ == Turn::quit) return;
      }
      try {
        begin();
        end();
      } catch (...) {  // of a device: the engine's thread hears of it in finish()
        failure_ = std::current_exception();
      }
      hand_over(Turn::host);
    }
  }

  void begin() {
    begun_ = Stopwatch();
    if (!pictures_.empty()) runner_->begin_vision(pictures_);
    if (vision_layers_ > 0) runner_->advance_vision(vision_layers_);
    if (has_rows_) {
      runner_->compute(sampled_, {logits_rows_.data(), static_cast<int64_t>(logits_rows_.size())},
                       {wanted_.data(), static_cast<int64_t>(wanted_.size())});
    }
  }

  void end() {
    runner_->wait();
    result_.vision_ms = vision_layers_ > 0 ? runner_->vision_ms() : 0;
    result_.text_ms = begun_.ms() - result_.vision_ms;
  }

  static bool may_end(const SampleJob& job, int64_t i) {
    return job.sequence->generated() + i >= job.params->min_tokens;
  }
  /// Whether the device's greedy token is the answer to row `i` of the job.
  static bool is_greedy(const SampleJob& job, int64_t i) {
    return !job.hash_logits && takes_largest(*job.params) && may_end(job, i);
  }
  static bool needs_candidates(const SampleJob& job, int64_t i) {
    return !job.hash_logits && !is_greedy(job, i);
  }

  /// Tokens for one sequence, from row `row` of the logits on, as long as the drafts are right.
  /// Returns how many.
  int64_t choose(const SampleJob& job, int64_t row) {
    const Sequence& s = *job.sequence;
    std::span<const int32_t> answer = s.answer();
    if (job.rows > 1) {
      history_.assign(answer.begin(), answer.end());
      history_.insert(history_.end(), job.drafts.begin(), job.drafts.end());
      answer = history_;
    }
    for (int64_t i = 0;; ++i) {
      const auto generated = static_cast<size_t>(s.generated() + i);
      const SampleState state{.index = generated,
                              .prompt = s.prompt(),
                              .generated = answer.first(generated),
                              .allowed = allowed_,
                              .may_end = may_end(job, i)};
      Sample sample = choose_one(job, i, row + i, state);
      const int32_t token = sample.token;
      result_.tokens.push_back(std::move(sample));
      if (i + 1 == job.rows || token != job.drafts[static_cast<size_t>(i)]) return i + 1;
    }
  }

  /// For row `i` of the job, `row` of the logits. Which way the token is found follows from the row
  /// and its request alone.
  Sample choose_one(const SampleJob& job, int64_t i, int64_t row, const SampleState& state) {
    if (is_greedy(job, i)) {
      if (const std::optional<int32_t> token = runner_->greedy_token(row)) {
        return {.token = *token};
      }
    } else if (const Candidates* const ranked = candidates_of(row)) {
      SampleState below_limit = state;
      below_limit.allowed = {};  // the device has ranked no others
      if (std::optional<Sample> sample = sampler_.sample(*ranked, *job.params, below_limit)) {
        return std::move(*sample);
      }
    }
    const Vec<const float> logits = runner_->logits_row(row);
    Sample sample = sampler_.sample(logits, *job.params, state);
    if (job.hash_logits) sample.logits_hash = logits_hash(logits);
    return sample;
  }

  /// Null if none were asked for or the device does not rank.
  const Candidates* candidates_of(int64_t row) const {
    const auto wanted =
        std::lower_bound(wanted_.begin(), wanted_.end(), row,
                         [](const CandidateRequest& r, int64_t of) { return r.row < of; });
    if (wanted == wanted_.end() || wanted->row != row) return nullptr;
    return runner_->candidates(wanted - wanted_.begin());
  }

  std::unique_ptr<Runner> runner_;
  Sampler sampler_;
  std::vector<uint64_t> allowed_;  // tokens that have a text; empty: all
  std::vector<int32_t> history_;

  // Of the thread whose turn it is.
  std::vector<Picture> pictures_;
  int64_t vision_layers_ = 0;
  bool has_rows_ = false;
  std::vector<SampleJob> jobs_;
  std::vector<int32_t> logits_rows_;
  std::vector<CandidateRequest> wanted_;  // in order of their rows
  RowRoles sampled_;
  StepResult result_;
  Stopwatch begun_;
  std::exception_ptr failure_;

  std::mutex mutex_;
  std::condition_variable changed_;
  Turn turn_ = Turn::host;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Device> make_runner_device(std::unique_ptr<Runner> runner, int64_t token_limit) {
  return std::make_unique<RunnerDevice>(std::move(runner), token_limit);
}

}  // namespace qvl
