#include "bench/kernel_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bench/kernel_data.h"
#include "kernels/moe.h"
#include "kernels/patch_embed.h"
#include "kernels/vision_attention.h"

namespace qvl {
namespace {

using Call = std::function<void()>;

/// Token ids that gather_rows goes through: their rows are more than a cache holds.
constexpr int64_t kIds = int64_t{1} << 16;

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/// One of several copies at each call, in turn.
template <class T>
class Rotation {
 public:
  explicit Rotation(std::vector<T> copies) : copies_(std::move(copies)) {}
  const T& next() {
    at_ = at_ + 1 < copies_.size() ? at_ + 1 : 0;
    return copies_[at_];
  }

 private:
  std::vector<T> copies_;
  size_t at_ = 0;
};

/// Rows of text that a case stands for: a decode batch when they are few, else a prompt.
RowRoles roles_of(const KernelCase& c) {
  if (c.rows <= kFewRows) return {.generated = c.rows};
  return {.prompt = c.rows};
}

Call attention_call(Cpu& cpu, const KernelCase& c, const RunMemory& memory, KernelData& data) {
  const int64_t d = c.heads.head_dim;
  const int64_t pages = divide_up(c.context, kPageTokens);
  KvLayer cache{.shape = {c.heads.num_kv_heads, d, act_dtype(c.activation)}};
  cache.page_bytes = kv_page_bytes(cpu, cache.shape);
  const int64_t cache_bytes = pages * cache.page_bytes;
  std::vector<KvLayer> caches;
  for (int64_t i = 0; i < memory.copies(c.rows, cache_bytes); ++i) {
    cache.base = static_cast<std::byte*>(
        data.random(cache.shape.dtype, cache_bytes / dtype_bytes(cache.shape.dtype)));
    caches.push_back(cache);
  }
  const AttentionLayer layer{c.heads.num_heads, data.rms_norm(d), data.rms_norm(d)};
  const SequenceRows sequence{.rows = c.rows,
                              .start = c.context - c.rows,
                              .role = c.rows == 1 ? Role::generated : Role::prompt,
                              .block_table = data.count_up(pages).data};
  return [&cpu, layer, sequence, qkv = data.act(c.activation, c.rows, c.heads.qkv_cols()),
          rope = data.rope(c.rows, d / 2), rotation = Rotation(std::move(caches)),
          out = data.act(c.activation, c.rows, c.heads.out_cols())]() mutable {
    attention(cpu, qkv, layer, rope, {&sequence, 1}, rotation.next(), out);
  };
}

Call vision_attention_call(Cpu& cpu, const KernelCase& c, KernelData& data) {
  return [&cpu, heads = c.heads.num_heads, segment = std::array<int64_t, 2>{0, c.rows},
          qkv = data.act(c.activation, c.rows, c.heads.qkv_cols()),
          rope = data.rope(c.rows, c.heads.head_dim / 2),
          out = data.act(c.activation, c.rows, c.heads.out_cols())] {
    vision_attention(cpu, qkv, heads, rope, segment, out);
  };
}

Call gather_call(Cpu& cpu, const KernelCase& c, KernelData& data, const Linear& embedding) {
  const Vec<const int32_t> ids = data.indices(std::max(kIds, c.rows), embedding.desc.out);
  std::vector<Vec<const int32_t>> windows;
  for (int64_t first = 0; first + c.rows <= ids.size; first += c.rows) {
    windows.push_back(ids.slice(first, c.rows));
  }
  return [&cpu, embedding, rotation = Rotation(std::move(windows)),
          x = data.matrix<float>(c.rows, c.weight.in)]() mutable {
    gather_rows(cpu, rotation.next(), embedding, x);
  };
}

using SharedExperts = std::shared_ptr<const Experts>;

/// All experts of a layer.
SharedExperts make_experts(const KernelCase& c, KernelData& data) {
  const MoeShape& m = c.moe;
  auto experts = std::make_shared<Experts>();
  experts->top_k = m.top_k;
  experts->router = data.linear({m.num_experts, m.hidden_size, WeightFormat::bf16, ActFormat::f32},
                                /*has_bias=*/false);
  for (int64_t e = 0; e < m.num_experts; ++e) {
    experts->gate_up.push_back(data.linear(c.weight, /*has_bias=*/false));
    experts->down.push_back(data.linear(down_desc(c), /*has_bias=*/false));
  }
  return experts;
}

/// What rotates are the rows: each takes experts of its own.
Call moe_call(Cpu& cpu, const KernelCase& c, const RunMemory& memory, KernelData& data,
              const SharedExperts& experts) {
  std::vector<Mat<float>> xs;
  for (int64_t i = 0; i < memory.copies(c.rows, c.bytes); ++i) {
    xs.push_back(data.matrix<float>(c.rows, c.moe.hidden_size));
  }
  return [&cpu, experts, roles = roles_of(c), norm = data.rms_norm(c.moe.hidden_size),
          rotation = Rotation(std::move(xs))]() mutable {
    rms_norm_moe(cpu, roles, norm, *experts, rotation.next());
  };
}

Call product_call(Cpu& cpu, const KernelCase& c, KernelData& data, Rotation<Linear> weights) {
  const int64_t in = c.weight.in;
  const int64_t out = c.weight.kind == LinearKind::gate_up ? c.weight.out / 2 : c.weight.out;
  const RowRoles roles = roles_of(c);
  switch (c.op) {
    case Op::rms_norm_linear:
      return [&cpu, roles, weights, x = data.matrix<float>(c.rows, in), norm = data.rms_norm(in),
              y = data.act(c.activation, c.rows, out)]() mutable {
        rms_norm_linear(cpu, roles, x, norm, weights.next(), y);
      };
    case Op::rms_norm_gate_up_silu:
      return [&cpu, roles, weights, x = data.matrix<float>(c.rows, in), norm = data.rms_norm(in),
              y = data.act(c.activation, c.rows, out)]() mutable {
        rms_norm_gate_up_silu(cpu, roles, x, norm, weights.next(), y);
      };
    case Op::rms_norm_head:
      return [&cpu, roles, weights, x = data.matrix<float>(c.rows, in), norm = data.rms_norm(in),
              rows = data.count_up(c.rows), logits = data.matrix<float>(c.rows, out)]() mutable {
        rms_norm_head(cpu, roles, x, rows, norm, weights.next(), logits);
      };
    case Op::linear_residual:
      return [&cpu, roles, weights, a = data.act(c.activation, c.rows, in),
              x = data.matrix<float>(c.rows, out)]() mutable {
        linear_residual(cpu, roles, a, weights.next(), x);
      };
    case Op::linear:
      return [&cpu, roles, weights, x = data.act(c.activation, c.rows, in),
              y = data.act(c.activation, c.rows, out)]() mutable {
        linear(cpu, roles, x, weights.next(), y);
      };
    case Op::patch_embed:
      return [&cpu, weights, patches = data.matrix<uint8_t>(c.rows, in),
              norm = PixelNorm{{1 / 127.5F, 1 / 127.5F, 1 / 127.5F}, {-1, -1, -1}},
              x = data.matrix<float>(c.rows, out)]() mutable {
        patch_embed(cpu, patches, norm, weights.next(), x);
      };
    case Op::layer_norm_linear:
      return [&cpu, weights, x = data.matrix<float>(c.rows, in), norm = data.layer_norm(in),
              y = data.act(c.activation, c.rows, out)]() mutable {
        layer_norm_linear(cpu, x, norm, weights.next(), y);
      };
    case Op::layer_norm_linear_gelu:
      return [&cpu, weights, gelu = c.merge == 1 ? Gelu::tanh : Gelu::erf,
              x = data.matrix<float>(c.rows * c.merge, in / c.merge),
              norm = data.layer_norm(in / c.merge),
              y = data.act(c.activation, c.rows, out)]() mutable {
        layer_norm_linear_gelu(cpu, x, norm, weights.next(), gelu, y);
      };
    case Op::gather_rows:
    case Op::attention:
    case Op::rms_norm_moe:
    case Op::vision_attention:
      break;
  }
  require(false, "a product was expected");
  return {};
}

/// Copies of one weight; cases of one shape share them.
struct WeightSet {
  LinearDesc desc;
  bool has_bias = false;
  int64_t copies = 1;
  std::vector<Linear> linears{};

