#include "media/image_format.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace qvl {
namespace {

struct Magic {
  std::string_view bytes;
  size_t offset;
  std::string_view name;
  ImageFormat format = ImageFormat::other;
};

/// The first that matches counts. The ones that we do not read are here to be named in the error.
constexpr std::array kMagics = {
    Magic{"\x89PNG\r\n\x1a\n", 0, "PNG", ImageFormat::png},
    Magic{"\xff\xd8\xff", 0, "JPEG", ImageFormat::jpeg},
    Magic{"WEBP", 8, "WebP", ImageFormat::webp},
    Magic{"GIF87a", 0, "GIF", ImageFormat::gif},
    Magic{"GIF89a", 0, "GIF", ImageFormat::gif},
    Magic{"BM", 0, "BMP", ImageFormat::bmp},
    Magic{{"II*\0", 4}, 0, "TIFF"},
    Magic{{"MM\0*", 4}, 0, "TIFF"},
    Magic{{"II+\0", 4}, 0, "BigTIFF"},
    Magic{{"MM\0+", 4}, 0, "BigTIFF"},
    Magic{"ftypavif", 4, "AVIF"},
    Magic{"ftypavis", 4, "AVIF"},
    Magic{"ftyphei", 4, "HEIC"},
    Magic{"ftyphev", 4, "HEIC"},
    Magic{"ftypmif1", 4, "HEIF"},
    Magic{"ftypmsf1", 4, "HEIF"},
    Magic{"ftypcrx ", 4, "Canon raw (CR3)"},
    Magic{"ftypqt  ", 4, "a QuickTime video"},
    Magic{"ftyp", 4, "an MP4 video"},
    Magic{"\x1a\x45\xdf\xa3", 0, "a WebM or Matroska video"},
    Magic{"AVI ", 8, "an AVI video"},
    Magic{"jP  \r\n", 4, "JPEG 2000"},
    Magic{"\xff\x4f\xff\x51", 0, "JPEG 2000"},
    Magic{"\xff\x0a", 0, "JPEG XL"},
    Magic{"JXL \r\n", 4, "JPEG XL"},
    Magic{"II\xbc", 0, "JPEG XR"},
    Magic{"8BPS", 0, "PSD (Photoshop)"},
    Magic{{"\0\0\1\0", 4}, 0, "ICO (a Windows icon)"},
    Magic{"qoif", 0, "QOI"},
    Magic{"\x76\x2f\x31\x01", 0, "OpenEXR"},
    Magic{"%PDF", 0, "PDF"},
    Magic{"%!PS", 0, "PostScript"},
    Magic{{"PK\3\4", 4}, 0, "a ZIP archive"},
};

bool contains(std::string_view text, std::string_view word) {
  return text.find(word) != std::string_view::npos;
}

/// Markup may start with a byte order mark and blanks, and tells what it is only further on.
std::optional<SniffedFormat> sniff_markup(std::string_view text) {
  constexpr size_t kEnough = 1024;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (!text.starts_with('<')) return std::nullopt;
  std::string start(text.substr(0, kEnough));
  for (char& c : start) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (contains(start, "<svg") || contains(start, "<!doctype svg")) {
    return SniffedFormat{ImageFormat::other, "SVG"};
  }
  if (contains(start, "<html") || contains(start, "<!doctype html")) {
    return SniffedFormat{ImageFormat::other, "a web page (HTML)"};
  }
  if (start.starts_with("<?xml")) return SniffedFormat{ImageFormat::other, "XML"};
  return std::nullopt;
}

}  // namespace

std::optional<SniffedFormat> sniff_format(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Magic& magic : kMagics) {
    if (text.size() < magic.offset) continue;
    if (text.substr(magic.offset).starts_with(magic.bytes)) {
      return SniffedFormat{magic.format, magic.name};
    }
  }
  return sniff_markup(text);
}

}  // namespace qvl
