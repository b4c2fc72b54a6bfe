#include <fmt/format.h>

#include <cstdio>
#include <span>

#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/prepare.h"
#include "cli/terminal_text.h"
#include "runtime/runner.h"
#include "text/unicode.h"

namespace qvl {
namespace {

struct TokensFlags {
  EngineFlags engine;
  std::vector<std::string> inputs;
  std::string system;
  double fps = 24.0;
  bool json = false;
  bool ids = false;
};

/// One line of the bill.
struct PartCost {
  std::string kind;
  std::string name;
  int64_t tokens = 0;
  const MediaItem* media = nullptr;  ///< of a picture or a video
};

struct Bill {
  std::vector<PartCost> parts;
  std::vector<int32_t> ids;  ///< of the whole prompt
};

/// What the prompt grows by when each part is added to those before it, markers and time stamps
/// included: so the lines add up to the prompt exactly.
Result<Bill> make_bill(const Processor& processor, const std::string& system,
                       const UserMessage& question) {
  Bill bill;
  UserMessage so_far;
  size_t media = 0;
  const auto add = [&](const std::string& with_system, PartCost part) -> Status {
    Result<Prompt> prompt = processor.prompt(one_question(with_system, so_far), nullptr,
                                             std::span(question.media).first(media));
    if (!prompt) return prompt.error();
    part.tokens =
        static_cast<int64_t>(prompt->tokens.size()) - static_cast<int64_t>(bill.ids.size());
    bill.ids = std::move(prompt->tokens);
    bill.parts.push_back(std::move(part));
    return {};
  };
  Status added = add("", {.kind = "template"});
  if (added && !system.empty()) added = add(system, {.kind = "system", .name = system});
  for (const Json& content : question.content) {
    if (!added) return added.error();
    PartCost part;
    part.kind = content["type"].get<std::string>();
    part.name = content[part.kind].get<std::string>();
    if (part.kind != "text") part.media = &question.media[media++];
    so_far.content.push_back(content);
    added = add(system, std::move(part));
  }
  if (!added) return added.error();
  return bill;
}

/// Pixels of each picture or frame after resizing.
Size resized(const MediaItem& item, const ModelConfig& model) {
  return {item.patches.grid.h * model.vision.patch_size,
          item.patches.grid.w * model.vision.patch_size};
}

/// The start of a long text.
std::string shortened(const std::string& text) {
  constexpr int kColumns = 32;
  const std::string line = one_line(text);
  if (text_width(line) <= kColumns) return line;
  std::string_view left = line;
  std::string out;
  while (text_width(out) < kColumns - 1) {
    const CodePoint c = first_code_point(left);
    out += left.substr(0, c.size);
    left.remove_prefix(c.size);
  }
  return out + "…";
}

std::string padded(const std::string& text, int columns) {
  return text + std::string(static_cast<size_t>(std::max(0, columns - text_width(text))), ' ');
}

void print_bill(const Bill& bill, const ModelFiles& model, int64_t context, int64_t kv_bytes) {
  int name_columns = 5;
  for (const PartCost& part : bill.parts) {
    name_columns = std::max(name_columns, text_width(shortened(part.name)));
  }
  fmt::print("{}  {:<9}{:>12}{:>12}{:>13}{:>9}\n", padded("input", name_columns), "kind", "pixels",
             "resized", "grid", "tokens");
  for (const PartCost& part : bill.parts) {
    std::string pixels;
    std::string size;
    std::string grid;
    if (part.media != nullptr) {
      const Grid& g = part.media->patches.grid;
      const Size to = resized(*part.media, model.config);
      pixels = fmt::format("{}×{}", part.media->source.width, part.media->source.height);
      size = fmt::format("{}×{}", to.width, to.height);
      grid = fmt::format("{}×{}×{}", g.t, g.h, g.w);
    }
    fmt::print("{}  {:<9}{:>12}{:>12}{:>13}{:>9}\n", padded(shortened(part.name), name_columns),
               part.kind, pixels, size, grid, part.tokens);
  }
  const auto total = static_cast<int64_t>(bill.ids.size());
  fmt::print("{}  {:<9}{:>12}{:>12}{:>13}{:>9}\n", padded("total", name_columns), "", "", "", "",
             total);
  fmt::print("{:.1f} % of the context of {} tokens; {} of KV cache\n",
             100.0 * static_cast<double>(total) / static_cast<double>(context), context,
             format_bytes(kv_bytes));
}

Json bill_json(const Bill& bill, const ModelFiles& model, int64_t context, int64_t kv_bytes) {
  Json parts = Json::array();
  for (const PartCost& part : bill.parts) {
    Json entry = {{"kind", part.kind}, {"name", part.name}, {"tokens", part.tokens}};
    if (part.media != nullptr) {
      const Grid& g = part.media->patches.grid;
      const Size to = resized(*part.media, model.config);
      entry["width"] = part.media->source.width;
      entry["height"] = part.media->source.height;
      entry["resized_width"] = to.width;
      entry["resized_height"] = to.height;
      entry["grid_thw"] = {g.t, g.h, g.w};
    }
    parts.push_back(std::move(entry));
  }
  return {{"model", model.name},
          {"parts", parts},
          {"prompt_tokens", bill.ids.size()},
          {"context_tokens", context},
          {"kv_cache_bytes", kv_bytes}};
}

int tokens(const TokensFlags& flags) {
  const Result<Prepared> prepared = prepare(flags.engine);
  if (!prepared) return fail(prepared.error());
  const Processor& processor = prepared->processor;
  const Result<UserMessage> question = read_inputs(flags.inputs, processor, {.fps = flags.fps});
  if (!question) return fail(question.error());
  const Result<Bill> bill = make_bill(processor, flags.system, *question);
  if (!bill) return fail(bill.error());

  const ModelFiles& model = prepared->model;
  const int64_t kv_bytes =
      kv_cache_bytes(model, prepared->config, static_cast<int64_t>(bill->ids.size()));
  if (flags.json) {
    Json out = bill_json(*bill, model, prepared->context(), kv_bytes);
    if (flags.ids) out["ids"] = bill->ids;
    fmt::print("{}\n", out.dump());
    return kSuccess;
  }
  if (flags.ids) {
    fmt::print("{}\n", fmt::join(bill->ids, " "));
    return kSuccess;
  }
  print_bill(*bill, model, prepared->context(), kv_bytes);
  return kSuccess;
}

}  // namespace

void add_tokens(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<TokensFlags>();
  CLI::App& tokens_app = *app.add_subcommand(
      "tokens", "what pictures, folders of frames and text cost, before anything is run");
  tokens_app
      .add_option("model", flags->engine.model,
                  "checkpoint folder, or preset with --load-format dummy")
      ->required();
  tokens_app.add_option("inputs", flags->inputs, "as for qvl run")->required();
  add_engine_flags(tokens_app, flags->engine);
  tokens_app.add_option("--system", flags->system, "system message");
  tokens_app.add_option("--fps", flags->fps, "frames per second of a folder of frames")
      ->check(CLI::Range(0.001, 1000.0))
      ->capture_default_str();
  tokens_app.add_flag("--json", flags->json, "print one JSON object");
  tokens_app.add_flag("--ids", flags->ids, "print the token ids of the prompt");
  tokens_app.callback([flags, &exit_code] { exit_code = tokens(*flags); });
}

}  // namespace qvl
