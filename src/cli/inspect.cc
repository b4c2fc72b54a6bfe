#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "io/checkpoint.h"
#include "io/checkpoint_summary.h"
#include "kernels/attention.h"
#include "model/processor.h"
#include "model/weights.h"
#include "runtime/memory.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

struct InspectFlags {
  std::string model;
  bool tensors = false;
  bool json = false;
};

struct Shard {
  std::string name;
  int64_t bytes = 0;
};

/// Everything that is known of a checkpoint without reading a weight.
struct Inspection {
  ModelFolder place;
  std::vector<Shard> shards;
  std::unique_ptr<TensorSource> weights;  ///< as stored
  std::optional<ModelFiles> files;        ///< if the engine can open it
  std::optional<Error> refused;           ///< why the engine cannot run it
  std::vector<std::string> unused;
  CheckpointSummary summary;
  int64_t tokens = 0;         ///< of the tokenizer
  std::string template_kind;  ///< "Instruct" or "Thinking"
  std::string text_problem;   ///< why tokenizer or template cannot be used
};

std::vector<Shard> list_shards(const std::string& folder) {
  std::vector<Shard> shards;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto bytes = entry.file_size(error);
    shards.push_back({entry.path().filename().string(), error ? 0 : static_cast<int64_t>(bytes)});
  }
  std::sort(shards.begin(), shards.end(),
            [](const Shard& a, const Shard& b) { return a.name < b.name; });
  return shards;
}

/// A Thinking template opens the answer's thoughts itself.
void inspect_text(Inspection& out) {
  ModelFiles only_text;
  only_text.text_folder = out.place.folder;
  const Result<Processor> processor = Processor::load(out.files ? *out.files : only_text, {});
  if (!processor) {
    out.text_problem = processor.error().message();
    return;
  }
  out.tokens = processor->tokenizer().size();
  const Json messages = Json::array({{{"role", "user"}, {"content", "x"}}});
  const Result<std::string> prompt = processor->render(messages, nullptr);
  if (!prompt) {
    out.text_problem = prompt.error().message();
    return;
  }
  const size_t answer = prompt->rfind("assistant");
  const bool opens_thoughts =
      answer != std::string::npos && prompt->find("<think>", answer) != std::string::npos;
  out.template_kind = opens_thoughts ? "Thinking" : "Instruct";
}

Result<Inspection> inspect_model(const std::string& model) {
  Inspection out;
  Result<ModelFolder> place = find_model(model);
  if (!place) return place.error();
  out.place = *std::move(place);
  out.shards = list_shards(out.place.folder);
  Result<std::unique_ptr<TensorSource>> weights = open_checkpoint(out.place.folder);
  if (!weights) return weights.error();
  out.weights = *std::move(weights);
  Result<ModelFiles> files = open_model(model, LoadFormat::checkpoint);
  if (files) {
    out.files = *std::move(files);
    const Result<WeightPlan> plan =
        plan_weights(Ref{}, out.files->config, *out.files->weights, ActFormat::bf16);
    if (plan) {
      out.unused = plan->unused;
    } else {
      out.refused = plan.error();
    }
  } else {
    out.refused = files.error();
  }
  out.summary = summarize(*out.weights, out.files ? out.files->config.quantization.bits : 0);
  inspect_text(out);
  return out;
}

