#include "media/exif.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include "media/riff.h"

namespace qvl {
namespace {

using Bytes = std::span<const uint8_t>;

bool starts_with(Bytes bytes, std::string_view prefix) {
  return bytes.size() >= prefix.size() &&
         std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
}

std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

constexpr std::string_view kExifHeader("Exif\0\0", 6);
constexpr std::string_view kXmpKeyword("XML:com.adobe.xmp\0", 18);

/// A PNG's iTXt chunk: keyword, compression flag and method, language, translated keyword, text. A
/// compressed one counts as absent.
std::string_view xmp_of_text_chunk(Bytes chunk) {
  std::string_view rest = as_text(chunk.subspan(kXmpKeyword.size()));
  constexpr size_t kFlagBytes = 2;
  if (rest.size() < kFlagBytes || rest[0] != 0) return {};
  rest.remove_prefix(kFlagBytes);
  for (int field = 0; field < 2; ++field) {
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos) return {};
    rest.remove_prefix(end + 1);
  }
  return rest;
}

enum class ByteOrder { big, little };

/// Unsigned integers at any offset; one that is not wholly inside the data reads as 0.
class Reader {
 public:
  Reader(Bytes bytes, ByteOrder order) : bytes_(bytes), order_(order) {}

  uint32_t u16(uint64_t offset) const { return read(offset, 2); }
  uint32_t u32(uint64_t offset) const { return read(offset, 4); }
  uint32_t u8(uint64_t offset) const { return read(offset, 1); }

 private:
  uint32_t read(uint64_t offset, uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) return 0;
    uint32_t value = 0;
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t at = order_ == ByteOrder::big ? i : size - 1 - i;
      value = value << 8 | bytes_[offset + at];
    }
    return value;
  }

  Bytes bytes_;
  ByteOrder order_;
};

/// Where the stored picture's pixel (0, 0) and its two axes lie in the upright picture.
struct Turn {
  bool swap_axes;
  bool flip_rows;     ///< of the result
  bool flip_columns;  ///< of the result
};

constexpr std::array<Turn, 9> kTurns = {{
    {false, false, false},  // 0: not a valid tag
    {false, false, false},  // 1: upright
    {false, false, true},   // 2: mirrored
    {false, true, true},    // 3: upside down
    {false, true, false},   // 4: mirrored, upside down
    {true, false, false},   // 5: transposed
    {true, false, true},    // 6: to be turned clockwise
    {true, true, true},     // 7: transposed over the other diagonal
    {true, true, false},    // 8: to be turned counter-clockwise
}};

}  // namespace

ImageNotes notes_of_jpeg(std::span<const uint8_t> file) {
  constexpr std::string_view kXmpHeader("http://ns.adobe.com/xap/1.0/\0", 29);
  const Reader reader(file, ByteOrder::big);
  ImageNotes notes;
  size_t at = 2;  // past SOI
  while (at + 4 <= file.size() && file[at] == 0xff) {
    const uint8_t marker = file[at + 1];
    if (marker == 0xff) {  // a fill byte
      ++at;
      continue;
    }
    const bool has_no_length = marker == 0x01 || (marker >= 0xd0 && marker <= 0xd7);
    if (has_no_length) {
      at += 2;
      continue;
    }
    if (marker == 0xd9 || marker == 0xda) break;  // end of image, start of scan
    const size_t length = reader.u16(at + 2);     // counts its own two bytes
    if (length < 2 || length > file.size() - at - 2) break;
    const Bytes payload = file.subspan(at + 4, length - 2);
    if (marker == 0xe1 && starts_with(payload, kExifHeader) && notes.exif.empty()) {
      notes.exif = payload.subspan(kExifHeader.size());
    }
    if (marker == 0xe1 && starts_with(payload, kXmpHeader)) {
      notes.xmp = as_text(payload.subspan(kXmpHeader.size()));
    }
    at += 2 + length;
  }
  return notes;
}

ImageNotes notes_of_png(std::span<const uint8_t> file) {
  const Reader reader(file, ByteOrder::big);
  ImageNotes notes;
  size_t at = 8;  // past the signature; a chunk is length, type, data, checksum
  while (at < file.size() && file.size() - at >= 12) {
    const size_t length = reader.u32(at);
    if (length > file.size() - at - 12) break;
    const Bytes data = file.subspan(at + 8, length);
    if (starts_with(file.subspan(at + 4), "eXIf")) notes.exif = data;
    if (starts_with(file.subspan(at + 4), "iTXt") && starts_with(data, kXmpKeyword)) {
      notes.xmp = xmp_of_text_chunk(data);
    }
    at += 12 + length;
  }
  return notes;
}

