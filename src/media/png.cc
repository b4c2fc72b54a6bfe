#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <vector>

#include "media/codecs.h"

namespace qvl {
namespace {

/// All that libpng sees of us: plain data, so that a jump out of it leaves nothing to destroy.
struct Source {
  const uint8_t* bytes;
  size_t size;
  size_t position;
  bool ended_early;
};

void read_bytes(png_structp png, png_bytep to, size_t count) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (count > source->size - source->position) {
    source->ended_early = true;
    png_error(png, "");
  }
  std::memcpy(to, source->bytes + source->position, count);
  source->position += count;
}

/// libpng's own sentences are not for users; the position and `ended_early` say enough.
[[noreturn]] void on_error(png_structp png, png_const_charp /*message*/) { png_longjmp(png, 1); }
void on_warning(png_structp /*png*/, png_const_charp /*message*/) {}

struct PngReader {
  explicit PngReader(Source& source)
      : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning)) {
    if (png == nullptr) return;
    info = png_create_info_struct(png);
    png_set_read_fn(png, &source, read_bytes);
  }
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  png_structp png;
  png_infop info = nullptr;
};

struct Header {
  png_uint_32 width;
  png_uint_32 height;
  int bit_depth;
  int color_type;

  bool is_grey16() const { return color_type == PNG_COLOR_TYPE_GRAY && bit_depth == 16; }
};

// read_header and read_pixels are the only functions that libpng jumps back to. They own nothing,
// and after the jump they read no local variable, so it is defined.

bool read_header(png_structp png, png_infop info, Header* header) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  // We check the size ourselves, to tell a large picture from a damaged one.
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  // Nothing but the header, palette, transparency and pixels is even parsed: other chunks can be
  // large, and inflate to more. libpng's own bounds on chunks stay as they are.
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(png, info);
  png_get_IHDR(png, info, &header->width, &header->height, &header->bit_depth, &header->color_type,
               nullptr, nullptr, nullptr);
  return true;
}

/// pixels: `height` rows of `stride` bytes. Grey of 16 bits arrives as it is (big-endian), all else
/// as 8-bit RGB.
bool read_pixels(png_structp png, png_infop info, const Header& header, uint8_t* pixels,
                 size_t stride) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_strip_alpha(png);
  if (!header.is_grey16()) {
    png_set_strip_16(png);
    if (header.color_type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if ((header.color_type & PNG_COLOR_MASK_COLOR) == 0) {
      png_set_expand_gray_1_2_4_to_8(png);
      png_set_gray_to_rgb(png);
    }
  }
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) > stride) return false;
  for (int pass = 0; pass < passes; ++pass) {
    for (png_uint_32 y = 0; y < header.height; ++y) {
      png_read_row(png, pixels + y * stride, nullptr);
    }
  }
  return true;
}

/// 16-bit grey → RGB as PIL does it: clipped at 255, not scaled. In place: a pixel shrinks from the
/// row's first 2·width bytes or grows into its 3·width, so the row is walked from its end.
void expand_grey16(Image& image) {
  const size_t width = static_cast<size_t>(image.size.width);
  for (uint8_t* row = image.rgb.data(); row != image.rgb.data() + image.rgb.size();
       row += width * 3) {
    for (size_t x = width; x-- > 0;) {
      const uint8_t grey = row[2 * x] != 0 ? 255 : row[2 * x + 1];
      std::fill_n(row + 3 * x, 3, grey);
    }
  }
}

Error damaged(const Source& source) {
  if (source.ended_early) return ended_early("PNG", source.size);
  return {ErrorCode::bad_image,
          fmt::format("the PNG data is damaged before byte {}", source.position),
          {}};
}

}  // namespace

Result<Image> decode_png(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  Source source{bytes.data(), bytes.size(), 0, false};
  PngReader reader(source);
  if (reader.info == nullptr) {
    return Error{ErrorCode::image_too_large, "there is not enough memory to decode it", {}};
  }
  Header header{};
  if (!read_header(reader.png, reader.info, &header)) return damaged(source);
  if (Status fits = check_image_size(header.height, header.width, limits); !fits) {
    return fits.error();
  }
  Image image = black_image({static_cast<int>(header.height), static_cast<int>(header.width)});
  const size_t stride = size_t{header.width} * 3;
  if (!read_pixels(reader.png, reader.info, header, image.rgb.data(), stride)) {
    return damaged(source);
  }
  if (header.is_grey16()) expand_grey16(image);
  return image;
}

}  // namespace qvl
