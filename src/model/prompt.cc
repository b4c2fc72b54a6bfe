#include "model/prompt.h"

#include <fmt/format.h>

#include <string_view>

#include "media/video.h"

namespace qvl {
namespace {

constexpr std::string_view kVideoPad = "<|video_pad|>";
constexpr std::string_view kVideoWrapped = "<|vision_start|><|video_pad|><|vision_end|>";

/// Hands out media of one kind in order.
class MediaQueue {
 public:
  MediaQueue(std::span<const MediaItem> media, MediaKind kind) : media_(media), kind_(kind) {}

  /// Index of the next item of this kind, or -1.
  int next() {
    while (next_ < media_.size() && media_[next_].kind != kind_) ++next_;
    return next_ < media_.size() ? static_cast<int>(next_++) : -1;
  }

 private:
  std::span<const MediaItem> media_;
  MediaKind kind_;
  size_t next_ = 0;
};

Error mismatch(std::string_view what, std::string_view found) {
  return {ErrorCode::bad_messages,
          fmt::format("the text asks for {} {}s than were given", found, what), ""};
}

/// "<0.2 seconds><|vision_start|><|video_pad|><|vision_end|>…", one group per slice; a pad stands
/// for all its tokens until the ids are expanded.
std::string video_text(const MediaItem& video) {
  std::string out;
  for (const double seconds : video.timestamps) {
    out += timestamp_text(seconds);
    out += kVideoWrapped;
  }
  return out;
}

Status expand_videos(std::string& text, MediaQueue& videos, std::span<const MediaItem> media,
                     VideoWrapper wrapper) {
  std::string out;
  size_t cursor = 0;
  while (true) {
    const size_t pad = text.find(kVideoPad, cursor);
    if (pad == std::string::npos) break;
    const int index = videos.next();
    if (index < 0) return mismatch("video", "more");
    constexpr size_t kBefore = kVideoWrapped.find(kVideoPad);
    const bool wrapped = pad >= cursor + kBefore &&
                         std::string_view(text).substr(pad - kBefore).starts_with(kVideoWrapped);
    const bool replace_all = wrapped && wrapper == VideoWrapper::replaced;
    const size_t from = replace_all ? pad - kBefore : pad;
    const size_t length = replace_all ? kVideoWrapped.size() : kVideoPad.size();
    out.append(text, cursor, from - cursor);
    out += video_text(media[static_cast<size_t>(index)]);
    cursor = from + length;
  }
  out.append(text, cursor);
  text = std::move(out);
  return {};
}

/// The spans of one kind of placeholder, one item after the other, slice by slice.
class SpanCursor {
 public:
  SpanCursor(std::span<const MediaItem> media, MediaKind kind, int merge_size)
      : media_(media), queue_(media, kind), merge_size_(merge_size) {}

  /// The next span, or one with media < 0 when all are used.
  EmbedSpan next() {
    while (index_ < 0 || slice_ == media_[static_cast<size_t>(index_)].patches.grid.t) {
      index_ = queue_.next();
      slice_ = 0;
      if (index_ < 0) return {.media = -1};
    }
    const Patches& patches = media_[static_cast<size_t>(index_)].patches;
    EmbedSpan span;
    span.merged_h = patches.grid.h / merge_size_;
    span.merged_w = patches.grid.w / merge_size_;
    span.rows = int64_t{span.merged_h} * span.merged_w;
    span.media = index_;
    span.feature_row = slice_ * span.rows;
    span.content_hash = patches.content_hash;
    ++slice_;
    return span;
  }

 private:
  std::span<const MediaItem> media_;
  MediaQueue queue_;
  int merge_size_;
  int index_ = -1;
  int slice_ = 0;
};

}  // namespace

Result<Prompt> build_prompt(const Tokenizer& tokenizer, const ModelConfig& config,
                            std::vector<TextPiece> pieces, std::span<const MediaItem> media,
                            VideoWrapper wrapper) {
  MediaQueue videos(media, MediaKind::video);
  for (TextPiece& piece : pieces) {
    if (piece.origin != Origin::template_text) continue;
    const Status expanded = expand_videos(piece.text, videos, media, wrapper);
    if (!expanded) return expanded.error();
  }
  if (videos.next() >= 0) return mismatch("video", "fewer");

  const std::vector<int32_t> ids = tokenizer.encode(pieces);
  const int merge_size = config.vision.spatial_merge_size;
  SpanCursor image_spans(media, MediaKind::image, merge_size);
  SpanCursor video_spans(media, MediaKind::video, merge_size);
  Prompt prompt;
  for (const int32_t id : ids) {
    const bool image = id == config.image_token_id;
    if (!image && id != config.video_token_id) {
      prompt.tokens.push_back(id);
      continue;
    }
    EmbedSpan span = image ? image_spans.next() : video_spans.next();
    if (span.media < 0) return mismatch(image ? "picture" : "video", "more");
    span.first_token = static_cast<int64_t>(prompt.tokens.size());
    prompt.tokens.insert(prompt.tokens.end(), static_cast<size_t>(span.rows), id);
    prompt.spans.push_back(span);
  }
  if (image_spans.next().media >= 0) return mismatch("picture", "fewer");
  return prompt;
}

}  // namespace qvl