ImageNotes notes_of_webp(std::span<const uint8_t> file) {
  ImageNotes notes;
  Bytes rest = file.subspan(std::min(kRiffHeaderBytes, file.size()));
  while (const std::optional<RiffChunk> chunk = next_chunk(rest)) {
    if (chunk->id == "EXIF" && notes.exif.empty()) notes.exif = chunk->payload;
    if (chunk->id == "XMP " && notes.xmp.empty()) notes.xmp = as_text(chunk->payload);
  }
  return notes;
}

std::optional<int> exif_orientation(std::span<const uint8_t> exif) {
  constexpr uint32_t kOrientationTag = 0x0112;
  constexpr uint32_t kByte = 1;
  constexpr uint32_t kShort = 3;
  constexpr uint32_t kLong = 4;
  // In PNG and WebP it should not be there, but some writers put it there.
  while (starts_with(exif, kExifHeader)) exif = exif.subspan(kExifHeader.size());
  const bool little = starts_with(exif, std::string_view("II*\0", 4));
  const bool big = starts_with(exif, std::string_view("MM\0*", 4));
  if (!little && !big) return std::nullopt;
  const Reader reader(exif, little ? ByteOrder::little : ByteOrder::big);
  const uint64_t directory = reader.u32(4);
  const uint32_t entries = reader.u16(directory);
  std::optional<uint32_t> orientation;
  for (uint32_t i = 0; i < entries; ++i) {
    const uint64_t entry = directory + 2 + uint64_t{i} * 12;
    if (entry >= exif.size()) break;
    const uint32_t type = reader.u16(entry + 2);
    const uint32_t count = reader.u32(entry + 4);
    if (reader.u16(entry) != kOrientationTag || count != 1) continue;
    if (type == kByte) orientation = reader.u8(entry + 8);
    if (type == kShort) orientation = reader.u16(entry + 8);
    if (type == kLong) orientation = reader.u32(entry + 8);
  }
  if (!orientation) return std::nullopt;
  return *orientation >= 1 && *orientation <= 8 ? static_cast<int>(*orientation) : 1;
}

int xmp_orientation(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (size_t at = xmp.find(kName); at != std::string_view::npos; at = xmp.find(kName)) {
    xmp.remove_prefix(at + kName.size());
    std::string_view value = xmp;
    if (value.starts_with("=\"")) {
      value.remove_prefix(2);
    } else if (value.starts_with(">")) {
      value.remove_prefix(1);
    } else {
      continue;
    }
    if (value.empty() || value[0] < '0' || value[0] > '9') continue;
    return value[0] >= '1' && value[0] <= '8' ? value[0] - '0' : 1;
  }
  return 1;
}

int orientation_of(ImageFormat format, std::span<const uint8_t> file) {
  ImageNotes notes;
  if (format == ImageFormat::jpeg) notes = notes_of_jpeg(file);
  if (format == ImageFormat::png) notes = notes_of_png(file);
  if (format == ImageFormat::webp) notes = notes_of_webp(file);
  const std::optional<int> orientation = exif_orientation(notes.exif);
  return orientation ? *orientation : xmp_orientation(notes.xmp);
}

Image apply_orientation(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const Turn turn = kTurns[static_cast<size_t>(orientation)];
  Image out = black_image(turn.swap_axes ? Size{image.size.width, image.size.height} : image.size);
  const ptrdiff_t row_bytes = ptrdiff_t{image.size.width} * 3;
  // Steps in the stored picture for one step right and one step down in the upright one.
  ptrdiff_t right = turn.swap_axes ? row_bytes : 3;
  ptrdiff_t down = turn.swap_axes ? 3 : row_bytes;
  const uint8_t* origin = image.rgb.data();
  if (turn.flip_columns) {
    origin += right * (out.size.width - 1);
    right = -right;
  }
  if (turn.flip_rows) {
    origin += down * (out.size.height - 1);
    down = -down;
  }
  uint8_t* to = out.rgb.data();
  for (int y = 0; y < out.size.height; ++y) {
    for (int x = 0; x < out.size.width; ++x, to += 3) {
      std::copy_n(origin + down * y + right * x, 3, to);
    }
  }
  return out;
}

}  // namespace qvl
