#include "runtime/runner_device.h"

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
    for (const SampleJob& job : jobs_) {
      for (int64_t i = 0; i < job.rows; ++i) {
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
      runner_->compute(sampled_, {logits_rows_.data(), static_cast<int64_t>(logits_rows_.size())});
    }
  }

  void end() {
    runner_->wait();
    result_.vision_ms = vision_layers_ > 0 ? runner_->vision_ms() : 0;
    result_.text_ms = begun_.ms() - result_.vision_ms;
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
                              .may_end = static_cast<int64_t>(generated) >= job.params->min_tokens};
      Sample sample = choose_one(job, row + i, state);
      const int32_t token = sample.token;
      result_.tokens.push_back(std::move(sample));
      if (i + 1 == job.rows || token != job.drafts[static_cast<size_t>(i)]) return i + 1;
    }
  }

  Sample choose_one(const SampleJob& job, int64_t row, const SampleState& state) {
    if (!job.hash_logits && takes_largest(*job.params) && state.may_end) {
      if (const std::optional<int32_t> token = runner_->greedy_token(row)) {
        return {.token = *token};
      }
    }
    const Vec<const float> logits = runner_->logits_row(row);
    Sample sample = sampler_.sample(logits, *job.params, state);
    if (job.hash_logits) sample.logits_hash = logits_hash(logits);
    return sample;
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
