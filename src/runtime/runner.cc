#include "runtime/runner.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/clock.h"
#include "model/mrope.h"

namespace qvl {
namespace {

constexpr std::string_view kEmbedding = "model.language_model.embed_tokens.weight";

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

/// A backend with what it borrows.
struct CpuOwner {
  std::unique_ptr<Threads> threads;
  std::unique_ptr<Arena> scratch = std::make_unique<Arena>();
  Cpu backend;

  std::string describe() const {
    return fmt::format("cpu {}, {} threads", isa_name(backend.isa), threads->count());
  }
};

struct RefOwner {
  std::unique_ptr<Arena> scratch = std::make_unique<Arena>();
  Ref backend;

  std::string describe() const { return "ref"; }
};

template <class Owner>
class ModelRunner final : public Runner {
 public:
  explicit ModelRunner(Owner owner) : owner_(std::move(owner)) {}

  Status load(const ModelFiles& model, const EngineConfig& config) {
    const Stopwatch clock;
    config_ = model.config;
    max_patches_ = config.max_patches;
    activation_ = resolve_activation(config.dtype, *model.weights);
    Result<WeightPlan> weight_plan =
        plan_weights(owner_.backend, config_, *model.weights, activation_);
    if (!weight_plan) return weight_plan.error();
    Result<PlannedMemory> planned =
        plan_memory(owner_.backend, config_, *weight_plan, activation_, config, resident_bytes());
    if (!planned) return planned.error();
    plan_ = planned->plan;
    const ArenaSizes& sizes = planned->sizes;

    Status reserved;
    const auto reserve = [&](Arena& arena, const char* name, int64_t bytes) {
      if (!reserved) return;
      Result<Arena> made = Arena::create(name, bytes);
      if (made) {
        arena = std::move(*made);
      } else {
        reserved = made.error();
      }
    };
    reserve(weights_memory_, "weights", sizes.weights);
    reserve(kv_memory_, "KV cache", sizes.kv);
    reserve(vision_memory_, "vision workspace", sizes.vision);
    reserve(feature_memory_, "vision features", sizes.features);
    reserve(activation_memory_, "activations", sizes.activations);
    reserve(*owner_.scratch, "operator scratch", sizes.scratch);
    if (!reserved) return reserved;

    int64_t source_bytes = 0;
    for (const TensorInfo* t : model.weights->tensors()) source_bytes += t->rows() * t->row_bytes();
    const auto progress = [&](int64_t done) {
      if (config.load_progress) {
        config.load_progress(static_cast<double>(done) / static_cast<double>(source_bytes));
      }
    };
    Result<ModelWeights> weights =
        load_weights(owner_.backend, config_, *model.weights, activation_, weights_memory_,
                     LoadProgress(progress));
    if (!weights) return weights.error();

    text_ = TextModel(config_, weights->text);
    vision_ = VisionModel(config_, weights->vision, pixel_norm(model.image_processor));
    kv_ = KvPool(kv_shape(config_.text, activation_), config_.text.num_hidden_layers,
                 plan_.kv_pages, sizes.kv_page_bytes, kv_memory_);
    workspace_ = TextWorkspace(config_.text, activation_, config.max_step_tokens,
                               logits_rows(config), activation_memory_);
    vision_workspace_ = VisionWorkspace(config_.vision, activation_, max_patches_, vision_memory_);
    feature_rows_ = sizes.feature_rows;
    features_ =
        feature_memory_.take_act(act_dtype(activation_), feature_rows_, vision_.feature_cols());
    reserve_step(config.max_step_tokens);
    stats_ = {clock.ms(), sizes.weights, weight_plan->unused,
              fmt::format("{}, {}", owner_.describe(),
                          activation_ == ActFormat::bf16 ? "bfloat16" : "float32")};
    return {};
  }

  void prepare(std::span<const SequenceChunk> chunks) override {
    tokens_.clear();
    sequences_.clear();
    feature_rows_of_step_.clear();
    block_tables_.clear();
    roles_ = {};
    size_t pages = 0;
    for (const SequenceChunk& chunk : chunks) pages += chunk.sequence->block_table.size();
    block_tables_.reserve(pages);  // sequences_ points into it
    for (const SequenceChunk& chunk : chunks) {
      require(chunk.role == Role::generated || roles_.generated == 0, "prompt chunks come first");
      add_chunk(chunk);
      (chunk.role == Role::prompt ? roles_.prompt : roles_.generated) += chunk.rows;
    }
    const int64_t rows = roles_.rows();
    require(rows <= workspace_.x.rows, "step exceeds its workspace");
    const Mat<int32_t> positions = make_mat(positions_.data(), 3, rows);
    int64_t row = 0;
    for (const SequenceChunk& chunk : chunks) {
      mrope_positions(chunk.sequence->spans, chunk.begin, positions.slice_cols(row, chunk.rows));
      row += chunk.rows;
    }
  }

