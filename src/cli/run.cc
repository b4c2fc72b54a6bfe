#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/engine_flags.h"
#include "cli/load_bar.h"
#include "cli/sampling_flags.h"
#include "core/clock.h"
#include "model/processor.h"
#include "runtime/answer.h"
#include "runtime/engine_impl.h"
#include "runtime/memory.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

struct RunFlags {
  EngineFlags engine;
  SamplingFlags sampling;
  std::vector<std::string> inputs;
  std::string system;
  double fps = 24.0;
  int logprobs = -1;
  bool json = false;
  bool stats = false;
};

/// What the user gave, in the order given.
struct Question {
  Json content = Json::array();
  std::vector<MediaItem> media;
  MediaTimings timings;
};

bool is_file_or_folder(const std::string& text) {
  std::error_code error;
  return text.size() < 4096 && std::filesystem::exists(text, error);
}

/// A name that looks like a file but is none is more likely a typing error than a question.
bool looks_like_file(const std::string& text) {
  if (text.find_first_of(" \n\t") != std::string::npos) return false;
  std::string extension = std::filesystem::path(text).extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* known : {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".mp4", ".pdf"}) {
    if (extension == known) return true;
  }
  return false;
}

Result<Question> read_question(const RunFlags& flags, const Processor& processor) {
  Question question;
  for (const std::string& input : flags.inputs) {
    std::error_code error;
    if (std::filesystem::is_directory(input, error)) {
      Result<MediaItem> video = processor.frames(input, flags.fps, question.timings);
      if (!video) return video.error();
      question.media.push_back(std::move(*video));
      question.content.push_back({{"type", "video"}, {"video", input}});
    } else if (is_file_or_folder(input)) {
      Result<MediaItem> image = processor.image(input, question.timings);
      if (!image) return image.error();
      question.media.push_back(std::move(*image));
      question.content.push_back({{"type", "image"}, {"image", input}});
    } else if (looks_like_file(input)) {
      return Error{ErrorCode::file_not_found, "", input};
    } else {
      question.content.push_back({{"type", "text"}, {"text", input}});
    }
  }
  return question;
}

/// "VmHWM: 123 kB": the most memory the process ever had resident.
int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    long long kib = 0;
    if (std::sscanf(line.c_str(), "VmHWM: %lld", &kib) == 1) return kib * 1024;
  }
  return 0;
}

/// Runs one request to its end; `on_text` gets pieces of the answer as they become certain. Returns
/// the events that carry tokens.
template <class OnText>
std::vector<Event> generate(Engine& engine, RequestId id, Answer& answer, const OnText& on_text) {
  std::vector<Event> events;
  while (!answer.finished()) {
    for (Event& event : engine.step()) {
      if (event.request != id) continue;
      if (event.token >= 0 && !answer.wants_cancel()) events.push_back(event);
      const std::string text = answer.push(event);
      if (!text.empty()) on_text(text);
    }
    if (answer.wants_cancel()) engine.cancel(id);
  }
  return events;
}

/// Null for the model's own end and for answers that did not end by themselves.
Json stop_reason_json(const Answer& answer) {
  const StopReason reason = answer.stop_reason();
  if (const auto* text = std::get_if<std::string>(&reason)) return *text;
  if (const auto* token = std::get_if<int32_t>(&reason)) return *token;
  return nullptr;
}

Json logprobs_json(const std::vector<Event>& events, const Tokenizer& tokenizer) {
  Json list = Json::array();
  for (const Event& event : events) {
    Json top = Json::array();
    for (const TokenLogprob& t : event.top_logprobs) {
      top.push_back({{"token", tokenizer.bytes(t.token)}, {"id", t.token}, {"logprob", t.logprob}});
    }
    list.push_back({{"token", tokenizer.bytes(event.token)},
                    {"id", event.token},
                    {"logprob", event.logprob},
                    {"top_logprobs", top}});
  }
  return list;
}

double tokens_per_second(int64_t tokens, double ms) {
  return ms > 0 ? static_cast<double>(tokens) * 1000.0 / ms : 0;
}

