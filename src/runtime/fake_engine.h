#pragma once

/// Engines without a model, and requests for them; for tests and for measuring the engine itself.

#include <cstring>
#include <memory>
#include <string>

#include "runtime/engine_impl.h"
#include "runtime/fake_device.h"

namespace qvl {

struct FakeEngineShape {
  int64_t kv_pages = 1024;
  int64_t feature_rows = 256;
  int32_t vocab_size = 1000;
};

inline std::unique_ptr<Engine> make_fake_engine(const FakeEngineShape& shape,
                                                const EngineConfig& config) {
  EngineModel model;
  model.config.text.vocab_size = shape.vocab_size;
  VisionConfig& vision = model.config.vision;
  vision.depth = 4;
  vision.patch_size = 1;
  vision.temporal_patch_size = 1;
  vision.spatial_merge_size = 2;
  model.plan.kv_pages = shape.kv_pages;
  model.plan.max_model_len = shape.kv_pages * kPageTokens;
  model.feature_rows = shape.feature_rows;
  auto device = std::make_unique<FakeDevice>(FakeDevice::Config{.kv_pages = shape.kv_pages,
                                                                .feature_rows = shape.feature_rows,
                                                                .merge_unit = vision.merge_unit(),
                                                                .vision_layers = vision.depth,
                                                                .vocab_size = shape.vocab_size});
  return std::move(*make_engine(std::move(device), std::move(model), config));
}

/// A picture of a fake engine. Pictures of one number have one grid and are equal.
inline Patches fake_picture(uint64_t number, Grid grid) {
  Patches picture;
  picture.grid = grid;
  picture.rows.resize(static_cast<size_t>(grid.patches() * 3));
  std::memcpy(picture.rows.data(), &number, sizeof(number));
  std::memcpy(picture.content_hash.data(), &number, sizeof(number));
  return picture;
}

/// Puts a picture at the end of the prompt.
inline void append_picture(Request& request, Patches picture) {
  EmbedSpan span;
  span.first_token = static_cast<int64_t>(request.prompt_tokens.size());
  span.merged_h = picture.grid.h / 2;
  span.merged_w = picture.grid.w / 2;
  span.rows = int64_t{span.merged_h} * span.merged_w;
  span.media = static_cast<int>(request.media.size());
  span.content_hash = picture.content_hash;
  request.prompt_tokens.resize(request.prompt_tokens.size() + static_cast<size_t>(span.rows), 1);
  request.spans.push_back(span);
  request.media.push_back(std::move(picture));
}

}  // namespace qvl