std::string count(int64_t n) {
  if (n >= 1'000'000'000) return fmt::format("{:.2f} B", static_cast<double>(n) / 1e9);
  if (n >= 1'000'000) return fmt::format("{:.1f} M", static_cast<double>(n) / 1e6);
  return fmt::format("{}", n);
}

std::string variant_name(const Inspection& model) {
  const std::string size = model.files ? size_name(model.files->config) : "";
  return size.empty() ? "no published size" : "Qwen3-VL " + size;
}

int64_t kv_bytes_per_token(const TextConfig& text, DType dtype) {
  return 2 * text.num_hidden_layers * text.kv_size() * dtype_bytes(dtype);
}

/// Of a picture of this many pixels; a token is a square of merged patches.
int64_t image_tokens(const ModelConfig& config, int64_t pixels) {
  const int64_t side = int64_t{config.vision.patch_size} * config.vision.spatial_merge_size;
  return pixels / (side * side);
}

Json text_json(const TextConfig& text, bool tied) {
  Json json = {{"num_hidden_layers", text.num_hidden_layers},
               {"hidden_size", text.hidden_size},
               {"num_attention_heads", text.num_attention_heads},
               {"num_key_value_heads", text.num_key_value_heads},
               {"head_dim", text.head_dim},
               {"vocab_size", text.vocab_size},
               {"rope_theta", text.rope_theta},
               {"mrope_section", text.mrope_section},
               {"tie_word_embeddings", tied}};
  if (text.is_moe()) {
    json["num_experts"] = text.num_experts;
    json["num_experts_per_tok"] = text.num_experts_per_tok;
    json["moe_intermediate_size"] = text.moe_intermediate_size;
  } else {
    json["intermediate_size"] = text.intermediate_size;
  }
  return json;
}

template <class T>
Json json_or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json config_json(const ModelFiles& files) {
  const VisionConfig& vision = files.config.vision;
  const GenerationConfig& generation = files.generation;
  const auto pixels = [](const ProcessorConfig& p) {
    return Json{{"min_pixels", p.min_pixels}, {"max_pixels", p.max_pixels}};
  };
  return {{"text", text_json(files.config.text, files.config.tie_word_embeddings)},
          {"vision",
           {{"depth", vision.depth},
            {"hidden_size", vision.hidden_size},
            {"intermediate_size", vision.intermediate_size},
            {"num_heads", vision.num_heads},
            {"out_hidden_size", vision.out_hidden_size},
            {"patch_size", vision.patch_size},
            {"spatial_merge_size", vision.spatial_merge_size},
            {"deepstack_visual_indexes", vision.deepstack_visual_indexes}}},
          {"quantization", quantization_text(files.config.quantization)},
          {"context_tokens", files.config.text.max_position_embeddings},
          {"kv_bytes_per_token", kv_bytes_per_token(files.config.text, DType::bf16)},
          {"images", pixels(files.image_processor)},
          {"videos", pixels(files.video_processor)},
          {"generation",
           {{"do_sample", generation.do_sample},
            {"temperature", json_or_null(generation.temperature)},
            {"top_k", json_or_null(generation.top_k)},
            {"top_p", json_or_null(generation.top_p)},
            {"repetition_penalty", json_or_null(generation.repetition_penalty)},
            {"eos_token_ids", generation.eos_token_ids}}}};
}

Json tensors_json(const TensorSource& source) {
  Json list = Json::array();
  for (const TensorInfo* tensor : source.tensors()) {
    list.push_back(
        {{"name", tensor->name}, {"dtype", dtype_name(tensor->dtype)}, {"shape", tensor->shape}});
  }
  return list;
}

Json inspection_json(const Inspection& model, bool with_tensors) {
  const CheckpointSummary& s = model.summary;
  Json json = {{"name", model.place.name},
               {"folder", model.place.folder},
               {"size", model.files ? size_name(model.files->config) : ""},
               {"runs", !model.refused},
               {"problem", model.refused ? Json(model.refused->message()) : Json()},
               {"parameters",
                {{"total", s.text_parameters + s.vision_parameters},
                 {"text", s.text_parameters},
                 {"vision", s.vision_parameters}}}};
  json["shards"] = Json::array();
  for (const Shard& shard : model.shards) {
    json["shards"].push_back({{"name", shard.name}, {"bytes", shard.bytes}});
  }
  json["tensor_count"] = s.tensors;
  json["tensor_bytes"] = s.tensor_bytes;
  json["dtypes"] = Json::array();
  for (const DTypeShare& share : s.dtypes) {
    json["dtypes"].push_back(
        {{"dtype", dtype_name(share.dtype)}, {"tensors", share.tensors}, {"bytes", share.bytes}});
  }
  json["parts"] = Json::array();
  for (const TensorGroup& group : s.groups) {
    json["parts"].push_back({{"part", group.part},
                             {"format", group.format},
                             {"tensors", group.tensors},
                             {"parameters", group.parameters},
                             {"bytes", group.bytes}});
  }
  json["unused_tensors"] = model.unused;
  json["tokenizer_tokens"] = model.tokens;
  json["template"] = model.template_kind;
  json["text_problem"] = model.text_problem.empty() ? Json() : Json(model.text_problem);
  if (model.files) json.update(config_json(*model.files));
  if (with_tensors) json["tensors"] = tensors_json(*model.weights);
  return json;
}

void print_line(std::string_view what, std::string_view value) {
  fmt::print("  {:<14}{}\n", what, value);
}

void print_config(const ModelFiles& files) {
  const TextConfig& t = files.config.text;
  const VisionConfig& v = files.config.vision;
  print_line(
      "text",
      fmt::format("{} layers, hidden {}, {} heads and {} KV heads of {}, {}{}", t.num_hidden_layers,
                  t.hidden_size, t.num_attention_heads, t.num_key_value_heads, t.head_dim,
                  t.is_moe() ? fmt::format("{} experts of {}, {} per token", t.num_experts,
                                           t.moe_intermediate_size, t.num_experts_per_tok)
                             : fmt::format("MLP {}", t.intermediate_size),
                  files.config.tie_word_embeddings ? ", tied embeddings" : ""));
  print_line("vision",
             fmt::format("{} layers, hidden {}, {} heads of {}, MLP {}, DeepStack after {}",
                         v.depth, v.hidden_size, v.num_heads, v.head_dim(), v.intermediate_size,
                         fmt::join(v.deepstack_visual_indexes, ", ")));
  const int64_t kv = kv_bytes_per_token(t, DType::bf16);
  print_line("context", fmt::format("{} tokens; cache of {} bytes per token in bfloat16, {} in all",
                                    t.max_position_embeddings, kv,
                                    format_bytes(kv * t.max_position_embeddings)));
  const std::string quantization = quantization_text(files.config.quantization);
  print_line("quantisation", quantization.empty() ? "none" : quantization);
  const GenerationConfig& g = files.generation;
  std::vector<std::string> sampling;
  const auto say = [&](const char* name, const auto& value) {
    if (value) sampling.push_back(fmt::format("{} {}", name, *value));
  };
  say("temperature", g.temperature);
  say("top_k", g.top_k);
  say("top_p", g.top_p);
  say("repetition penalty", g.repetition_penalty);
  print_line("generation", g.do_sample ? fmt::format("sampled, {}", fmt::join(sampling, ", "))
                                       : "the most likely token");
  print_line("stops at", g.eos_token_ids.empty()
                             ? "the tokenizer's <|im_end|> and <|endoftext|>"
                             : fmt::format("token {}", fmt::join(g.eos_token_ids, ", ")));
  const ProcessorConfig& i = files.image_processor;
  print_line("pictures", fmt::format("{} to {} pixels, {} to {} tokens", i.min_pixels, i.max_pixels,
                                     image_tokens(files.config, i.min_pixels),
                                     image_tokens(files.config, i.max_pixels)));
  const ProcessorConfig& video = files.video_processor;
  print_line("videos", fmt::format("{} to {} pixels in all frames, {} frames per second",
                                   video.min_pixels, video.max_pixels, video.fps));
}

void print_parts(const CheckpointSummary& summary) {
  fmt::print("\n  {:<14}{:<10}{:>8}{:>13}{:>12}\n", "part", "format", "tensors", "parameters",
             "bytes");
  for (const TensorGroup& group : summary.groups) {
    fmt::print("  {:<14}{:<10}{:>8}{:>13}{:>12}\n", group.part, group.format, group.tensors,
               count(group.parameters), format_bytes(group.bytes));
  }
}

void print_inspection(const Inspection& model, bool with_tensors) {
  const CheckpointSummary& s = model.summary;
  fmt::print("{}\n", model.place.name);
  print_line("folder", model.place.folder);
  print_line("size", fmt::format("{}: {} parameters, {} text and {} vision", variant_name(model),
                                 count(s.text_parameters + s.vision_parameters),
                                 count(s.text_parameters), count(s.vision_parameters)));
  if (model.files) print_config(*model.files);
  if (model.text_problem.empty()) {
    print_line("template", model.template_kind);
    print_line("tokenizer", fmt::format("{} tokens", model.tokens));
  } else {
    print_line("text files", model.text_problem);
  }
  int64_t bytes = 0;
  for (const Shard& shard : model.shards) bytes += shard.bytes;
  print_line("files", fmt::format("{} of weights, {}", model.shards.size(), format_bytes(bytes)));
  std::vector<std::string> mix;
  for (const DTypeShare& share : s.dtypes) {
    mix.push_back(fmt::format("{} {} in {} tensors", dtype_name(share.dtype),
                              format_bytes(share.bytes), share.tensors));
  }
  print_line("types", fmt::format("{}", fmt::join(mix, "; ")));
  constexpr size_t kNamed = 3;
  if (!model.unused.empty()) {
    const size_t named = with_tensors ? model.unused.size() : std::min(model.unused.size(), kNamed);
    print_line(
        "not used",
        fmt::format("{} tensors: {}{}", model.unused.size(),
                    fmt::join(model.unused.begin(),
                              model.unused.begin() + static_cast<std::ptrdiff_t>(named), ", "),
                    named < model.unused.size() ? ", …" : ""));
  }
  print_line("runs", model.refused ? "no: " + model.refused->message() : "yes");
  print_parts(s);
  if (!with_tensors) return;
  fmt::print("\n");
  for (const TensorInfo* tensor : model.weights->tensors()) {
    fmt::print("  {:<8}{:<24}{}\n", dtype_name(tensor->dtype),
               fmt::format("[{}]", fmt::join(tensor->shape, ", ")), tensor->name);
  }
}

int inspect(const InspectFlags& flags) {
  const Result<Inspection> model = inspect_model(flags.model);
  if (!model) return fail(model.error());
  if (flags.json) {
    fmt::print(
        "{}\n",
        inspection_json(*model, flags.tensors).dump(1, ' ', false, Json::error_handler_t::replace));
  } else {
    print_inspection(*model, flags.tensors);
  }
  return kSuccess;
}

}  // namespace

void add_inspect(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App& inspect_app = *app.add_subcommand(
      "inspect", "say what a checkpoint is: size, formats, limits; reads no weights");
  inspect_app
      .add_option("model", flags->model,
                  "checkpoint folder, or an id such as Qwen/Qwen3-VL-2B-Instruct")
      ->required();
  inspect_app.add_flag("--tensors", flags->tensors, "also list every tensor");
  inspect_app.add_flag("--json", flags->json, "print one JSON object");
  inspect_app.callback([flags, &exit_code] { exit_code = inspect(*flags); });
}

}  // namespace qvl
