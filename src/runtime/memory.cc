#include "runtime/memory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "core/host.h"

namespace qvl {
namespace {

constexpr int64_t kShortestContext = 256;
/// Thread stacks, allocator slack, the lists of a step: what the process adds after the plan is
/// made.
constexpr int64_t kRuntimeBytes = 8LL << 20;

/// "4.33 GB of INT4 held as BF16"
std::string weights_detail(const WeightPlan& weights) {
  std::vector<std::string> parts;
  for (const WeightPlan::Quantised& q : weights.quantised) {
    parts.push_back(fmt::format("{} of {} weights held {}", format_bytes(q.stored_bytes), q.stored,
                                q.stored == q.held ? "as they are" : fmt::format("as {}", q.held)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

OperatorShapes operator_shapes(const ModelConfig& m, const EngineConfig& config) {
  const TextConfig& t = m.text;
  const VisionConfig& v = m.vision;
  const int64_t step_rows = config.max_step_tokens;
  const int64_t patches = config.max_patches;
  const int64_t merged = v.merge_unit() * v.hidden_size;
  const int64_t text_in = std::max({t.hidden_size, t.q_size(), t.intermediate_size});
  const int64_t vision_in = std::max({v.patch_dim(), v.hidden_size, v.intermediate_size});
  return {
      .max_rows = std::max(step_rows, patches),
      .max_in = std::max(text_in, vision_in),
      .max_out = std::max({t.vocab_size, 2 * t.intermediate_size, merged}),
      .max_attention_len = patches,
      .max_heads = std::max(t.num_attention_heads, v.num_heads),
      .max_head_dim = std::max(t.head_dim, v.head_dim()),
      .max_input_elements = std::max(step_rows * text_in, patches * vision_in),
      .moe = {.rows = step_rows,
              .hidden_size = t.hidden_size,
              .moe_intermediate_size = t.moe_intermediate_size,
              .num_experts = t.num_experts,
              .top_k = t.num_experts_per_tok},
  };
}

MemoryRoom host_room() {
  return {.taken_bytes = resident_bytes(),
          .available_bytes = read_host().available_bytes,
          .reserve_bytes = kRuntimeBytes,
          .detail = "program, tokenizer, decoded media, stacks"};
}

std::string format_bytes(int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", b / 1e9);
  return fmt::format("{:.2f} MB", b / 1e6);
}

std::string MemoryPlan::text() const {
  std::string out;
  for (const Line& line : lines) {
    out += fmt::format("  {:<18}{:>10}  {}\n", line.what, format_bytes(line.bytes), line.detail);
  }
  out += fmt::format("  {:<18}{:>10}  of {} allowed\n", "total", format_bytes(total_bytes()),
                     format_bytes(limit_bytes));
  for (const std::string& note : notes) out += fmt::format("  note: {}\n", note);
  return out;
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

Result<PlannedMemory> plan_memory(const BackendNeeds& needs, const MemoryRoom& room,
                                  const ModelConfig& model, const WeightPlan& weights,
                                  ActFormat activation, const EngineConfig& config) {
  const TextConfig& t = model.text;
  const DType act = act_dtype(activation);
  const int64_t patches = config.max_patches;
  const int64_t feature_cols =
      model.vision.out_hidden_size *
      static_cast<int64_t>(1 + model.vision.deepstack_visual_indexes.size());
  PlannedMemory out;
  ArenaSizes& sizes = out.sizes;
  sizes.weights = weights.bytes;
  sizes.feature_rows = std::max(patches / model.vision.merge_unit(),
                                config.feature_cache_bytes / (feature_cols * dtype_bytes(act)));
  sizes.features = Arena::padded(sizes.feature_rows * feature_cols * dtype_bytes(act));
  sizes.vision = VisionWorkspace::bytes(model.vision, activation, patches);
  sizes.activations =
      TextWorkspace::bytes(t, activation, config.max_step_tokens, logits_rows(config));
  sizes.scratch = needs.scratch + weights.scratch_bytes;
  sizes.step_lists = needs.step_lists;
  sizes.kv_page_bytes = needs.kv_page_bytes;

  MemoryPlan& plan = out.plan;
  const int64_t limit = config.memory_bytes > 0 ? config.memory_bytes
                                                : room.taken_bytes + room.available_bytes / 10 * 9;
  const int64_t process_bytes = room.taken_bytes + room.reserve_bytes;
  const int64_t fixed = process_bytes + sizes.weights + sizes.features + sizes.vision +
                        sizes.activations + sizes.scratch + sizes.step_lists;
  const int64_t page = sizes.kv_page_bytes * t.num_hidden_layers;
  const int64_t kv_limit = config.kv_bytes > 0 ? config.kv_bytes : limit;
  const int64_t room_pages = std::min(std::max<int64_t>(0, limit - fixed), kv_limit) / page;

  const std::string kv_text = config.kv_bytes > 0 ? fmt::format(", {} of them for keys and values",
                                                                format_bytes(config.kv_bytes))
                                                  : "";

  int64_t length = config.max_model_len > 0 ? config.max_model_len : t.max_position_embeddings;
  if (length > t.max_position_embeddings) {
    plan.notes.push_back(
        fmt::format("context shortened from {} to {} tokens: the model's own limit", length,
                    t.max_position_embeddings));
    length = t.max_position_embeddings;
  }
  if (pages_for(length) > room_pages) {
    const int64_t fits = room_pages * kPageTokens;
    if (fits < std::min(length, kShortestContext)) {
      return Error{
          ErrorCode::does_not_fit,
          fmt::format("{} needed before the first token of context, {} allowed{}",
                      format_bytes(fixed + page * pages_for(std::min(length, kShortestContext))),
                      format_bytes(limit), kv_text),
          ""};
    }
    plan.notes.push_back(fmt::format("context shortened from {} to {} tokens to fit {}{}", length,
                                     fits, format_bytes(limit), kv_text));
    length = fits;
  }
  const int64_t wanted =
      config.kv_bytes > 0 ? config.kv_bytes / page : pages_for(length) * config.max_num_seqs;
  plan.kv_pages = std::min(wanted, room_pages);
  if (plan.kv_pages < wanted) {
    const std::string what = config.kv_bytes > 0
                                 ? fmt::format("{}", wanted * kPageTokens)
                                 : fmt::format("{} sequences of {}", config.max_num_seqs, length);
    plan.notes.push_back(
        fmt::format("cache holds {} tokens, not {}", plan.kv_pages * kPageTokens, what));
  }
  sizes.kv = KvPool::bytes(t.num_hidden_layers, plan.kv_pages, sizes.kv_page_bytes);

  plan.limit_bytes = limit;
  plan.max_model_len = length;
  plan.lines = {
      {"weights", sizes.weights, weights_detail(weights)},
      {"KV cache", sizes.kv,
       fmt::format("{} pages of {} tokens, {} bytes per token", plan.kv_pages, kPageTokens,
                   page / kPageTokens)},
      {"vision workspace", sizes.vision, fmt::format("pictures of up to {} patches", patches)},
      {"vision features", sizes.features,
       fmt::format("{} rows of {}", sizes.feature_rows, feature_cols)},
      {"activations", sizes.activations,
       fmt::format("{} rows per step, {} rows of logits", config.max_step_tokens,
                   logits_rows(config))},
      {"operator scratch", sizes.scratch + sizes.step_lists, ""},
      {"process", process_bytes, room.detail},
  };
  return out;
}

}  // namespace qvl
