#include "cli/batch.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <unordered_set>

#include "cli/batch_files.h"
#include "cli/batch_progress.h"
#include "cli/commands.h"
#include "cli/prepare.h"
#include "core/clock.h"
#include "kernels/attention.h"
#include "openai/api_error.h"
#include "openai/batch_line.h"
#include "openai/reply.h"

#ifndef QVL_VERSION
#define QVL_VERSION "unknown"
#endif

namespace qvl {
namespace {

/// A context that most requests fit in and most machines hold; --max-model-len asks for more.
constexpr int64_t kDefaultContext = 32'768;
constexpr int64_t kCpuSequences = 8;
constexpr int64_t kGpuSequences = 64;
constexpr size_t kMaxWarnings = 16;

// A signal handler has nothing else to write to.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
volatile std::sig_atomic_t stop_signal = 0;

/// While one lives, the first Ctrl-C or SIGTERM is taken note of; a second one ends the program.
class StopSignals {
 public:
  StopSignals() {
    struct sigaction note {};
    note.sa_handler = [](int number) { stop_signal = number; };
    note.sa_flags = static_cast<int>(SA_RESETHAND);
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &note, &saved_[i]);
  }
  ~StopSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &saved_[i], nullptr);
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  static int received() { return stop_signal; }

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM};
  std::array<struct sigaction, kSignals.size()> saved_{};
};

/// A line on the terminal, rewritten a few times a second; nothing elsewhere.
class ProgressLine {
 public:
  ProgressLine() : shown_(isatty(STDERR_FILENO) != 0) {}
  bool is_shown() const { return shown_; }

  void update(const BatchCounts& counts, double seconds) {
    constexpr double kBetween = 0.2;
    if (!shown_ || (last_ >= 0 && seconds - last_ < kBetween)) return;
    last_ = seconds;
    fmt::print(stderr, "\r{}\x1b[K", batch_progress_text(counts, seconds));
    std::fflush(stderr);
  }
  void wipe() {
    if (last_ >= 0) fmt::print(stderr, "\r\x1b[K");
    last_ = -1;
  }

 private:
  bool shown_;
  double last_ = -1;  ///< when the line was last written; -1: never
};

/// What runs one batch on an engine.
struct BatchSetup {
  Engine& engine;
  ServedModel model;
  ParseOptions options;
  int64_t max_num_seqs;
};

class Batch {
 public:
  Batch(BatchSetup setup, LineReader input, BatchOutput output, int64_t total)
      : setup_(std::move(setup)), input_(std::move(input)), output_(std::move(output)) {
    counts_.total = total;
  }

  /// Until every request has its line or a signal comes.
  Status run();
  const BatchCounts& counts() const { return counts_; }
  double seconds() const { return clock_.ms() / 1000; }

 private:
  /// A request that is being answered.
  struct Job {
    std::string custom_id;
    Reply reply;
    std::vector<RequestId> requests;  ///< one per prompt
  };

  Status start_next();
  Status start(const LineReader::Line& line);
  Result<std::unique_ptr<Job>> submit(const BatchLine& line, int64_t number);
  Result<std::vector<PreparedRequest>> prepare(const BatchLine& line, ReplyOptions& reply,
                                               std::vector<std::string>& warnings);
  Status take(const Event& event);
  Status finish(Job& job);
  Status refuse(const std::string& custom_id, const Error& error);
  Status bad_line(const std::string& custom_id, const Error& error, int64_t number);
  void warn(const std::vector<std::string>& warnings, int64_t number);

  BatchSetup setup_;
  LineReader input_;
  BatchOutput output_;
  bool input_ended_ = false;
  std::unordered_set<std::string> seen_;  ///< ids of this run
  std::vector<std::unique_ptr<Job>> jobs_;
  std::map<RequestId, std::pair<Job*, size_t>> owners_;  ///< job and prompt of a request
  std::set<std::string> warnings_;
  BatchCounts counts_;
  ProgressLine progress_;
  Stopwatch clock_;
};

Status Batch::run() {
  while (StopSignals::received() == 0) {
    while (!input_ended_ && static_cast<int64_t>(jobs_.size()) < setup_.max_num_seqs &&
           StopSignals::received() == 0) {
      Status started = start_next();
      if (!started) return started;
      progress_.update(counts_, seconds());
    }
    if (jobs_.empty() && input_ended_) break;
    for (const Event& event : setup_.engine.step()) {
      Status taken = take(event);
      if (!taken) return taken;
    }
    progress_.update(counts_, seconds());
  }
  progress_.wipe();
  return {};
}

