#pragma once

/// Rendered template text + media → token ids with expanded placeholders and the spans they form.

#include <span>
#include <string>
#include <vector>

#include "io/model_config.h"
#include "media/image.h"
#include "qvl/request.h"
#include "text/tokenizer.h"

namespace qvl {

enum class MediaKind : uint8_t { image, video };

struct MediaItem {
  MediaKind kind = MediaKind::image;
  Size source;  ///< in pixels, of the picture or of each frame, before resizing
  Patches patches;
  std::vector<double> timestamps;  ///< videos: seconds of each temporal slice
};

/// What a video's time stamps stand in for. The authors' release code (transformers 4.57) replaces
/// the whole
/// <|vision_start|><|video_pad|><|vision_end|>; later versions (5.10 on) replace the inner token
/// and leave the outer pair.
enum class VideoWrapper : uint8_t { replaced, kept };

struct Prompt {
  std::vector<int32_t> tokens;
  std::vector<EmbedSpan> spans;
};

/// Media are consumed in order, pictures and videos from a queue each. Error bad_messages if the
/// text has more or fewer placeholders than there are media.
Result<Prompt> build_prompt(const Tokenizer& tokenizer, const ModelConfig& config,
                            std::vector<TextPiece> pieces, std::span<const MediaItem> media,
                            VideoWrapper wrapper);

}  // namespace qvl