/// Milliseconds from each token to the next, ascending.
std::vector<double> token_gaps_ms(const std::vector<Event>& events) {
  std::vector<double> gaps;
  for (size_t i = 1; i < events.size(); ++i) {
    gaps.push_back(events[i].at_ms - events[i - 1].at_ms);
  }
  std::sort(gaps.begin(), gaps.end());
  return gaps;
}

/// Of ascending values; 0 if there are none.
double percentile(const std::vector<double>& values, double fraction) {
  if (values.empty()) return 0;
  return values[static_cast<size_t>(fraction * static_cast<double>(values.size() - 1))];
}

Json stats_json(const Answer& answer, const std::vector<double>& gaps, const Engine& engine,
                const MediaTimings& media) {
  const Timings& t = answer.timings();
  return {
      {"load_ms", engine.load_stats().load_ms},
      {"media_decode_ms", media.decode_ms},
      {"media_resize_ms", media.resize_ms},
      {"vision_ms", t.vision_ms},
      {"prefill_ms", t.prefill_ms},
      {"first_token_ms", t.first_token_ms},
      {"decode_ms", t.decode_ms},
      {"decode_tokens_per_s", tokens_per_second(answer.usage().completion_tokens - 1, t.decode_ms)},
      {"token_ms_median", percentile(gaps, 0.5)},
      {"token_ms_p90", percentile(gaps, 0.9)},
      {"memory_planned_bytes", engine.memory_plan().total_bytes()},
      {"memory_peak_bytes", peak_resident_bytes()}};
}

void print_stats(const Answer& answer, const std::vector<double>& gaps, const Engine& engine,
                 const MediaTimings& media, const std::string& sampling) {
  const Timings& t = answer.timings();
  const Usage& u = answer.usage();
  const int64_t peak = peak_resident_bytes();
  const int64_t planned = engine.memory_plan().total_bytes();
  fmt::print(stderr, "\nmodel     {} loaded in {:.2f} s, {}\n",
             format_bytes(engine.load_stats().weight_bytes), engine.load_stats().load_ms / 1000,
             engine.load_stats().backend);
  fmt::print(stderr, "sampling  {}\n", sampling);
  fmt::print(stderr, "tokens    {} of prompt ({} of pictures), {} of answer, ended by {}\n",
             u.prompt_tokens, u.image_tokens, u.completion_tokens,
             finish_reason_name(answer.finish_reason()));
  fmt::print(stderr, "media     decode {:.1f} ms, resize {:.1f} ms\n", media.decode_ms,
             media.resize_ms);
  fmt::print(stderr, "vision    {:.1f} ms\n", t.vision_ms);
  fmt::print(stderr, "prefill   {:.1f} ms, {:.1f} tokens/s\n", t.prefill_ms,
             tokens_per_second(u.prompt_tokens, t.prefill_ms));
  fmt::print(
      stderr,
      "decode    {:.1f} ms, {:.1f} tokens/s; a token takes {:.1f} ms (median), {:.1f} ms (p90)\n",
      t.decode_ms, tokens_per_second(u.completion_tokens - 1, t.decode_ms), percentile(gaps, 0.5),
      percentile(gaps, 0.9));
  fmt::print(stderr, "memory    {} at most, {:+.1f} % of the plan:\n{}", format_bytes(peak),
             100.0 * static_cast<double>(peak - planned) / static_cast<double>(planned),
             engine.memory_plan().text());
}

