#include "media/bmp_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "media/byte_reader.h"
#include "media/codecs.h"

namespace qvl {
namespace {

using Bytes = std::span<const uint8_t>;

constexpr size_t kFileHeaderBytes = 14;
constexpr uint32_t kOs2HeaderBytes = 12;    ///< sides of 16 bits, colours of 3 bytes
constexpr uint32_t kOs2V2HeaderBytes = 64;  ///< compression 3 means Huffman

Error unsupported(std::string detail) {
  return {ErrorCode::unsupported_image, std::move(detail), {}};
}

template <class T, size_t kCount>
bool is_one_of(const std::array<T, kCount>& values, T value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

/// `fields`: the header from its own size on.
Status read_shape(Bytes fields, BmpHeader& header) {
  if (fields.size() == kOs2HeaderBytes) {
    header.width = le16(fields, 4);
    header.height = le16(fields, 6);
    header.bits = static_cast<int>(le16(fields, 10));
  } else {
    header.width = static_cast<int32_t>(le32(fields, 4));
    const int64_t height = static_cast<int32_t>(le32(fields, 8));
    header.top_down = height < 0;
    header.height = header.top_down ? -height : height;
    header.bits = static_cast<int>(le16(fields, 14));
  }
  if (header.width >= 1 && header.height >= 1) return {};
  return Error{
      ErrorCode::bad_image,
      fmt::format("the BMP data is damaged: found {}x{} pixels", header.width, header.height),
      {}};
}

Status read_compression(Bytes fields, BmpHeader& header) {
  const uint32_t number = fields.size() == kOs2HeaderBytes ? 0 : le32(fields, 16);
  const auto compression = static_cast<BmpCompression>(number);
  constexpr std::array kDepths = {1, 4, 8, 16, 24, 32};
  const bool known = is_one_of(kDepths, header.bits) &&
                     (compression == BmpCompression::none ||
                      (compression == BmpCompression::rle8 && header.bits == 8) ||
                      (compression == BmpCompression::rle4 && header.bits == 4) ||
                      (compression == BmpCompression::bit_fields && header.bits >= 16 &&
                       fields.size() != kOs2V2HeaderBytes));
  if (!known) {
    return unsupported(
        fmt::format("found a BMP of {} bits a pixel and compression {}, expected 1, 4, 8, 16, 24 "
                    "or 32 bits, plain, with run lengths or with bit fields",
                    header.bits, number));
  }
  header.compression = compression;
  return {};
}

Result<BmpChannel> channel_of(uint32_t mask) {
  const int shift = mask == 0 ? 0 : std::countr_zero(mask);
  const uint32_t max = mask >> shift;
  const bool contiguous = (max & (max + 1)) == 0;
  if (max == 0 || max > 255 || !contiguous) {
    return unsupported(fmt::format(
        "found the bits {:#010x} for a channel of a BMP, expected 1 to 8 neighbouring ones", mask));
  }
  return BmpChannel{shift, max};
}

/// Bit fields stand in the longer headers, and behind the shorter. All 0 means the usual ones.
Status read_channels(Bytes fields, ByteReader& behind, size_t file_bytes, BmpHeader& header) {
  constexpr size_t kMasksAt = 40;
  constexpr size_t kMasksBytes = 12;
  using Masks = std::array<uint32_t, 3>;
  Masks masks = header.bits == 16 ? Masks{0x7c00, 0x03e0, 0x001f} : Masks{0xff0000, 0xff00, 0xff};
  if (header.compression == BmpCompression::bit_fields) {
    const bool inside = fields.size() >= kMasksAt + kMasksBytes;
    const std::optional<Bytes> bytes =
        inside ? fields.subspan(kMasksAt, kMasksBytes) : behind.take(kMasksBytes);
    if (!bytes) return ended_early("BMP", file_bytes);
    const Masks found{le32(*bytes, 0), le32(*bytes, 4), le32(*bytes, 8)};
    if (found != Masks{}) masks = found;
  }
  for (size_t i = 0; i < masks.size(); ++i) {
    const Result<BmpChannel> channel = channel_of(masks[i]);
    if (!channel) return channel.error();
    header.channels[i] = *channel;
  }
  return {};
}

/// Colours are stored blue first.
Status read_palette(Bytes fields, ByteReader& behind, size_t file_bytes, BmpHeader& header) {
  constexpr uint32_t kMostColours = 65'536;
  const bool os2 = fields.size() == kOs2HeaderBytes;
  const size_t colour_bytes = os2 ? 3 : 4;
  const uint32_t given = os2 ? 0 : le32(fields, 32);
  const uint32_t colours = given == 0 ? 1U << header.bits : given;
  if (colours > kMostColours) {
    return unsupported(fmt::format("found a BMP of {} colours, expected at most {}", colours,
                                   header.palette.size()));
  }
  const auto bytes = behind.take(colours * colour_bytes);
  if (!bytes) return ended_early("BMP", file_bytes);
  for (size_t i = 0; i < std::min<size_t>(colours, header.palette.size()); ++i) {
    const Bytes bgr = bytes->subspan(i * colour_bytes, 3);
    header.palette[i] = {bgr[2], bgr[1], bgr[0]};
  }
  return {};
}

}  // namespace

Result<BmpHeader> read_bmp_header(std::span<const uint8_t> file) {
  constexpr std::array<uint32_t, 7> kKnown = {kOs2HeaderBytes,   40,  52, 56,
                                              kOs2V2HeaderBytes, 108, 124};
  ByteReader reader(file);
  const auto file_header = reader.take(kFileHeaderBytes);
  const auto size = file.size() < kFileHeaderBytes + 4 ? 0 : le32(file, kFileHeaderBytes);
  if (size == 0) return ended_early("BMP", file.size());
  if (!is_one_of(kKnown, size)) {
    return unsupported(fmt::format("found a BMP header of {} bytes, expected {}", size,
                                   "12, 40, 52, 56, 64, 108 or 124"));
  }
  const auto fields = reader.take(size);
  if (!fields) return ended_early("BMP", file.size());
  BmpHeader header;
  if (Status ok = read_shape(*fields, header); !ok) return ok.error();
  if (Status ok = read_compression(*fields, header); !ok) return ok.error();
  const auto read_colours = header.bits <= 8 ? read_palette : read_channels;
  if (Status ok = read_colours(*fields, reader, file.size(), header); !ok) return ok.error();
  // Some writers leave the offset out, or forget the palette in it.
  const size_t offset = le32(*file_header, 10);
  const bool forgotten =
      offset == 0 || (header.bits <= 8 && offset == kFileHeaderBytes + fields->size());
  header.data_offset = forgotten ? file.size() - reader.rest().size() : offset;
  return header;
}

}  // namespace qvl
