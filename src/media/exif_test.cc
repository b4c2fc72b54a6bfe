#include "media/exif.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace qvl {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes bytes(std::initializer_list<int> values) { return {values.begin(), values.end()}; }

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// TIFF header and a directory with one entry: the orientation as a SHORT.
Bytes big_endian_exif(int orientation) {
  return bytes({'M',  'M',  0, 42, 0, 0, 0, 8, 0, 1,  // header, one entry
                0x01, 0x12, 0, 3,  0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0});  // entry, end
}

Bytes jpeg_segment(int marker, const Bytes& payload) {
  const auto length = static_cast<int>(payload.size()) + 2;
  return bytes({0xff, marker, length >> 8, length & 255}) + payload;
}

Bytes png_chunk(const std::string& type, const Bytes& data) {
  const auto length = static_cast<int>(data.size());
  return bytes({0, 0, length >> 8, length & 255}) + Bytes(type.begin(), type.end()) + data +
         bytes({0, 0, 0, 0});
}

Bytes text(std::string_view characters) { return {characters.begin(), characters.end()}; }

/// With its padding; the size of "RIFF" is not looked at here.
Bytes riff_chunk(std::string_view id, const Bytes& payload) {
  const auto size = static_cast<int>(payload.size());
  return text(id) + bytes({size & 255, size >> 8, 0, 0}) + payload + Bytes(payload.size() % 2);
}

Bytes start_of_image() { return bytes({0xff, 0xd8}); }
Bytes exif_header() { return bytes({'E', 'x', 'i', 'f', 0, 0}); }
Bytes png_signature() { return bytes({0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}); }

/// 3 wide, 2 high; the letters stand for pixels.
Image picture(std::string_view rows, Size size) {
  Image image;
  image.size = size;
  for (const char c : rows) image.rgb.insert(image.rgb.end(), 3, static_cast<uint8_t>(c));
  return image;
}

std::string letters(const Image& image) {
  std::string out;
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    out += static_cast<char>(image.rgb[i]);
    if (i / 3 % image.size.width == static_cast<size_t>(image.size.width) - 1) out += '|';
  }
  return out;
}

TEST(Exif, OrientationIsReadInBothByteOrders) {
  EXPECT_EQ(exif_orientation(big_endian_exif(6)), 6);
  EXPECT_EQ(exif_orientation(bytes({'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3,
                                    0,   1,   0,  0, 0, 8, 0, 0, 0, 0, 0,    0,    0})),
            8);
}

TEST(Exif, OrientationMayBeAnyIntegerType) {
  Bytes exif = big_endian_exif(0);
  exif[13] = 4;  // LONG
  exif[21] = 5;
  EXPECT_EQ(exif_orientation(exif), 5);
  exif[13] = 1;  // BYTE
  exif[18] = 7;
  EXPECT_EQ(exif_orientation(exif), 7);
}

TEST(Exif, AnOrientationOutOfRangeCountsAsUpright) {
  EXPECT_EQ(exif_orientation(big_endian_exif(0)), 1);
  EXPECT_EQ(exif_orientation(big_endian_exif(9)), 1);
}

TEST(Exif, WhatIsNotAnOrientationCountsAsAbsent) {
  EXPECT_EQ(exif_orientation({}), std::nullopt);
  Bytes other_tag = big_endian_exif(6);
  other_tag[11] = 0x13;
  EXPECT_EQ(exif_orientation(other_tag), std::nullopt);
  Bytes two_values = big_endian_exif(6);
  two_values[17] = 2;
  EXPECT_EQ(exif_orientation(two_values), std::nullopt);
  Bytes not_tiff = big_endian_exif(6);
  not_tiff[3] = 43;
  EXPECT_EQ(exif_orientation(not_tiff), std::nullopt);
}

TEST(Exif, ADirectoryOutsideTheDataCountsAsAbsent) {
  Bytes exif = big_endian_exif(6);
  for (const int offset : {26, 27, 255}) {
    exif[7] = static_cast<uint8_t>(offset);
    EXPECT_EQ(exif_orientation(exif), std::nullopt) << offset;
  }
  exif[4] = exif[5] = exif[6] = exif[7] = 0xff;
  EXPECT_EQ(exif_orientation(exif), std::nullopt);
}

TEST(Exif, TruncationAtAnyByteIsHarmless) {
  const Bytes exif = big_endian_exif(6);
  for (size_t size = 0; size < exif.size(); ++size) {
    const std::optional<int> orientation = exif_orientation(std::span(exif).first(size));
    // The entry's count ends at byte 18, its value at byte 20.
    if (size < 18) {
      EXPECT_EQ(orientation, std::nullopt) << size;
    } else {
      EXPECT_EQ(orientation, size < 20 ? 1 : 6) << size;
    }
  }
}

TEST(Exif, AHeaderBeforeTheDataIsSkipped) {
  EXPECT_EQ(exif_orientation(exif_header() + big_endian_exif(5)), 5);
}

TEST(Exif, IsFoundInAJpegBehindOtherSegments) {
  const Bytes file = start_of_image() + jpeg_segment(0xe0, bytes({'J', 'F', 'I', 'F', 0})) +
                     bytes({0xff}) + jpeg_segment(0xe1, bytes({'h', 't', 't', 'p', ':', 0, 0})) +
                     jpeg_segment(0xe1, exif_header() + big_endian_exif(3)) +
                     jpeg_segment(0xe1, exif_header() + big_endian_exif(4));
  EXPECT_EQ(exif_orientation(notes_of_jpeg(file).exif), 3);
  for (size_t size = 0; size < file.size(); ++size) {  // must not read past the end
    const Bytes cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    exif_orientation(notes_of_jpeg(cut).exif);
  }
}