Status Batch::start_next() {
  const auto next = input_.next();
  if (!next) return next.error();
  if (!next->has_value()) {
    input_ended_ = true;
    return {};
  }
  const LineReader::Line& line = **next;
  if (!line.is_too_long && line.text.find_first_not_of(" \t") == std::string::npos) return {};
  return start(line);
}

Status Batch::start(const LineReader::Line& line) {
  if (line.is_too_long) {
    return bad_line("",
                    {ErrorCode::request_too_large,
                     fmt::format("found a line of more than {} bytes",
                                 setup_.options.fields.limits.max_body_bytes),
                     ""},
                    line.number);
  }
  BatchLine request;
  const Status parsed = parse_batch_line(line.text, setup_.options.fields.limits, request);
  if (!parsed) return bad_line(request.custom_id, parsed.error(), line.number);
  const std::string id = request.custom_id;
  if (!seen_.insert(id).second) {
    return bad_line(id, {ErrorCode::bad_request, "found it in an earlier line too", "custom_id"},
                    line.number);
  }
  if (output_.is_answered(id)) {
    ++counts_.skipped;
    return {};
  }
  Result<std::unique_ptr<Job>> job = submit(request, line.number);
  if (!job) return refuse(id, job.error());
  jobs_.push_back(std::move(*job));
  return {};
}

Result<std::vector<PreparedRequest>> Batch::prepare(const BatchLine& line, ReplyOptions& reply,
                                                    std::vector<std::string>& warnings) {
  ReplyHead head{.created = std::time(nullptr),
                 .model = setup_.model.names[0],
                 .fingerprint = setup_.model.fingerprint};
  if (line.kind == BatchLine::Kind::chat) {
    Result<ChatRequest> chat = read_chat_request(line.body, setup_.options);
    if (!chat) return chat.error();
    Result<PreparedRequest> prepared =
        prepare_chat(*chat, setup_.model, setup_.options.fields.limits);
    if (!prepared) return prepared.error();
    head.id = make_id("chatcmpl-");
    reply = chat_reply(*chat, *prepared, std::move(head));
    warnings = std::move(chat->options.warnings);
    std::vector<PreparedRequest> one;
    one.push_back(std::move(*prepared));
    return one;
  }
  Result<CompletionRequest> completion = read_completion_request(line.body, setup_.options);
  if (!completion) return completion.error();
  Result<std::vector<PreparedRequest>> prepared = prepare_completion(*completion, setup_.model);
  if (!prepared) return prepared.error();
  head.id = make_id("cmpl-");
  reply = completion_reply(*completion, *prepared, std::move(head));
  warnings = std::move(completion->options.warnings);
  return prepared;
}

Result<std::unique_ptr<Batch::Job>> Batch::submit(const BatchLine& line, int64_t number) {
  ReplyOptions options;
  std::vector<std::string> warnings;
  Result<std::vector<PreparedRequest>> prepared = prepare(line, options, warnings);
  if (!prepared) return prepared.error();
  warn(warnings, number);
  options.request.stream = false;  // an answer is one line
  auto job = std::make_unique<Job>(
      Job{line.custom_id, Reply(std::move(options), setup_.model.processor->tokenizer()), {}});
  for (PreparedRequest& one : *prepared) {
    const Result<RequestId> id = setup_.engine.submit(std::move(one.request));
    if (!id) {
      for (const RequestId submitted : job->requests) {
        setup_.engine.cancel(submitted);
        owners_.erase(submitted);
      }
      return id.error();
    }
    owners_[*id] = {job.get(), job->requests.size()};
    job->requests.push_back(*id);
  }
  return job;
}

Status Batch::take(const Event& event) {
  const auto owner = owners_.find(event.request);
  if (owner == owners_.end()) return {};  // of a request that was cancelled
  auto& [job, prompt] = owner->second;
  const size_t choice = job->reply.choice(prompt, event.index);
  if (event.token >= 0) ++counts_.completion_tokens;
  job->reply.push(choice, event);
  if (job->reply.wants_cancel(choice)) setup_.engine.cancel_answer(event.request, event.index);
  return job->reply.finished() ? finish(*job) : Status();
}

Status Batch::finish(Job& job) {
  Status written;
  if (job.reply.failed()) {
    written = refuse(job.custom_id, {ErrorCode::no_finite_logits, "", ""});
  } else {
    written = output_.append(batch_response_line(job.custom_id, 200, job.reply.body()));
    ++counts_.answered;
    counts_.prompt_tokens += job.reply.usage().prompt_tokens;
  }
  for (const RequestId id : job.requests) owners_.erase(id);
  std::erase_if(jobs_, [&](const std::unique_ptr<Job>& other) { return other.get() == &job; });
  return written;
}

