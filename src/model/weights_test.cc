#include "model/weights.h"

#include <gtest/gtest.h>

#include <map>

#include "core/arena.h"
#include "io/dummy.h"

namespace qvl {
namespace {

ModelConfig small_config() {
  ModelConfig config = *preset_config("2b");
  config.text.vocab_size = 11;
  config.text.hidden_size = 32;
  config.text.intermediate_size = 24;
  config.text.num_hidden_layers = 1;
  config.text.num_attention_heads = 2;
  config.text.num_key_value_heads = 1;
  config.vision.depth = 1;
  config.vision.hidden_size = 16;
  config.vision.intermediate_size = 20;
  config.vision.num_heads = 2;
  config.vision.out_hidden_size = 32;
  config.vision.num_position_embeddings = 9;
  config.vision.deepstack_visual_indexes = {0};
  return config;
}

/// Counts how often each tensor is asked for.
class CountingSource final : public TensorSource {
 public:
  explicit CountingSource(const ModelConfig& config) : source_(make_dummy_source(config)) {}

  const TensorInfo* find(std::string_view name) const override { return source_->find(name); }
  std::vector<const TensorInfo*> tensors() const override { return source_->tensors(); }
  const void* rows(const TensorInfo& tensor, int64_t first, int64_t count,
                   void* scratch) const override {
    ++calls[tensor.name];
    return source_->rows(tensor, first, count, scratch);
  }
  void release(const TensorInfo& tensor, int64_t first, int64_t count) const override {
    source_->release(tensor, first, count);
  }

  mutable std::map<std::string, int> calls;

 private:
  std::unique_ptr<TensorSource> source_;
};

TEST(LoadWeights, AVectorOrASmallTableIsReadAtOnce) {
  const ModelConfig config = small_config();
  const CountingSource source(config);
  Ref ref;
  const Result<WeightPlan> plan = plan_weights(ref, config, source, ActFormat::f32);
  ASSERT_TRUE(plan) << plan.error().message();
  Result<Arena> arena = Arena::create("weights", plan->bytes);
  ASSERT_TRUE(arena) << arena.error().message();
  const auto progress = [](int64_t) {};
  const Result<ModelWeights> weights =
      load_weights(ref, config, source, ActFormat::f32, *arena, LoadProgress(progress));
  ASSERT_TRUE(weights) << weights.error().message();
  int vectors = 0;
  for (const TensorInfo* tensor : source.tensors()) {
    const bool is_table = tensor->name == "model.visual.pos_embed.weight";
    if (tensor->shape.size() != 1 && !is_table) continue;
    ++vectors;
    EXPECT_EQ(source.calls[tensor->name], 1) << tensor->name;
  }
  EXPECT_GT(vectors, 10);
}

}  // namespace
}  // namespace qvl
