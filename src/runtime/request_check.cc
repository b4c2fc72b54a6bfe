#include "runtime/request_check.h"

#include <fmt/format.h>

namespace qvl {
namespace {

constexpr size_t kMaxSaltBytes = 1024;

Status check_span(const Request& request, size_t index, const ModelConfig& model) {
  const EmbedSpan& span = request.spans[index];
  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::bad_messages, fmt::format("span {}: {}", index, what), "spans"};
  };
  const int64_t begin = index == 0 ? 0 : request.spans[index - 1].end();
  const auto tokens = static_cast<int64_t>(request.prompt_tokens.size());
  if (span.merged_h < 1 || span.merged_w < 1 ||
      span.rows != int64_t{span.merged_h} * span.merged_w) {
    return bad(fmt::format("{} rows for a grid of {}×{}", span.rows, span.merged_h, span.merged_w));
  }
  if (span.first_token < begin || span.first_token > tokens - span.rows) {
    return bad(fmt::format("tokens {} to {} of {}", span.first_token, span.end(), tokens));
  }
  if (span.media < 0 || static_cast<size_t>(span.media) >= request.media.size()) {
    return bad(fmt::format("media item {} of {}", span.media, request.media.size()));
  }
  if (index > 0 && span.media < request.spans[index - 1].media) {
    return bad("media items are not in the order of the prompt");
  }
  const int64_t rows =
      request.media[static_cast<size_t>(span.media)].grid.patches() / model.vision.merge_unit();
  if (span.feature_row < 0 || span.feature_row > rows - span.rows) {
    return bad(fmt::format("feature rows {} to {} of {}", span.feature_row,
                           span.feature_row + span.rows, rows));
  }
  return {};
}

}  // namespace

Status check_request(const Request& request, const ModelConfig& model,
                     const RequestLimits& limits) {
  const Status sampling = validate(request.sampling);
  if (!sampling) return sampling.error();
  if (request.prompt_tokens.empty()) return Error{ErrorCode::prompt_empty, "0 tokens", "prompt"};
  const auto tokens = static_cast<int64_t>(request.prompt_tokens.size());
  if (tokens >= limits.max_tokens) {
    return Error{ErrorCode::prompt_too_long,
                 fmt::format("found {} tokens of prompt, expected at most {} and one of answer",
                             tokens, limits.max_tokens - 1),
                 "prompt"};
  }
  for (const int32_t id : request.prompt_tokens) {
    if (id < 0 || id >= model.text.vocab_size) {
      return Error{
          ErrorCode::bad_messages,
          fmt::format("token {} is outside the vocabulary of {}", id, model.text.vocab_size),
          "prompt"};
    }
  }
  for (const Patches& media : request.media) {
    const Grid& g = media.grid;
    const int merge = model.vision.spatial_merge_size;
    if (g.t < 1 || g.h < merge || g.w < merge || g.h % merge != 0 || g.w % merge != 0) {
      return Error{ErrorCode::bad_image, fmt::format("grid of {}×{}×{} patches", g.t, g.h, g.w),
                   "media"};
    }
    if (g.patches() > limits.max_patches) {
      return Error{
          ErrorCode::image_too_large,
          fmt::format("found {} patches, expected at most {}", g.patches(), limits.max_patches),
          "media"};
    }
    if (static_cast<int64_t>(media.rows.size()) != g.patches() * model.vision.patch_dim()) {
      return Error{ErrorCode::bad_image,
                   fmt::format("{} bytes for {} patches of {}", media.rows.size(), g.patches(),
                               model.vision.patch_dim()),
                   "media"};
    }
  }
  for (size_t i = 0; i < request.spans.size(); ++i) {
    const Status span = check_span(request, i, model);
    if (!span) return span.error();
  }
  if (request.cache_salt.size() > kMaxSaltBytes) {
    return Error{ErrorCode::bad_messages,
                 fmt::format("found {} bytes, expected at most {}", request.cache_salt.size(),
                             kMaxSaltBytes),
                 "cache_salt"};
  }
  for (const LogitBias& bias : request.sampling.logit_bias) {
    if (bias.token >= model.text.vocab_size) {
      return Error{ErrorCode::bad_sampling,
                   fmt::format("found token {}, expected one of the vocabulary of {}", bias.token,
                               model.text.vocab_size),
                   "logit_bias"};
    }
  }
  if (!(request.deadline_ms >= 0)) {
    return Error{ErrorCode::bad_messages,
                 fmt::format("found {} ms, expected 0 or more", request.deadline_ms),
                 "deadline_ms"};
  }
  return {};
}

}  // namespace qvl