Status Batch::refuse(const std::string& custom_id, const Error& error) {
  ++counts_.errors;
  return output_.append(
      batch_response_line(custom_id, http_status(error.code), dump(error_json(error))));
}

Status Batch::bad_line(const std::string& custom_id, const Error& error, int64_t number) {
  if (output_.is_bad(number)) {
    ++counts_.skipped;
    return {};
  }
  ++counts_.errors;
  return output_.append(batch_error_line(custom_id, error, number));
}

void Batch::warn(const std::vector<std::string>& warnings, int64_t number) {
  for (const std::string& text : warnings) {
    if (warnings_.size() >= kMaxWarnings || !warnings_.insert(text).second) continue;
    progress_.wipe();
    fmt::print(stderr, "qvl: line {}: {}\n", number, text);
  }
}

bool is_same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error);
}

/// "Qwen/Qwen3-VL-2B-Instruct" is also called "Qwen3-VL-2B-Instruct".
std::vector<std::string> model_names(const std::string& name, const std::string& typed) {
  std::vector<std::string> names{name, typed};
  for (const std::string& one : {name, typed}) {
    names.push_back(std::filesystem::path(one).filename().string());
  }
  return names;
}

Status check_flags(const BatchFlags& flags) {
  if (flags.output.empty()) {
    return Error{ErrorCode::bad_flag, "expected a file for the answers with --batch", "--output"};
  }
  if (is_same_file(flags.input, flags.output)) {
    return Error{ErrorCode::bad_flag, "found the same file as --batch, expected another",
                 "--output"};
  }
  return {};
}

}  // namespace

int run_batch(const BatchFlags& flags) {
  const Status usable = check_flags(flags);
  if (!usable) return fail(usable.error());
  ParseOptions options;
  const WireLimits& limits = options.fields.limits;
  Result<LineReader> input = LineReader::open(flags.input, limits.max_body_bytes);
  if (!input) return fail(input.error());
  Result<Prepared> prepared = prepare(flags.engine);
  if (!prepared) return fail(prepared.error());
  const Processor& processor = prepared->processor;
  const Result<ChosenSampling> sampling =
      choose_sampling(flags.sampling, prepared->model.generation, processor.tokenizer());
  if (!sampling) return fail(sampling.error());
  options.sampling = sampling->params;
  options.max_tokens = flags.sampling.max_tokens ? flags.sampling.max_tokens
                                                 : prepared->model.generation.max_new_tokens;
  Result<BatchOutput> output = BatchOutput::open(flags.output);
  if (!output) return fail(output.error());
  const Result<int64_t> total = count_requests(flags.input);
  if (!total) return fail(total.error());

  EngineConfig& config = prepared->config;
  if (config.max_model_len == 0) {
    config.max_model_len = std::min(prepared->context(), kDefaultContext);
  }
  config.max_num_seqs = prepared->on_gpu ? kGpuSequences : kCpuSequences;
  if (flags.max_num_seqs > 0) config.max_num_seqs = flags.max_num_seqs;
  if (flags.max_num_batched_tokens > 0) config.max_step_tokens = flags.max_num_batched_tokens;
  config.max_step_tokens = std::max(config.max_step_tokens, config.max_num_seqs);
  config.max_queue = config.max_num_seqs * limits.max_prompts * limits.max_n;
  config.max_patches = processor.max_patches();
  const Result<std::unique_ptr<Engine>> engine = load_engine(*prepared);
  if (!engine) return fail(engine.error());

  const MemoryPlan& plan = (*engine)->memory_plan();
  const StopSignals signals;
  Batch batch({.engine = **engine,
               .model = {.processor = &processor,
                         .names = model_names(prepared->model.name, flags.engine.model),
                         .context = std::min(plan.max_model_len, plan.kv_pages * kPageTokens),
                         .fingerprint = "qvl-" QVL_VERSION},
               .options = options,
               .max_num_seqs = config.max_num_seqs},
              std::move(*input), std::move(*output), *total);
  const Status ran = batch.run();
  fmt::print(stderr, "qvl: {}\n", batch_summary_text(batch.counts(), batch.seconds()));
  if (!ran) return fail(ran.error());
  const int signal = StopSignals::received();
  if (signal == 0) return kSuccess;
  fmt::print(stderr,
             "qvl: stopped with {} requests left; the same command goes on where this one ended\n",
             *total - batch.counts().done());
  constexpr int kSignalled = 128;
  return kSignalled + signal;
}

}  // namespace qvl
