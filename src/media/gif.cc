#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "media/byte_reader.h"
#include "media/codecs.h"
#include "media/lzw.h"

namespace qvl {
namespace {

using Bytes = std::span<const uint8_t>;
using Colour = std::array<uint8_t, 3>;
using Palette = std::array<Colour, 256>;

struct Frame {
  Size canvas;  ///< the logical screen, grown to hold the frame
  Size size;
  int x = 0;
  int y = 0;
  bool interlaced = false;
  uint8_t background = 0;  ///< index of the pixels around the frame
  Palette palette{};
};

Error damaged(const char* what) {
  return {ErrorCode::bad_image, fmt::format("the GIF data is damaged: {}", what), {}};
}

Palette grey_ramp() {
  Palette palette{};
  for (size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<uint8_t>(i));
  return palette;
}

/// The colour table that `flags` announces, black behind its end.
bool read_palette(ByteReader& reader, uint8_t flags, Palette& palette) {
  const size_t colours = size_t{2} << (flags & 7);
  const auto bytes = reader.take(colours * 3);
  if (!bytes) return false;
  palette.fill(Colour{});
  for (size_t i = 0; i < colours; ++i) std::copy_n(&(*bytes)[3 * i], 3, palette[i].begin());
  return true;
}

/// Goes past an extension; its graphic control, if it is one, names the transparent colour. Some
/// writers put two of them before a frame; what the first says then holds unless the second says
/// otherwise, as in Pillow.
bool read_extension(ByteReader& reader, Frame& frame) {
  constexpr uint8_t kGraphicControl = 0xf9;
  constexpr uint8_t kHasTransparency = 0x01;
  const auto label = reader.byte();
  for (bool first = true; label; first = false) {
    const auto size = reader.byte();
    if (!size) return false;
    if (*size == 0) return true;
    const auto block = reader.take(*size);
    if (!block) return false;
    if (first && *label == kGraphicControl && *size >= 4 && ((*block)[0] & kHasTransparency) != 0) {
      frame.background = (*block)[3];
    }
  }
  return false;
}

/// Everything before the pixels of the first frame. Bytes between blocks that start no block are
/// skipped, as Pillow does.
Result<Frame> read_first_frame(ByteReader& reader, size_t file_bytes) {
  constexpr size_t kSignatureBytes = 6;
  constexpr size_t kScreenBytes = 7;
  constexpr size_t kDescriptorBytes = 9;
  constexpr uint8_t kHasPalette = 0x80;
  constexpr uint8_t kInterlaced = 0x40;
  reader.take(kSignatureBytes);
  const auto screen = reader.take(kScreenBytes);
  if (!screen) return ended_early("GIF", file_bytes);
  Frame frame;
  frame.canvas = {static_cast<int>(le16(*screen, 2)), static_cast<int>(le16(*screen, 0))};
  frame.palette = grey_ramp();
  const uint8_t screen_flags = (*screen)[4];
  if ((screen_flags & kHasPalette) != 0 && !read_palette(reader, screen_flags, frame.palette)) {
    return ended_early("GIF", file_bytes);
  }
  for (auto block = reader.byte();; block = reader.byte()) {
    if (!block) return ended_early("GIF", file_bytes);
    if (*block == ';') return damaged("it has no picture");
    if (*block == '!' && !read_extension(reader, frame)) return ended_early("GIF", file_bytes);
    if (*block == ',') break;
  }
  const auto descriptor = reader.take(kDescriptorBytes);
  if (!descriptor) return ended_early("GIF", file_bytes);
  const auto field = [&](size_t at) { return static_cast<int>(le16(*descriptor, at)); };
  frame.x = field(0);
  frame.y = field(2);
  frame.size = {field(6), field(4)};
  frame.canvas.width = std::max(frame.canvas.width, frame.x + frame.size.width);
  frame.canvas.height = std::max(frame.canvas.height, frame.y + frame.size.height);
  const uint8_t flags = (*descriptor)[8];
  frame.interlaced = (flags & kInterlaced) != 0;
  if ((flags & kHasPalette) != 0 && !read_palette(reader, flags, frame.palette)) {
    return ended_early("GIF", file_bytes);
  }
  if (frame.size.pixels() == 0) return damaged("its first frame has no pixels");
  return frame;
}

/// Takes the frame's pixels in the order of the file and puts them in their places.
class FrameWriter {
 public:
  FrameWriter(const Frame& frame, Image& canvas) : frame_(frame), canvas_(canvas) {
    step_ = frame.interlaced ? 8 : 1;
  }

  bool complete() const { return y_ >= frame_.size.height; }

  void write(Bytes indices) {
    while (!indices.empty() && !complete()) {
      const auto room = static_cast<size_t>(frame_.size.width - x_);
      const size_t count = std::min(room, indices.size());
      uint8_t* to =
          canvas_.rgb.data() + 3 * (int64_t{frame_.y + y_} * canvas_.size.width + frame_.x + x_);
      for (const uint8_t index : indices.first(count)) {
        to = std::copy_n(frame_.palette[index].begin(), 3, to);
      }
      indices = indices.subspan(count);
      x_ += static_cast<int>(count);
      if (x_ == frame_.size.width) next_row();
    }
  }

 private:
  /// Interlaced rows come as 0, 8, 16…, then 4, 12…, then 2, 6…, then 1, 3….
  void next_row() {
    x_ = 0;
    y_ += step_;
    while (complete() && frame_.interlaced && start_ != 1) {
      step_ = start_ == 0 ? 8 : start_;
      start_ = start_ == 0 ? 4 : start_ / 2;
      y_ = start_;
    }
  }

  const Frame& frame_;
  Image& canvas_;
  int x_ = 0;
  int y_ = 0;
  int step_;
  int start_ = 0;  ///< first row of the present pass
};

Status read_pixels(ByteReader& reader, size_t file_bytes, const Frame& frame, Image& image) {
  const auto code_bits = reader.byte();
  if (!code_bits) return ended_early("GIF", file_bytes);
  if (*code_bits < 1 || *code_bits > 8) {
    return Error{ErrorCode::bad_image,
                 fmt::format("the GIF data is damaged: found LZW codes of {} bits, expected 1 to 8",
                             *code_bits),
                 {}};
  }
  LzwDecoder lzw(*code_bits);
  FrameWriter writer(frame, image);
  auto state = LzwDecoder::State::open;
  while (!writer.complete()) {
    const auto size = reader.byte();
    const auto block = reader.take(size.value_or(0));
    if (!size || !block) return ended_early("GIF", file_bytes);
    if (*size == 0) return damaged("its LZW data ends before the picture is complete");
    for (size_t i = 0; i < block->size() && !writer.complete(); ++i) {
      state = lzw.feed((*block)[i], [&](Bytes indices) { writer.write(indices); });
      if (state != LzwDecoder::State::open) break;
    }
    if (writer.complete()) break;
    if (state == LzwDecoder::State::damaged)
      return damaged("found an LZW code that is not defined");
    if (state == LzwDecoder::State::at_end_code) {
      return damaged("its LZW data ends before the picture is complete");
    }
  }
  return {};
}

}  // namespace

Result<Image> decode_gif(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  ByteReader reader(bytes);
  const Result<Frame> frame = read_first_frame(reader, bytes.size());
  if (!frame) return frame.error();
  if (Status fits = check_image_size(frame->canvas.height, frame->canvas.width, limits); !fits) {
    return fits.error();
  }
  Image image = black_image(frame->canvas);
  fill(image, frame->palette[frame->background]);
  if (Status read = read_pixels(reader, bytes.size(), *frame, image); !read) return read.error();
  return image;
}

}  // namespace qvl