int run(const RunFlags& flags) {
  Result<EngineConfig> config = engine_config(flags.engine);
  if (!config) return fail(config.error());
  const Result<ProcessorOptions> options = processor_options(flags.engine);
  if (!options) return fail(options.error());
  const Result<ModelFiles> model = open_model(flags.engine.model, config->load_format);
  if (!model) return fail(model.error());
  const Result<Processor> processor = Processor::load(*model, *options);
  if (!processor) return fail(processor.error());

  Result<Question> question = read_question(flags, *processor);
  if (!question) return fail(question.error());
  Json messages = Json::array();
  if (!flags.system.empty()) messages.push_back({{"role", "system"}, {"content", flags.system}});
  messages.push_back({{"role", "user"}, {"content", question->content}});
  Result<Prompt> prompt = processor->prompt(messages, nullptr, question->media);
  if (!prompt) return fail(prompt.error());

  Request request;
  request.prompt_tokens = std::move(prompt->tokens);
  request.spans = std::move(prompt->spans);
  Result<ChosenSampling> sampling =
      choose_sampling(flags.sampling, model->generation, processor->tokenizer());
  if (!sampling) return fail(sampling.error());
  sampling->params.top_logprobs = flags.logprobs;
  const Status valid = validate(sampling->params);
  if (!valid) return fail(valid.error());
  request.sampling = sampling->params;

  // One known question: the plan is made to its measure, and what cannot fit is refused before
  // weights are read.
  const auto tokens = static_cast<int64_t>(request.prompt_tokens.size());
  const int64_t limit =
      config->max_model_len > 0
          ? std::min(config->max_model_len, model->config.text.max_position_embeddings)
          : model->config.text.max_position_embeddings;
  if (tokens >= limit) {
    return fail({ErrorCode::prompt_too_long,
                 fmt::format("found {} tokens of prompt, expected at most {} and one of answer",
                             tokens, limit - 1),
                 ""});
  }
  config->max_model_len = std::min(limit, tokens + std::min(sampling->params.max_tokens, limit));
  config->max_step_tokens = std::min(config->max_step_tokens, tokens);
  config->max_patches = model->config.vision.merge_unit();
  for (MediaItem& item : question->media) {
    config->max_patches = std::max(config->max_patches, item.patches.grid.patches());
    request.media.push_back(std::move(item.patches));
  }
  config->token_limit = processor->tokenizer().size();
  LoadBar bar(*model->weights, *config);
  Result<std::unique_ptr<Engine>> engine = make_engine(*model, *config);
  bar.finish();
  if (!engine) return fail(engine.error());
  for (const std::string& note : (*engine)->memory_plan().notes)
    fmt::print(stderr, "qvl: {}\n", note);

  const Result<RequestId> id = (*engine)->submit(std::move(request));
  if (!id) return fail(id.error());
  Answer answer(processor->tokenizer(), sampling->params);
  const std::vector<Event> events = generate(**engine, *id, answer, [&](const std::string& text) {
    if (flags.json) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  });
  if (answer.finish_reason() == FinishReason::error) {
    return fail({ErrorCode::no_finite_logits, fmt::format("after {} tokens", events.size()), ""});
  }
  const std::vector<double> gaps = token_gaps_ms(events);
  if (flags.json) {
    Json out = {{"model", model->name},
                {"answer", answer.text()},
                {"finish_reason", finish_reason_name(answer.finish_reason())},
                {"stop_reason", stop_reason_json(answer)},
                {"usage",
                 {{"prompt_tokens", answer.usage().prompt_tokens},
                  {"image_tokens", answer.usage().image_tokens},
                  {"cached_tokens", answer.usage().cached_tokens},
                  {"completion_tokens", answer.usage().completion_tokens}}},
                {"stats", stats_json(answer, gaps, **engine, question->timings)}};
    if (flags.logprobs >= 0) out["logprobs"] = logprobs_json(events, processor->tokenizer());
    fmt::print("{}\n", out.dump(-1, ' ', false, Json::error_handler_t::replace));
  } else {
    fmt::print("\n");
  }
  if (flags.stats) print_stats(answer, gaps, **engine, question->timings, sampling->origins);
  return kSuccess;
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App& run_app =
      *app.add_subcommand("run", "answer one question about text, pictures or a folder of frames");
  run_app
      .add_option("model", flags->engine.model,
                  "checkpoint folder, id such as Qwen/Qwen3-VL-2B-Instruct, or preset with "
                  "--load-format dummy")
      ->required();
  run_app.add_option("inputs", flags->inputs, "pictures, folders of frames and text, in any order")
      ->required();
  add_engine_flags(run_app, flags->engine);
  add_sampling_flags(run_app, flags->sampling);
  run_app.add_option("--system", flags->system, "system message");
  run_app.add_option("--fps", flags->fps, "frames per second of a folder of frames")
      ->check(CLI::Range(0.001, 1000.0))
      ->capture_default_str();
  run_app.add_option("--logprobs", flags->logprobs,
                     "with --json: log probabilities and this many alternatives per token");
  run_app.add_flag("--json", flags->json, "print one JSON object instead of streaming text");
  run_app.add_flag("--stats", flags->stats,
                   "print timings and the memory bill to the standard error");
  run_app.callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace qvl