  bool serves(const KernelCase& c) const {
    return desc.out == c.weight.out && desc.in == c.weight.in && desc.kind == c.weight.kind &&
           has_bias == c.has_bias;
  }
};

std::vector<WeightSet> weight_sets(const Cpu& cpu, std::span<const KernelCase> cases,
                                   const RunMemory& memory) {
  std::vector<WeightSet> sets;
  for (const KernelCase& c : cases) {
    if (c.weight.out == 0 || c.op == Op::rms_norm_moe) continue;
    auto set =
        std::find_if(sets.begin(), sets.end(), [&](const WeightSet& s) { return s.serves(c); });
    if (set == sets.end()) set = sets.insert(set, {c.weight, c.has_bias, 1, {}});
    set->copies = std::max(set->copies, memory.copies(c.rows, packed_bytes(cpu, c.weight)));
  }
  return sets;
}

/// Takes all data from `data` and returns one call per case.
std::vector<Call> make_calls(Cpu& cpu, std::span<const KernelCase> cases, const RunMemory& memory,
                             KernelData& data) {
  std::vector<WeightSet> sets = weight_sets(cpu, cases, memory);
  for (WeightSet& set : sets) {
    for (int64_t i = 0; i < set.copies; ++i) {
      set.linears.push_back(data.linear(set.desc, set.has_bias));
    }
  }
  SharedExperts experts;  // of all cases, which differ in rows only
  std::vector<Call> calls;
  for (const KernelCase& c : cases) {
    if (c.op == Op::attention) {
      calls.push_back(attention_call(cpu, c, memory, data));
    } else if (c.op == Op::rms_norm_moe) {
      if (experts == nullptr) experts = make_experts(c, data);
      calls.push_back(moe_call(cpu, c, memory, data, experts));
    } else if (c.op == Op::vision_attention) {
      calls.push_back(vision_attention_call(cpu, c, data));
    } else {
      const auto set =
          std::find_if(sets.begin(), sets.end(), [&](const WeightSet& s) { return s.serves(c); });
      calls.push_back(c.op == Op::gather_rows ? gather_call(cpu, c, data, set->linears[0])
                                              : product_call(cpu, c, data, Rotation(set->linears)));
    }
  }
  return calls;
}

OperatorShapes operator_shapes(std::span<const KernelCase> cases) {
  OperatorShapes shapes;
  for (const KernelCase& c : cases) {
    shapes.max_rows = std::max(shapes.max_rows, c.rows);
    shapes.max_in = std::max(shapes.max_in, c.weight.in);
    shapes.max_out = std::max(shapes.max_out, c.weight.out);
    shapes.max_heads = std::max(shapes.max_heads, c.heads.num_heads);
    shapes.max_head_dim = std::max(shapes.max_head_dim, c.heads.head_dim);
    if (c.moe.rows > shapes.moe.rows) shapes.moe = c.moe;
    if (c.op == Op::vision_attention) {
      shapes.max_attention_len = std::max(shapes.max_attention_len, c.rows);
    }
  }
  return shapes;
}

}  // namespace

int64_t RunMemory::copies(int64_t rows, int64_t bytes) const {
  return rows > kFewRows ? 1 : std::max<int64_t>(1, divide_up(rotated_bytes, bytes));
}

Result<std::unique_ptr<KernelRuns>> KernelRuns::create(Threads& threads, Isa isa,
                                                       std::span<const KernelCase> cases,
                                                       const RunMemory& memory) {
  std::unique_ptr<KernelRuns> runs(new KernelRuns(threads, isa));
  Cpu& cpu = runs->cpu_;
  KernelData counted(cpu, nullptr);
  make_calls(cpu, cases, memory, counted);
  const int64_t scratch = scratch_bytes(cpu, operator_shapes(cases));
  if (counted.bytes() + scratch > memory.available_bytes) {
    return Error{ErrorCode::does_not_fit,
                 fmt::format("found {:.1f} GB of free memory, expected {:.1f} GB for the data of "
                             "all cases; --op measures fewer",
                             static_cast<double>(memory.available_bytes) / 1e9,
                             static_cast<double>(counted.bytes() + scratch) / 1e9),
                 ""};
  }
  Result<Arena> scratch_arena = Arena::create("operator scratch", scratch);
  if (!scratch_arena) return scratch_arena.error();
  runs->scratch_ = std::move(*scratch_arena);
  Result<Arena> data_arena = Arena::create("data of the cases", counted.bytes());
  if (!data_arena) return data_arena.error();
  runs->data_ = std::move(*data_arena);
  KernelData data(cpu, &runs->data_);
  runs->calls_ = make_calls(cpu, cases, memory, data);
  return runs;
}

}  // namespace qvl
