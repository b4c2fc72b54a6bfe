#include <fmt/format.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "media/codecs.h"

// Each of these needs what stands before it; without jpeglib.h, jerror.h numbers its messages
// differently.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

namespace qvl {
namespace {

/// Encoders write about ten. A few bytes can announce a scan over the whole picture, so files with
/// thousands would keep a core busy for hours.
constexpr int kMaxScans = 100;

enum class Failure { damaged, ended_early, lost_pixels, too_many_scans, unsupported, no_memory };

/// All that libjpeg sees of us: plain data, so that a jump out of it leaves nothing to destroy.
/// libjpeg knows only the first members; the callbacks find the rest through them.
struct ErrorHandler {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  Failure failure;
};

[[noreturn]] void fail(j_common_ptr jpeg, Failure failure) {
  auto* handler = reinterpret_cast<ErrorHandler*>(jpeg->err);
  handler->failure = failure;
  std::longjmp(handler->jump, 1);
}

Failure classify(int message) {
  switch (message) {
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_CCIR601_NOTIMPL:
    case JERR_COMPONENT_COUNT:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_NOTIMPL:
    case JERR_SOF_UNSUPPORTED:
      return Failure::unsupported;
    case JERR_NO_BACKING_STORE:
    case JERR_OUT_OF_MEMORY:
      return Failure::no_memory;
    default:
      return Failure::damaged;
  }
}

[[noreturn]] void on_error(j_common_ptr jpeg) { fail(jpeg, classify(jpeg->err->msg_code)); }

/// Warnings that mean grey or wrong pixels are errors here; harmless ones pass.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;  // a trace, not a warning
  switch (jpeg->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
      fail(jpeg, Failure::lost_pixels);
    default:
      return;
  }
}

boolean on_end_of_data(j_decompress_ptr jpeg) {
  fail(reinterpret_cast<j_common_ptr>(jpeg), Failure::ended_early);
}

void on_progress(j_common_ptr jpeg) {
  const auto* decoder = reinterpret_cast<j_decompress_ptr>(jpeg);
  if (decoder->input_scan_number > kMaxScans) fail(jpeg, Failure::too_many_scans);
}

struct JpegReader {
  JpegReader() {
    jpeg.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = on_error;
    errors.base.emit_message = on_message;
    progress.progress_monitor = on_progress;
  }
  ~JpegReader() { jpeg_destroy_decompress(&jpeg); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  ErrorHandler errors{};
  jpeg_progress_mgr progress{};
  jpeg_decompress_struct jpeg{};
};

// read_header and read_pixels are the only functions that libjpeg jumps back to. They own nothing,
// and after the jump they read no local variable, so it is defined.

bool read_header(JpegReader& reader, const uint8_t* bytes, size_t size) {
  if (setjmp(reader.errors.jump) != 0) return false;
  jpeg_decompress_struct* jpeg = &reader.jpeg;
  jpeg_create_decompress(jpeg);
  jpeg->progress = &reader.progress;
  jpeg_mem_src(jpeg, bytes, size);
  // The default invents an end marker and goes on with grey pixels.
  jpeg->src->fill_input_buffer = on_end_of_data;
  jpeg_read_header(jpeg, TRUE);
  return true;
}

/// CMYK as Photoshop stores it, with 255 for no ink, → RGB.  Source: cmyk2rgb, Pillow's Convert.c.
void cmyk_to_rgb(const uint8_t* cmyk, int width, uint8_t* rgb) {
  for (int x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const int light = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * light + 128;
      rgb[c] = static_cast<uint8_t>(light - ((product + (product >> 8)) >> 8));
    }
  }
}

/// rgb: [output_height, output_width, 3].  cmyk_row: scratch of one row, null unless the picture
/// has four components.
bool read_pixels(JpegReader& reader, uint8_t* rgb, uint8_t* cmyk_row) {
  if (setjmp(reader.errors.jump) != 0) return false;
  jpeg_decompress_struct* jpeg = &reader.jpeg;
  jpeg->out_color_space = cmyk_row == nullptr ? JCS_RGB : JCS_CMYK;
  jpeg->dct_method = JDCT_ISLOW;  // what the reference uses, as is the next line
  jpeg->do_fancy_upsampling = TRUE;
  jpeg_start_decompress(jpeg);
  const size_t stride = size_t{jpeg->output_width} * 3;
  while (jpeg->output_scanline < jpeg->output_height) {
    uint8_t* rgb_row = rgb + jpeg->output_scanline * stride;
    JSAMPROW row = cmyk_row == nullptr ? rgb_row : cmyk_row;
    if (jpeg_read_scanlines(jpeg, &row, 1) != 1) return false;
    if (cmyk_row != nullptr) cmyk_to_rgb(cmyk_row, static_cast<int>(jpeg->output_width), rgb_row);
  }
  jpeg_finish_decompress(jpeg);  // reads to the end marker
  return true;
}

Error explain(const JpegReader& reader, size_t size) {
  const jpeg_source_mgr* source = reader.jpeg.src;
  const size_t position = source == nullptr ? 0 : size - source->bytes_in_buffer;
  switch (reader.errors.failure) {
    case Failure::ended_early:
      return ended_early("JPEG", size);
    case Failure::lost_pixels:
      return {ErrorCode::bad_image,
              fmt::format("pixels are missing from the JPEG data before byte {}", position),
              {}};
    case Failure::too_many_scans:
      return {ErrorCode::unsupported_image,
              fmt::format("found a JPEG of more than {} scans", kMaxScans),
              {}};
    case Failure::unsupported:
      return {ErrorCode::unsupported_image,
              "found a rare kind of JPEG, expected 8 bits and a usual compression",
              {}};
    case Failure::no_memory:
      return {ErrorCode::image_too_large, "there is not enough memory to decode it", {}};
    case Failure::damaged:
      break;
  }
  return {
      ErrorCode::bad_image, fmt::format("the JPEG data is damaged before byte {}", position), {}};
}

}  // namespace

Result<Image> decode_jpeg(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  JpegReader reader;
  jpeg_decompress_struct& jpeg = reader.jpeg;
  if (!read_header(reader, bytes.data(), bytes.size())) return explain(reader, bytes.size());
  if (Status fits = check_image_size(jpeg.image_height, jpeg.image_width, limits); !fits) {
    return fits.error();
  }
  if (jpeg.num_components != 1 && jpeg.num_components != 3 && jpeg.num_components != 4) {
    return Error{
        ErrorCode::unsupported_image,
        fmt::format("found a JPEG of {} components, expected 1, 3 or 4", jpeg.num_components),
        {}};
  }
  Image image =
      black_image({static_cast<int>(jpeg.image_height), static_cast<int>(jpeg.image_width)});
  std::vector<uint8_t> cmyk_row;
  if (jpeg.num_components == 4) cmyk_row.resize(size_t{jpeg.image_width} * 4);
  uint8_t* scratch = cmyk_row.empty() ? nullptr : cmyk_row.data();
  if (!read_pixels(reader, image.rgb.data(), scratch)) return explain(reader, bytes.size());
  return image;
}

}  // namespace qvl
