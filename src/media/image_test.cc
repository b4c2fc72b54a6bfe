#include "media/image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "media/media_test_support.h"

namespace qvl {
namespace {

namespace fs = std::filesystem;
using test::crc32;
using test::read_bytes;
using test::read_json;
using test::source_path;

using Bytes = std::vector<uint8_t>;

Bytes sample(const std::string& name) {
  return read_bytes(source_path("tests/media/pictures/" + name));
}

ErrorCode error_of(const Bytes& bytes, const ImageLimits& limits = {}) {
  return decode_image(bytes, limits).error().code;
}

ErrorCode error_of(std::string_view text) { return error_of(Bytes(text.begin(), text.end())); }

/// The file with `bytes` in the place of its first `count` from `at` on.
Bytes splice(const Bytes& file, size_t at, size_t count, const Bytes& bytes) {
  Bytes out(file.begin(), file.begin() + static_cast<ptrdiff_t>(at));
  out.insert(out.end(), bytes.begin(), bytes.end());
  out.insert(out.end(), file.begin() + static_cast<ptrdiff_t>(at + count), file.end());
  return out;
}

size_t find(const Bytes& file, const Bytes& pattern) {
  const auto at = std::search(file.begin(), file.end(), pattern.begin(), pattern.end());
  EXPECT_NE(at, file.end());
  return static_cast<size_t>(at - file.begin());
}

Bytes big_endian(uint32_t value) {
  return {static_cast<uint8_t>(value >> 24), static_cast<uint8_t>(value >> 16),
          static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
}

Bytes png_chunk(std::string_view type, const Bytes& data) {
  Bytes checked(type.begin(), type.end());
  checked.insert(checked.end(), data.begin(), data.end());
  Bytes out = big_endian(static_cast<uint32_t>(data.size()));
  out.insert(out.end(), checked.begin(), checked.end());
  for (const uint8_t byte : big_endian(crc32(checked))) out.push_back(byte);
  return out;
}

/// rgb.png with another size in its header.
Bytes png_of_size(uint32_t width, uint32_t height) {
  Bytes header = big_endian(width);
  for (const uint8_t byte : big_endian(height)) header.push_back(byte);
  for (const uint8_t byte : {8, 2, 0, 0, 0}) header.push_back(byte);
  return splice(sample("rgb.png"), 8, 25, png_chunk("IHDR", header));
}

/// s444.jpg with another size in its header.
Bytes jpeg_of_size(int width, int height) {
  const Bytes file = sample("s444.jpg");
  const auto byte = [](int value) { return static_cast<uint8_t>(value); };
  return splice(file, find(file, {0xff, 0xc0}) + 5, 4,
                {byte(height >> 8), byte(height), byte(width >> 8), byte(width)});
}

/// animated_offset_lossy.webp with another size of its canvas.
Bytes webp_of_size(uint32_t width, uint32_t height) {
  const auto byte = [](uint32_t value) { return static_cast<uint8_t>(value); };
  --width;
  --height;
  return splice(sample("animated_offset_lossy.webp"), 24, 6,
                {byte(width), byte(width >> 8), byte(width >> 16), byte(height), byte(height >> 8),
                 byte(height >> 16)});
}

/// photo.gif with another size of its screen.
Bytes gif_of_size(int width, int height) {
  const auto byte = [](int value) { return static_cast<uint8_t>(value); };
  return splice(sample("photo.gif"), 6, 4,
                {byte(width), byte(width >> 8), byte(height), byte(height >> 8)});
}

/// bits24.bmp with another size in its header.
Bytes bmp_of_size(uint32_t width, uint32_t height) {
  Bytes sides = big_endian(height);
  for (const uint8_t byte : big_endian(width)) sides.push_back(byte);
  std::reverse(sides.begin(), sides.end());
  return splice(sample("bits24.bmp"), 18, 8, sides);
}

// Checksums of what Pillow gives for exif_transpose and convert("RGB"). JPEG and lossy WebP are as
// equal as their libraries: another version may round a sample to the next level.
TEST(DecodeImage, IsBitEqualToPillow) {
  const nlohmann::json folders = read_json(source_path("tests/media/decode_pillow.json"));
  ASSERT_TRUE(folders.is_object());
  size_t pictures = 0;
  for (const std::string folder : {"tests/media/pictures", "tests/goldens/media"}) {
    for (const auto& [name, expected] : folders[folder].items()) {
      const Result<Image> image = load_image(fs::path(source_path(folder)) / name);
      ++pictures;
      EXPECT_TRUE(image) << image.error().message();
      if (!image) continue;
      EXPECT_EQ(image->size, (Size{expected["size"][0], expected["size"][1]})) << name;
      EXPECT_EQ(crc32(image->rgb), expected["crc32"].get<uint32_t>()) << name;
    }
  }
  EXPECT_EQ(pictures, 126U);
}

TEST(DecodeImage, SixteenBitGreyIsClippedAsPillowDoes) {
  const Result<Image> image = decode_image(sample("grey16.png"));  // y·1500 + x·7
  ASSERT_TRUE(image);
  const std::vector<uint8_t> start(image->rgb.begin(), image->rgb.begin() + 9);
  EXPECT_EQ(start, (Bytes{0, 0, 0, 7, 7, 7, 14, 14, 14}));
  const auto grey = [&](size_t pixel) { return image->rgb[3 * pixel]; };
  EXPECT_EQ(grey(36), 252);
  EXPECT_EQ(grey(37), 255);
  EXPECT_EQ(grey(61), 255);  // the second row starts at 1500
}

TEST(DecodeImage, AlphaIsDroppedNotBlended) {
  const Result<Image> with = decode_image(sample("rgba.png"));
  const Result<Image> without = decode_image(sample("rgb.png"));
  ASSERT_TRUE(with && without);
  EXPECT_EQ(with->rgb, without->rgb);
}

TEST(DecodeImage, OtherFormatsAreNamed) {
  const auto detail = [](std::string_view text) {
    const Bytes bytes(text.begin(), text.end());
    const Result<Image> image = decode_image(bytes);
    EXPECT_EQ(image.error().code, ErrorCode::unsupported_image);
    return image.error().detail;
  };
  EXPECT_EQ(detail("%PDF-1.7"), "found PDF, expected PNG, JPEG, WebP, GIF or BMP");
  EXPECT_EQ(detail(std::string_view("MM\0*....", 8)),
            "found TIFF, expected PNG, JPEG, WebP, GIF or BMP");
  EXPECT_EQ(detail("hello"),
            "found no known signature at its start, expected PNG, JPEG, WebP, GIF or BMP");
}

TEST(DecodeImage, TheFirstPictureOfSeveralIsTaken) {
  const Result<Image> two = decode_image(sample("two.mpo"));
  ASSERT_TRUE(two);
  EXPECT_EQ(two->size, (Size{43, 61}));  // the second is 16 x 24
}

TEST(DecodeImage, NothingIsNoPicture) {
  EXPECT_EQ(error_of(""), ErrorCode::bad_image);
  EXPECT_EQ(error_of("\xff\xd8\xff"), ErrorCode::bad_image);
  EXPECT_EQ(error_of("\x89PNG\r\n\x1a\n"), ErrorCode::bad_image);
  EXPECT_EQ(error_of("RIFF\x10...WEBP"), ErrorCode::bad_image);
  EXPECT_EQ(error_of("GIF89a"), ErrorCode::bad_image);
  EXPECT_EQ(error_of("BM"), ErrorCode::bad_image);
}

TEST(DecodeImage, TheHeaderIsCheckedBeforePixelsAreAllocated) {
  for (const Bytes& file :
       {png_of_size(65'000, 65'000), jpeg_of_size(65'000, 65'000), webp_of_size(65'000, 65'000),
        gif_of_size(65'000, 65'000), bmp_of_size(65'000, 65'000)}) {
    const Result<Image> image = decode_image(file);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, ErrorCode::image_too_large);
    EXPECT_EQ(image.error().detail,
              "found 65000x65000 pixels, which is 4225000000 in all; the limit is 178956970");
  }
  EXPECT_EQ(error_of(png_of_size(0x7fffffff, 0x7fffffff)), ErrorCode::image_too_large);
  EXPECT_EQ(error_of(bmp_of_size(0x7fffffff, 0x7fffffff)), ErrorCode::image_too_large);
  EXPECT_EQ(error_of(bmp_of_size(5, 0x80000000)), ErrorCode::image_too_large);  // top down
  EXPECT_EQ(error_of(webp_of_size(1 << 24, 1 << 24)), ErrorCode::image_too_large);
  EXPECT_EQ(error_of(png_of_size(100'000, 1)), ErrorCode::image_too_large);
  EXPECT_EQ(error_of(png_of_size(0, 5)), ErrorCode::bad_image);
  EXPECT_EQ(error_of(jpeg_of_size(0, 5)), ErrorCode::bad_image);
  EXPECT_EQ(error_of(bmp_of_size(0, 5)), ErrorCode::bad_image);
  EXPECT_EQ(error_of(bmp_of_size(0xffffffff, 5)), ErrorCode::bad_image);
}

TEST(DecodeImage, LimitsAreInclusive) {
  constexpr int64_t kPixels = int64_t{61} * 43;
  for (const std::string name :
       {"rgb.png", "s444.jpg", "lossy.webp", "lossless.webp", "animated_offset_lossy.webp",
        "photo.gif", "offset.gif", "bits24.bmp", "rle8.bmp"}) {
    const Bytes file = sample(name);
    EXPECT_TRUE(decode_image(file, {.max_pixels = kPixels, .max_side = 61}));
    EXPECT_EQ(error_of(file, {.max_pixels = kPixels - 1}), ErrorCode::image_too_large);
    EXPECT_EQ(error_of(file, {.max_side = 60}), ErrorCode::image_too_large);
    const auto size = static_cast<int64_t>(file.size());
    EXPECT_TRUE(decode_image(file, {.max_file_bytes = size}));
    EXPECT_EQ(error_of(file, {.max_file_bytes = size - 1}), ErrorCode::image_too_large);
  }
}

TEST(DecodeImage, ATruncatedPictureIsAnErrorNeverHalfAPicture) {
  for (const std::string name :
       {"rgb.png", "interlaced.png", "grey16.png", "s420.jpg", "progressive.jpg", "restart.jpg",
        "cmyk.jpg", "lossy_rough.webp", "lossy_alpha.webp", "lossless_palette.webp",
        "animated_offset_lossy.webp", "interlaced.gif", "offset.gif", "bits4.bmp", "bits16.bmp",
        "rle4.bmp", "rle8.bmp"}) {
    const Bytes file = sample(name);
    const Result<Image> whole = decode_image(file);
    ASSERT_TRUE(whole);
    for (size_t size = 0; size < file.size(); ++size) {
      const Result<Image> image = decode_image(std::span(file).first(size));
      if (!image) continue;
      // Some may lack what follows their pixels. A JPEG ends with its end marker, and the header of
      // a WebP says how long it is.
      EXPECT_FALSE(name.ends_with("jpg") || name.ends_with("webp")) << name << " cut to " << size;
      EXPECT_GT(size + 32, file.size()) << name;
      EXPECT_EQ(image->rgb, whole->rgb) << name << " cut to " << size;
    }
  }
}

TEST(DecodeImage, ATruncatedPictureSaysSo) {
  for (const std::string name :
       {"rgb.png", "progressive.jpg", "lossy.webp", "photo.gif", "bits24.bmp", "rle8.bmp"}) {
    const Bytes file = sample(name);
    const Result<Image> image = decode_image(std::span(file).first(400));
    EXPECT_NE(image.error().detail.find("ends after 400 bytes"), std::string::npos)
        << image.error().detail;
  }
}

TEST(DecodeImage, PixelsMissingInTheMiddleOfAJpegAreAnError) {
  const Bytes file = sample("s420.jpg");
  const Bytes cut = splice(file, file.size() - 400, 398, {});  // the end marker stays
  const Result<Image> image = decode_image(cut);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, ErrorCode::bad_image);
  EXPECT_NE(image.error().detail.find("pixels are missing"), std::string::npos)
      << image.error().detail;
}

TEST(DecodeImage, AFlippedBitInPngPixelsIsAnError) {
  Bytes file = sample("rgb.png");
  file[file.size() - 100] ^= 1;
  EXPECT_EQ(error_of(file), ErrorCode::bad_image);
}

TEST(DecodeImage, ErrorsDoNotRepeatTheDecodersWords) {
  Bytes file = sample("rgb.png");
  file[file.size() - 100] ^= 1;
  const std::string detail = decode_image(file).error().detail;
  EXPECT_EQ(detail.rfind("the PNG data is damaged before byte ", 0), 0U) << detail;
}

TEST(DecodeImage, ScansOfAProgressiveJpegAreBounded) {
  const Bytes file = sample("progressive.jpg");
  // The first scan, which may be repeated: from its header to the next marker.
  const size_t first_scan = find(file, {0xff, 0xda});
  size_t end = first_scan + 2;
  while (file[end] != 0xff || file[end + 1] == 0) ++end;
  const auto at = [&](size_t i) { return file.begin() + static_cast<ptrdiff_t>(i); };
  const Bytes scan(at(first_scan), at(end));
  const auto with_scans = [&](int extra) {
    Bytes scans;
    for (int i = 0; i < extra; ++i) scans.insert(scans.end(), scan.begin(), scan.end());
    return splice(file, first_scan, 0, scans);
  };
  EXPECT_TRUE(decode_image(with_scans(90)));
  const Result<Image> image = decode_image(with_scans(100));
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, ErrorCode::unsupported_image);
  EXPECT_EQ(image.error().detail, "found a JPEG of more than 100 scans");
}

TEST(DecodeImage, RareKindsOfJpegAreUnsupportedNotDamaged) {
  Bytes lossless = sample("s444.jpg");
  lossless[find(lossless, {0xff, 0xc0}) + 1] = 0xc3;
  EXPECT_EQ(error_of(lossless), ErrorCode::unsupported_image);
  Bytes twelve_bits = sample("s444.jpg");
  twelve_bits[find(twelve_bits, {0xff, 0xc0}) + 4] = 12;
  EXPECT_EQ(error_of(twelve_bits), ErrorCode::unsupported_image);
}

TEST(DecodeImage, LargeNotesInAPngAreSkipped) {
  const Bytes note = png_chunk("tEXt", Bytes(20'000'000, 'x'));
  EXPECT_TRUE(decode_image(splice(sample("rgb.png"), 33, 0, note)));
}

TEST(LoadImage, ErrorsNameTheFile) {
  const std::string missing = source_path("tests/media/pictures/missing.png");
  EXPECT_EQ(load_image(missing).error().code, ErrorCode::file_not_found);
  EXPECT_EQ(load_image(missing).error().field, missing);
  const std::string text = source_path("tests/media/decode_pillow.json");
  EXPECT_EQ(load_image(text).error().code, ErrorCode::unsupported_image);
  EXPECT_EQ(load_image(text).error().field, text);
  EXPECT_EQ(load_image(text, {.max_file_bytes = 9}).error().code, ErrorCode::file_too_large);
  EXPECT_EQ(load_image(source_path("tests")).error().code, ErrorCode::file_unreadable);
}

TEST(LoadImage, ANamedPipeDoesNotWait) {
  const fs::path pipe =
      fs::temp_directory_path() / ("qvl_image_test_pipe_" + std::to_string(getpid()));
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(load_image(pipe.string()).error().code, ErrorCode::file_unreadable);
  fs::remove(pipe);
}

}  // namespace
}  // namespace qvl
