#include "media/image_format.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace qvl {
namespace {

/// The format's name, empty for bytes that nobody knows.
std::string name_of(std::string_view start) {
  const std::vector<uint8_t> bytes(start.begin(), start.end());
  const auto found = sniff_format(bytes);
  return found ? std::string(found->name) : "";
}

ImageFormat format_of(std::string_view start) {
  const std::vector<uint8_t> bytes(start.begin(), start.end());
  return sniff_format(bytes).value_or(SniffedFormat{ImageFormat::other, ""}).format;
}

TEST(SniffFormat, FormatsThatAreReadAreToldApart) {
  EXPECT_EQ(format_of("\x89PNG\r\n\x1a\n"), ImageFormat::png);
  EXPECT_EQ(format_of("\xff\xd8\xff\xe0"), ImageFormat::jpeg);
  EXPECT_EQ(format_of("RIFF....WEBPVP8 "), ImageFormat::webp);
  EXPECT_EQ(format_of("GIF87a"), ImageFormat::gif);
  EXPECT_EQ(format_of("GIF89a"), ImageFormat::gif);
  EXPECT_EQ(format_of("BM"), ImageFormat::bmp);
}

TEST(SniffFormat, FormatsThatAreNotReadAreNamed) {
  using namespace std::string_view_literals;
  EXPECT_EQ(name_of("\0\0\0\x18"
                    "ftypheic"sv),
            "HEIC");
  EXPECT_EQ(name_of("\0\0\0\x18"
                    "ftypavif"sv),
            "AVIF");
  EXPECT_EQ(name_of("\0\0\0\x18"
                    "ftypisom"sv),
            "an MP4 video");
  EXPECT_EQ(name_of("\0\0\0\x14"
                    "ftypqt  "sv),
            "a QuickTime video");
  EXPECT_EQ(name_of("II*\0"sv), "TIFF");
  EXPECT_EQ(name_of("MM\0*"sv), "TIFF");
  EXPECT_EQ(name_of("8BPS"), "PSD (Photoshop)");
  EXPECT_EQ(name_of("%PDF-1.7"), "PDF");
  EXPECT_EQ(name_of("RIFF....AVI "), "an AVI video");
  EXPECT_EQ(format_of("%PDF-1.7"), ImageFormat::other);
}

TEST(SniffFormat, MarkupIsNamedByItsRootElement) {
  EXPECT_EQ(name_of("<svg xmlns='http://www.w3.org/2000/svg'>"), "SVG");
  EXPECT_EQ(name_of("\xef\xbb\xbf \n<?xml version='1.0'?><!-- a --><SVG>"), "SVG");
  EXPECT_EQ(name_of("<!DOCTYPE html><title>404</title>"), "a web page (HTML)");
  EXPECT_EQ(name_of("<?xml version='1.0'?><note/>"), "XML");
  EXPECT_EQ(name_of("<note/>"), "");
  EXPECT_EQ(name_of("the <svg element"), "");
}

TEST(SniffFormat, TooFewBytesAreNothing) {
  for (const char* start : {"", " ", "\x89PNG", "GIF8", "RIFF....WEB", "B", "<"}) {
    EXPECT_EQ(name_of(start), "") << start;
  }
}

}  // namespace
}  // namespace qvl
