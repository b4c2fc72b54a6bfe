#include "runtime/runner.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/clock.h"
#include "runtime/model_runner.h"
#include "runtime/runner_cuda.h"

namespace qvl {
namespace {

constexpr std::string_view kEmbedding = "model.language_model.embed_tokens.weight";

/// What is alike for backends that work in the memory of this machine.
struct HostMemory {
  static constexpr bool kAsynchronous = false;
  std::unique_ptr<Arena> scratch = std::make_unique<Arena>();

  static Result<Arena> make_arena(const char* name, int64_t bytes) {
    return Arena::create(name, bytes);
  }
  static MemoryRoom room() { return host_room(); }
  static Status prepare(const ModelConfig&, const EngineConfig&, int64_t) { return {}; }
  template <class Forward>
  static void record(Forward&&) {}
  static bool replay(const HostLists&, RowRoles, Vec<const int32_t>) { return false; }
  static PlacedLists place(const HostLists& lists) { return {lists.tokens, lists.positions}; }
  static Vec<const int32_t> place_rows(Vec<const int32_t> rows) { return rows; }
  static void choose(Mat<const float>) {}
  static std::optional<int32_t> greedy_token(int64_t) { return std::nullopt; }
  static void rank(Mat<const float>, Vec<const CandidateRequest>) {}
  static const Candidates* candidates(int64_t) { return nullptr; }
  static Vec<const float> logits_row(Mat<const float> logits, int64_t row) {
    return {logits.row(row), logits.cols};
  }
  static void wait() {}

  void start_clock() { clock_ = Stopwatch(); }
  void stop_clock() { ms_ = clock_.ms(); }
  double clock_ms() const { return ms_; }

 private:
  Stopwatch clock_;
  double ms_ = 0;
};

struct CpuOwner : HostMemory {
  std::unique_ptr<Threads> threads;
  Cpu backend;

  std::string describe() const {
    return fmt::format("cpu {}, {} threads", isa_name(backend.isa), threads->count());
  }
  BackendNeeds needs(const ModelConfig& model, ActFormat activation,
                     const EngineConfig& config) const {
    return backend_needs(backend, model, activation, config);
  }
};

struct RefOwner : HostMemory {
  Ref backend;

  static std::string describe() { return "ref"; }
  BackendNeeds needs(const ModelConfig& model, ActFormat activation,
                     const EngineConfig& config) const {
    return backend_needs(backend, model, activation, config);
  }
};

Result<Isa> choose_isa(IsaChoice choice) {
  if (choice == IsaChoice::best) return preferred_isa();
  const Result<Isa> best = detect_isa();
  if (!best) return best.error();
  const Isa wanted = choice == IsaChoice::avx2     ? Isa::avx2
                     : choice == IsaChoice::avx512 ? Isa::avx512
                                                   : Isa::avx512_bf16;
  if (wanted > *best) {
    return Error{ErrorCode::bad_flag,
                 fmt::format("this processor has {} at most, {} was asked for", isa_name(*best),
                             isa_name(wanted)),
                 "--isa"};
  }
  return wanted;
}

}  // namespace

ActFormat resolve_activation(ActivationType wanted, const TensorSource& weights) {
  if (wanted == ActivationType::float32) return ActFormat::f32;
  if (wanted == ActivationType::bfloat16) return ActFormat::bf16;
  const std::vector<const TensorInfo*> all = weights.tensors();
  const auto wants_bf16 = [](const TensorInfo* t) {
    return !t->quantised.empty() || (t->dtype == DType::bf16 && t->name == kEmbedding);
  };
  return std::any_of(all.begin(), all.end(), wants_bf16) ? ActFormat::bf16 : ActFormat::f32;
}

PixelNorm pixel_norm(const ProcessorConfig& processor) {
  PixelNorm norm;
  for (size_t c = 0; c < 3; ++c) {
    norm.scale[c] = processor.rescale_factor / processor.image_std[c];
    norm.shift[c] = -processor.image_mean[c] / processor.image_std[c];
  }
  return norm;
}

bool runs_on_gpu(const ModelFiles& model, const EngineConfig& config) {
  if (config.backend != BackendKind::automatic) return config.backend == BackendKind::cuda;
  return resolve_activation(config.dtype, *model.weights) == ActFormat::bf16 && has_gpu();
}

Result<std::unique_ptr<Runner>> make_runner(const ModelFiles& model, const EngineConfig& config) {
  if (runs_on_gpu(model, config)) return make_cuda_runner(model, config);
  if (config.backend == BackendKind::ref) return load_runner(RefOwner{}, model, config);
  const Result<Isa> isa = choose_isa(config.isa);
  if (!isa) return isa.error();
  CpuOwner owner;
  owner.threads = std::make_unique<Threads>(config.threads);
  owner.backend = make_cpu(*owner.threads, *owner.scratch, *isa);
  return load_runner(std::move(owner), model, config);
}

int64_t kv_cache_bytes(const ModelFiles& model, const EngineConfig& config, int64_t tokens) {
  const TextConfig& text = model.config.text;
  const KvShape shape = kv_shape(text, resolve_activation(config.dtype, *model.weights));
  const int64_t page = config.backend == BackendKind::cpu ? kv_page_bytes(Cpu{}, shape)
                                                          : kv_page_bytes(Ref{}, shape);
  return pages_for(tokens) * page * text.num_hidden_layers;
}

}  // namespace qvl
