#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "cli/batch.h"
#include "cli/commands.h"
#include "cli/generation.h"
#include "cli/inputs.h"
#include "cli/prepare.h"
#include "cli/sampling_flags.h"
#include "cli/text_output.h"
#include "runtime/memory.h"

namespace qvl {
namespace {

/// More answers than this wait for each other: each takes cache for the whole conversation.
constexpr int kAnswersAtOnce = 16;

struct RunFlags {
  EngineFlags engine;
  SamplingFlags sampling;
  std::vector<std::string> inputs;
  std::string batch;
  std::string output;
  int64_t max_num_seqs = 0;
  int64_t max_num_batched_tokens = 0;
  std::string system;
  double fps = 24.0;
  int logprobs = -1;
  int n = 1;
  bool json = false;
  bool stats = false;
  bool plain = false;
};

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

Json stats_json(const Generation& generation, const Engine& engine, const MediaTimings& media) {
  const Timings& t = generation.answer.timings();
  const int64_t completion_tokens = generation.answer.usage().completion_tokens;
  const std::vector<double> gaps = token_gaps_ms(generation.events);
  return {{"load_ms", engine.load_stats().load_ms},
          {"media_decode_ms", media.decode_ms},
          {"media_resize_ms", media.resize_ms},
          {"vision_ms", t.vision_ms},
          {"prefill_ms", t.prefill_ms},
          {"first_token_ms", t.first_token_ms},
          {"decode_ms", t.decode_ms},
          {"decode_tokens_per_s", tokens_per_second(completion_tokens - 1, t.decode_ms)},
          {"token_ms_median", percentile(gaps, 0.5)},
          {"token_ms_p90", percentile(gaps, 0.9)},
          {"memory_planned_bytes", engine.memory_plan().total_bytes()},
          {"memory_peak_bytes", peak_resident_bytes()}};
}

void print_stats(const Generation& generation, const Engine& engine, const MediaTimings& media,
                 const std::string& sampling) {
  const int64_t peak = peak_resident_bytes();
  const int64_t planned = engine.memory_plan().total_bytes();
  fmt::print(stderr, "\nmodel     {} loaded in {:.2f} s, {}\n",
             format_bytes(engine.load_stats().weight_bytes), engine.load_stats().load_ms / 1000,
             engine.load_stats().backend);
  fmt::print(stderr, "sampling  {}\n", sampling);
  fmt::print(stderr, "{}", stats_text(generation, media));
  if (const EngineStats stats = engine.stats(); stats.drafts > 0) {
    fmt::print(
        stderr, "drafts    {} guessed, {} right ({:.0f} %)\n", stats.drafts, stats.accepted_drafts,
        100.0 * static_cast<double>(stats.accepted_drafts) / static_cast<double>(stats.drafts));
  }
  fmt::print(stderr, "memory    {} at most, {:+.1f} % of the plan:\n{}", format_bytes(peak),
             100.0 * static_cast<double>(peak - planned) / static_cast<double>(planned),
             engine.memory_plan().text());
}

/// One known question: the plan is made to its measure, and what cannot fit is refused before
/// weights are read.
Status fit_to_question(Prepared& prepared, const Request& request) {
  EngineConfig& config = prepared.config;
  const auto tokens = static_cast<int64_t>(request.prompt_tokens.size());
  const int64_t limit = prepared.context();
  if (tokens >= limit) {
    return Error{ErrorCode::prompt_too_long,
                 fmt::format("found {} tokens of prompt, expected at most {} and one of answer",
                             tokens, limit - 1),
                 ""};
  }
  config.max_model_len = std::min(limit, tokens + std::min(request.sampling.max_tokens, limit));
  config.max_num_seqs = std::min(request.sampling.n, kAnswersAtOnce);
  config.max_step_tokens = std::max(std::min(config.max_step_tokens, tokens), config.max_num_seqs);
  config.max_patches = prepared.model.config.vision.merge_unit();
  for (const Patches& media : request.media) {
    config.max_patches = std::max(config.max_patches, media.grid.patches());
  }
  return {};
}

/// Streams the text as it comes.
Result<std::vector<Generation>> one_answer(Engine& engine, Request request,
                                           const Tokenizer& tokenizer, TextOutput& output) {
  Result<Generation> generation =
      generate(engine, std::move(request), tokenizer,
               {.on_text = [&](const std::string& text) { output.write(text); }});
  if (!generation) return generation.error();
  output.finish();
  std::vector<Generation> all;
  all.push_back(std::move(*generation));
  return all;
}

void print_answers(const std::vector<Generation>& all, TextStyle style) {
  for (size_t i = 0; i < all.size(); ++i) {
    fmt::print("{}[answer {} of {}]\n", i > 0 ? "\n" : "", i + 1, all.size());
    TextOutput output(style);
    output.write(all[i].answer.text());
    output.finish();
  }
}

Json answer_json(const Generation& g, const Tokenizer& tokenizer, bool logprobs) {
  Json out = {{"answer", g.answer.text()},
              {"finish_reason", finish_reason_name(g.answer.finish_reason())},
              {"stop_reason", stop_reason_json(g.answer)}};
  if (logprobs) out["logprobs"] = logprobs_json(g.events, tokenizer);
  return out;
}

/// The fields of the one answer, or `answers`, a list of them; usage counts all.
Json run_json(const std::string& model, const std::vector<Generation>& all,
              const Tokenizer& tokenizer, bool logprobs) {
  Json out = {{"model", model}};
  if (all.size() == 1) {
    out.update(answer_json(all.front(), tokenizer, logprobs));
  } else {
    for (const Generation& g : all) out["answers"].push_back(answer_json(g, tokenizer, logprobs));
  }
  const Usage& first = all.front().answer.usage();
  int64_t completion_tokens = 0;
  for (const Generation& g : all) completion_tokens += g.answer.usage().completion_tokens;
  out["usage"] = {{"prompt_tokens", first.prompt_tokens},
                  {"image_tokens", first.image_tokens},
                  {"cached_tokens", first.cached_tokens},
                  {"completion_tokens", completion_tokens}};
  return out;
}

/// The first argument is a model unless it can only be part of the question: the only argument, a
/// text of several words, or a picture's file.
bool names_model(const RunFlags& flags) {
  const std::string& first = flags.engine.model;
  std::error_code ignored;
  if (std::filesystem::exists(first + "/config.json", ignored)) return true;
  return !flags.inputs.empty() && first.find_first_of(" \n\t") == std::string::npos &&
         first != "-" && !std::filesystem::is_regular_file(first, ignored);
}

/// Without a model the small one that ships with the program answers.
Status choose_model(RunFlags& flags) {
  if (names_model(flags)) {
    if (!flags.inputs.empty()) return {};
    return Error{ErrorCode::bad_flag, "inputs: found none, expected pictures or text", ""};
  }
  const Result<std::string> data = data_folder();
  if (!data) return data.error();
  if (!flags.engine.model.empty()) {
    flags.inputs.insert(flags.inputs.begin(), flags.engine.model);
  }
  flags.engine.model = *data + "/demo";
  fmt::print(stderr,
             "qvl: no model is named: the demo model answers, which reads small pictures\n");
  return {};
}

int batch(const RunFlags& flags) {
  if (!flags.inputs.empty()) {
    return fail(
        {ErrorCode::bad_flag, "found inputs too, expected those of the file alone", "--batch"});
  }
  return run_batch({.engine = flags.engine,
                    .sampling = flags.sampling,
                    .input = flags.batch,
                    .output = flags.output,
                    .max_num_seqs = flags.max_num_seqs,
                    .max_num_batched_tokens = flags.max_num_batched_tokens});
}

int run(RunFlags flags) {
  if (!flags.batch.empty()) return batch(flags);
  if (!flags.output.empty()) {
    return fail({ErrorCode::bad_flag, "expected --batch with it", "--output"});
  }
  const Status chosen = choose_model(flags);
  if (!chosen) return fail(chosen.error());
  Result<Prepared> prepared = prepare(flags.engine);
  if (!prepared) return fail(prepared.error());
  const Processor& processor = prepared->processor;
  Result<UserMessage> question = read_inputs(flags.inputs, processor, {.fps = flags.fps});
  if (!question) return fail(question.error());
  Result<Prompt> prompt =
      processor.prompt(one_question(flags.system, *question), nullptr, question->media);
  if (!prompt) return fail(prompt.error());
  Result<ChosenSampling> sampling =
      choose_sampling(flags.sampling, prepared->model.generation, processor.tokenizer());
  if (!sampling) return fail(sampling.error());
  sampling->params.top_logprobs = flags.logprobs;
  sampling->params.n = flags.n;
  const Status valid = validate(sampling->params);
  if (!valid) return fail(valid.error());

  Request request;
  request.prompt_tokens = std::move(prompt->tokens);
  request.spans = std::move(prompt->spans);
  request.sampling = sampling->params;
  for (MediaItem& item : question->media) request.media.push_back(std::move(item.patches));
  const Status fits = fit_to_question(*prepared, request);
  if (!fits) return fail(fits.error());
  const Result<std::unique_ptr<Engine>> engine = load_engine(*prepared);
  if (!engine) return fail(engine.error());

  const TextStyle style = flags.plain ? TextStyle::plain : TextStyle::markdown;
  const bool streams = !flags.json && flags.n == 1;
  TextOutput output(style);
  const auto all = streams ? one_answer(**engine, std::move(request), processor.tokenizer(), output)
                           : generate_all(**engine, std::move(request), processor.tokenizer());
  if (!all) return fail(all.error());
  if (flags.json) {
    Json out = run_json(prepared->model.name, *all, processor.tokenizer(), flags.logprobs >= 0);
    out["stats"] = stats_json(all->front(), **engine, question->timings);
    fmt::print("{}\n", out.dump(-1, ' ', false, Json::error_handler_t::replace));
  } else if (!streams) {
    print_answers(*all, style);
  }
  if (flags.stats) print_stats(all->front(), **engine, question->timings, sampling->origins);
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
                  "--load-format dummy; without one the demo model answers")
      ->required();
  run_app.add_option(
      "inputs", flags->inputs,
      "pictures, folders of frames and text, in any order; - is text on the standard input");
  add_engine_flags(run_app, flags->engine);
  add_sampling_flags(run_app, flags->sampling);
  run_app.add_option("--batch", flags->batch,
                     "file of requests in OpenAI's batch format, one per line");
  run_app.add_option("-o,--output", flags->output,
                     "with --batch: file to which answers are appended; what is there is not "
                     "answered again");
  run_app
      .add_option("--max-num-seqs", flags->max_num_seqs,
                  "with --batch: requests that run at the same time; without it, 8, on a GPU 64")
      ->check(CLI::Range(int64_t{1}, int64_t{1024}));
  run_app
      .add_option("--max-num-batched-tokens", flags->max_num_batched_tokens,
                  "with --batch: tokens of one step; without it, 512, on a GPU 2048")
      ->check(CLI::Range(int64_t{16}, int64_t{1} << 20));
  run_app.add_option("--system", flags->system, "system message");
  run_app.add_option("--fps", flags->fps, "frames per second of a folder of frames")
      ->check(CLI::Range(0.001, 1000.0))
      ->capture_default_str();
  run_app
      .add_option("--n", flags->n,
                  "independent answers to the question, each with a seed of its own")
      ->capture_default_str();
  run_app.add_option("--logprobs", flags->logprobs,
                     "with --json: log probabilities and this many alternatives per token");
  run_app.add_flag("--json", flags->json, "print one JSON object instead of streaming text");
  run_app.add_flag("--plain", flags->plain, "do not render Markdown on a terminal");
  run_app.add_flag("--stats", flags->stats,
                   "print timings and the memory bill to the standard error");
  run_app.callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace qvl