  void run(LayerObserver* observer) override {
    const int64_t rows = roles_.rows();
    text_.forward(owner_.backend,
                  {.tokens = {tokens_.data(), rows},
                   .positions = make_mat(positions_.data(), 3, rows),
                   .roles = roles_,
                   .sequences = sequences_,
                   .features = feature_rows_of_step_},
                  kv_, workspace_, observer);
  }

  Mat<const float> logits(RowRoles roles, Vec<const int32_t> rows) override {
    return text_.logits(owner_.backend, roles, rows, workspace_);
  }

  void begin_vision(std::span<const Picture> pictures) override {
    std::vector<VisionItem> items;
    items.reserve(pictures.size());
    for (const Picture& p : pictures)
      items.push_back({p.grid, p.patches.get(), features(p.features)});
    pass_ = vision_.begin(owner_.backend, items, vision_workspace_);
  }
  bool advance_vision(int64_t layers) override {
    return vision_.advance(owner_.backend, pass_, layers, vision_workspace_);
  }
  ActMat features(RowRange rows) const override {
    return features_.slice_rows(rows.first, rows.rows);
  }
  Mat<const float> vision_hidden() const override { return vision_workspace_.x; }

 private:
  /// Lists of a step keep their capacity, so that a step allocates nothing.
  void reserve_step(int64_t rows) {
    const auto n = static_cast<size_t>(rows);
    tokens_.reserve(n);
    positions_.resize(3 * n);
    sequences_.reserve(n);
    feature_rows_of_step_.reserve(n);
  }

  void add_chunk(const SequenceChunk& chunk) {
    const Sequence& s = *chunk.sequence;
    const auto first_row = static_cast<int64_t>(tokens_.size());
    const int64_t begin = chunk.begin;
    const int64_t end = begin + chunk.rows;
    const auto drafts = static_cast<int64_t>(chunk.drafts.size());
    tokens_.insert(tokens_.end(), s.tokens.begin() + begin, s.tokens.begin() + end - drafts);
    tokens_.insert(tokens_.end(), chunk.drafts.begin(), chunk.drafts.end());
    const int32_t* const table = block_tables_.data() + block_tables_.size();
    block_tables_.insert(block_tables_.end(), s.block_table.begin(), s.block_table.end());
    sequences_.push_back({first_row, chunk.rows, begin, chunk.role, table});
    for (const EmbedSpan& span : s.spans) {
      const int64_t from = std::max(begin, span.first_token);
      const int64_t to = std::min(end, span.end());
      if (from >= to) continue;
      const std::optional<RowRange>& held = s.features[static_cast<size_t>(span.media)];
      require(held.has_value(), "features of a picture are missing in its prefill");
      feature_rows_of_step_.push_back(
          {first_row + from - begin,
           features({held->first + span.feature_row + from - span.first_token, to - from})});
    }
  }

  Owner owner_;
  ActFormat activation_ = ActFormat::f32;
  Arena weights_memory_;
  Arena kv_memory_;
  Arena vision_memory_;
  Arena feature_memory_;
  Arena activation_memory_;
  TextModel text_;
  VisionModel vision_;
  KvPool kv_;
  TextWorkspace workspace_;
  VisionWorkspace vision_workspace_;
  ActMat features_;
  VisionPass pass_;

  // The prepared step.
  RowRoles roles_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> block_tables_;
  std::vector<SequenceRows> sequences_;
  std::vector<FeatureRows> feature_rows_of_step_;
};

template <class Owner>
Result<std::unique_ptr<Runner>> load_runner(Owner owner, const ModelFiles& model,
                                            const EngineConfig& config) {
  auto runner = std::make_unique<ModelRunner<Owner>>(std::move(owner));
  const Status loaded = runner->load(model, config);
  if (!loaded) return loaded.error();
  return std::unique_ptr<Runner>(std::move(runner));
}

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

Result<std::unique_ptr<Runner>> make_runner(const ModelFiles& model, const EngineConfig& config) {
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
  const int64_t page = config.backend == BackendKind::ref ? kv_page_bytes(Ref{}, shape)
                                                          : kv_page_bytes(Cpu{}, shape);
  return pages_for(tokens) * page * text.num_hidden_layers;
}

}  // namespace qvl
