#include <fmt/format.h>
#include <webp/decode.h>

#include "media/byte_reader.h"
#include "media/codecs.h"
#include "media/riff.h"

namespace qvl {
namespace {

using Bytes = std::span<const uint8_t>;

/// One picture on its canvas. `data` is what WebPDecode takes: a still picture's whole file, or the
/// chunks inside an animation's frame.
struct Frame {
  Bytes data;
  Size canvas;
  Size size;
  int x;
  int y;
};

Error damaged(const char* what) {
  return {ErrorCode::bad_image, fmt::format("the WebP data is damaged: {}", what), {}};
}

Error explain(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return {ErrorCode::image_too_large, "there is not enough memory to decode it", {}};
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return {
          ErrorCode::unsupported_image, "found a WebP of a kind that libwebp does not know", {}};
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return damaged("it ends before the picture is complete");
    default:
      return damaged("its pixels cannot be decoded");
  }
}

/// The size that the pixels themselves claim, which is how many libwebp writes.
Result<Size> size_of(Bytes data) {
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(data.data(), data.size(), &features);
  if (status != VP8_STATUS_OK) return explain(status);
  return Size{features.height, features.width};
}

/// The first frame of an animation. Its chunk: position / 2, size - 1, duration, flags, then the
/// chunks of a picture. As in libwebp, the size of that picture counts and the one before is
/// skipped.
Result<Frame> first_animation_frame(Bytes chunks, Size canvas) {
  constexpr size_t kFrameHeaderBytes = 16;
  while (const std::optional<RiffChunk> chunk = next_chunk(chunks)) {
    if (chunk->id != "ANMF") continue;
    if (chunk->payload.size() < kFrameHeaderBytes) return damaged("its first frame has no header");
    const Bytes data = chunk->payload.subspan(kFrameHeaderBytes);
    const Result<Size> size = size_of(data);
    if (!size) return size.error();
    const Frame frame{.data = data,
                      .canvas = canvas,
                      .size = *size,
                      .x = static_cast<int>(le24(chunk->payload, 0)) * 2,
                      .y = static_cast<int>(le24(chunk->payload, 3)) * 2};
    if (frame.x + frame.size.width > canvas.width || frame.y + frame.size.height > canvas.height) {
      return damaged("its first frame leaves the canvas");
    }
    return frame;
  }
  return damaged("it is an animation without a frame");
}

Result<Frame> first_frame(Bytes file) {
  constexpr uint8_t kAnimationFlag = 0x02;
  constexpr size_t kExtendedHeaderBytes = 10;
  Bytes rest = file.subspan(kRiffHeaderBytes);
  const std::optional<RiffChunk> first = next_chunk(rest);
  if (!first) return damaged("it has no whole chunk");
  if (first->id == "VP8X" && first->payload.size() >= kExtendedHeaderBytes &&
      (first->payload[0] & kAnimationFlag) != 0) {
    const Size canvas{static_cast<int>(le24(first->payload, 7)) + 1,
                      static_cast<int>(le24(first->payload, 4)) + 1};
    return first_animation_frame(rest, canvas);
  }
  const Result<Size> size = size_of(file);
  if (!size) return size.error();
  return Frame{.data = file, .canvas = *size, .size = *size, .x = 0, .y = 0};
}

/// Writes the frame into its place on the canvas; alpha is dropped.
Status decode_frame(const Frame& frame, Image& canvas) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) return explain(VP8_STATUS_INVALID_PARAM);
  const size_t stride = static_cast<size_t>(canvas.size.width) * 3;
  const size_t start = static_cast<size_t>(frame.y) * stride + static_cast<size_t>(frame.x) * 3;
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = canvas.rgb.data() + start;
  config.output.u.RGBA.stride = static_cast<int>(stride);
  config.output.u.RGBA.size = canvas.rgb.size() - start;
  const VP8StatusCode status = WebPDecode(frame.data.data(), frame.data.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) return explain(status);
  return {};
}

}  // namespace

Result<Image> decode_webp(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  const uint64_t claimed = riff_bytes(bytes);
  if (bytes.size() < kRiffHeaderBytes || claimed > bytes.size())
    return ended_early("WebP", bytes.size());
  if (claimed < kRiffHeaderBytes) return damaged("its header claims fewer bytes than itself");
  const Result<Frame> frame = first_frame(bytes.first(static_cast<size_t>(claimed)));
  if (!frame) return frame.error();
  if (Status fits = check_image_size(frame->canvas.height, frame->canvas.width, limits); !fits) {
    return fits.error();
  }
  Image image = black_image(frame->canvas);  // and so it stays around the first frame
  if (Status decoded = decode_frame(*frame, image); !decoded) return decoded.error();
  return image;
}

}  // namespace qvl