TEST(Exif, IsNotSearchedForBehindTheStartOfScan) {
  const Bytes file = start_of_image() + jpeg_segment(0xda, bytes({1, 1, 0, 0, 63, 0})) +
                     jpeg_segment(0xe1, exif_header() + big_endian_exif(3));
  EXPECT_TRUE(notes_of_jpeg(file).exif.empty());
}

TEST(Exif, IsFoundInAPngBehindItsPixels) {
  const Bytes file = png_signature() + png_chunk("IHDR", Bytes(13)) + png_chunk("IDAT", Bytes(40)) +
                     png_chunk("eXIf", big_endian_exif(8));
  EXPECT_EQ(exif_orientation(notes_of_png(file).exif), 8);
  for (size_t size = 0; size < file.size(); ++size) {
    const Bytes cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_TRUE(notes_of_png(cut).exif.empty()) << size;
  }
}

TEST(Exif, AChunkLongerThanTheFileEndsTheSearch) {
  Bytes file = png_signature() + png_chunk("eXIf", big_endian_exif(8));
  file[8] = 0xff;
  EXPECT_TRUE(notes_of_png(file).exif.empty());
}

TEST(Exif, IsFoundInAWebpBehindItsPixels) {
  const Bytes exif = big_endian_exif(7);
  const Bytes file = riff_chunk("RIFF", text("WEBP")) + riff_chunk("VP8 ", Bytes(5)) +
                     riff_chunk("EXIF", exif) + riff_chunk("EXIF", big_endian_exif(3));
  EXPECT_EQ(exif_orientation(notes_of_webp(file).exif), 7);
  for (size_t size = 0; size < file.size(); ++size) {
    const Bytes cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    const bool whole = size >= 12 + 8 + 6 + 8 + exif.size();
    EXPECT_EQ(notes_of_webp(cut).exif.size(), whole ? exif.size() : 0) << size;
  }
}

TEST(Xmp, OrientationIsAnAttributeOrAnElement) {
  EXPECT_EQ(xmp_orientation(R"(<rdf tiff:Orientation="6" tiff:Orientation="3"/>)"), 6);
  EXPECT_EQ(xmp_orientation("<tiff:Orientation>8</tiff:Orientation>"), 8);
  EXPECT_EQ(xmp_orientation("<tiff:Orientation/><tiff:Orientation>3<"), 3);
}

TEST(Xmp, WhatIsNotAnOrientationCountsAsUpright) {
  for (const char* xmp : {"", "tiff:Orientation", "tiff:Orientation=\"", "tiff:Orientation=\"9\"",
                          "tiff:Orientation>x", "tiff:Orientation='6'"}) {
    EXPECT_EQ(xmp_orientation(xmp), 1) << xmp;
  }
}

TEST(Xmp, CountsWhereExifIsSilent) {
  const Bytes xmp = text("<x tiff:Orientation=\"6\"/>");
  const Bytes app1 = jpeg_segment(0xe1, text("http://ns.adobe.com/xap/1.0/") + bytes({0}) + xmp);
  const Bytes exif = jpeg_segment(0xe1, exif_header() + big_endian_exif(3));
  EXPECT_EQ(orientation_of(ImageFormat::jpeg, start_of_image() + app1), 6);
  EXPECT_EQ(orientation_of(ImageFormat::jpeg, start_of_image() + app1 + exif), 3);
  EXPECT_EQ(
      orientation_of(ImageFormat::webp, riff_chunk("RIFF", text("WEBP")) + riff_chunk("XMP ", xmp)),
      6);
  const Bytes keyword = text("XML:com.adobe.xmp");
  const Bytes plain = keyword + bytes({0, 0, 0, 'e', 'n', 0, 0}) + xmp;
  const Bytes compressed = keyword + bytes({0, 1, 0, 0, 0}) + xmp;
  const Bytes cut = keyword + bytes({0, 0, 0, 'e', 'n'});
  const auto png = [](const Bytes& data) { return png_signature() + png_chunk("iTXt", data); };
  EXPECT_EQ(orientation_of(ImageFormat::png, png(plain)), 6);
  EXPECT_EQ(orientation_of(ImageFormat::png, png(compressed)), 1);
  EXPECT_EQ(orientation_of(ImageFormat::png, png(cut)), 1);
  EXPECT_EQ(orientation_of(ImageFormat::gif, png(plain)), 1);
}

// Row by row as PIL.ImageOps.exif_transpose turns them.
TEST(Exif, EachOrientationTurnsThePicture) {
  const Image stored = picture("abcdef", {.height = 2, .width = 3});
  const std::vector<std::string> expected = {"abc|def|",  "cba|fed|",  "fed|cba|",  "def|abc|",
                                             "ad|be|cf|", "da|eb|fc|", "fc|eb|da|", "cf|be|ad|"};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image upright = apply_orientation(stored, orientation);
    EXPECT_EQ(letters(upright), expected[static_cast<size_t>(orientation) - 1]) << orientation;
    const Size turned = orientation < 5 ? Size{2, 3} : Size{3, 2};
    EXPECT_EQ(upright.size, turned) << orientation;
  }
}

}  // namespace
}  // namespace qvl
