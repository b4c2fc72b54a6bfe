#pragma once

/// A loaded model on one backend: the definition of the runner, for the files that instantiate it.
///
/// Owner is a backend with what it borrows, and what differs between memory of the host and of a
/// device: see CpuOwner in runner.cc, the plain one.

#include <fmt/format.h>

#include <algorithm>

#include "core/clock.h"
#include "kernels/device_lists.h"
#include "kernels/transfer.h"
#include "model/mrope.h"
#include "runtime/runner.h"

namespace qvl {

/// Element type of activations and cache when `wanted` leaves it open.
ActFormat resolve_activation(ActivationType wanted, const TensorSource& weights);
PixelNorm pixel_norm(const ProcessorConfig& processor);

/// Lists of a step where the backend reads them.
struct PlacedLists {
  Vec<const int32_t> tokens;
  Mat<const int32_t> positions;
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
    const Result<PlannedMemory> planned =
        plan_memory(owner_.needs(config_, activation_, config), owner_.room(), config_,
                    *weight_plan, activation_, config);
    if (!planned) return planned.error();
    plan_ = planned->plan;
    const ArenaSizes& sizes = planned->sizes;

    Status reserved;
    const auto reserve = [&](Arena& arena, const char* name, int64_t bytes) {
      if (!reserved) return;
      Result<Arena> made = owner_.make_arena(name, bytes);
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
    if (Status ready = owner_.prepare(config_, config, plan_.max_model_len); !ready) {
      return ready;
    }
    owner_.record([this](const TextBatch& batch, Vec<const int32_t> rows) {
      text_.forward(owner_.backend, batch, kv_, workspace_, nullptr);
      return text_.logits(owner_.backend, batch.roles, rows, workspace_);
    });
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
    text_.forward(owner_.backend, placed_batch(), kv_, workspace_, observer);
  }

  Mat<const float> logits(RowRoles roles, Vec<const int32_t> rows) override {
    return read_back(owner_.backend,
                     text_.logits(owner_.backend, roles, owner_.place_rows(rows), workspace_));
  }

  void compute(RowRoles roles, Vec<const int32_t> rows,
               Vec<const CandidateRequest> wanted) override {
    if (!feature_rows_of_step_.empty() || !owner_.replay(host_lists(), roles_, rows)) {
      if (roles_.rows() > 0) run(nullptr);
      if (rows.size > 0) {
        owner_.choose(text_.logits(owner_.backend, roles, owner_.place_rows(rows), workspace_));
      }
    }
    owner_.rank(workspace_.logits, wanted);
  }
  void wait() override { owner_.wait(); }
  bool is_asynchronous() const override { return Owner::kAsynchronous; }
  std::optional<int32_t> greedy_token(int64_t row) const override {
    return owner_.greedy_token(row);
  }
  const Candidates* candidates(int64_t index) const override { return owner_.candidates(index); }
  Vec<const float> logits_row(int64_t row) override {
    return owner_.logits_row(workspace_.logits, row);
  }

  void begin_vision(std::span<const Picture> pictures) override {
    std::vector<VisionItem> items;
    items.reserve(pictures.size());
    for (const Picture& p : pictures)
      items.push_back({p.grid, p.patches.get(), feature_view(p.features)});
    owner_.start_clock();
    begun_ = true;
    pass_ = vision_.begin(owner_.backend, items, vision_workspace_);
  }
  bool advance_vision(int64_t layers) override {
    if (!begun_) owner_.start_clock();
    begun_ = false;
    const bool done = vision_.advance(owner_.backend, pass_, layers, vision_workspace_);
    owner_.stop_clock();
    return done;
  }
  double vision_ms() const override { return owner_.clock_ms(); }
  ActMat features(RowRange rows) override { return read_back(owner_.backend, feature_view(rows)); }
  Mat<const float> vision_hidden() override {
    return read_back(owner_.backend, Mat<const float>(vision_workspace_.x));
  }

 private:
  ActMat feature_view(RowRange rows) const { return features_.slice_rows(rows.first, rows.rows); }

  HostLists host_lists() const {
    const int64_t rows = roles_.rows();
    return {.tokens = {tokens_.data(), rows},
            .positions = {positions_.data(), 3, rows, rows},
            .sequences = sequences_};
  }

  TextBatch placed_batch() {
    const HostLists lists = host_lists();
    const PlacedLists placed = owner_.place(lists);
    return {.tokens = placed.tokens,
            .positions = placed.positions,
            .roles = roles_,
            .sequences = lists.sequences,
            .features = feature_rows_of_step_};
  }

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
           feature_view({held->first + span.feature_row + from - span.first_token, to - from})});
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
  bool begun_ = false;  // and not advanced

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

}  // namespace qvl
