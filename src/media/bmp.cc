#include <algorithm>

#include "media/bmp_header.h"
#include "media/byte_reader.h"
#include "media/codecs.h"

namespace qvl {
namespace {

using Bytes = std::span<const uint8_t>;

/// row: as stored.  rgb: [width, 3].
void read_row(const BmpHeader& header, Bytes row, std::span<uint8_t> rgb) {
  const size_t width = rgb.size() / 3;
  uint8_t* to = rgb.data();
  if (header.bits <= 8) {
    const auto bits = static_cast<size_t>(header.bits);
    const size_t mask = (1U << bits) - 1;
    for (size_t x = 0; x < width; ++x) {
      const size_t first_bit = x * bits;  // the leftmost pixel is in the highest bits
      const size_t index = row[first_bit / 8] >> (8 - bits - first_bit % 8) & mask;
      to = std::copy_n(header.palette[index].begin(), 3, to);
    }
    return;
  }
  const auto bytes = static_cast<size_t>(header.bits) / 8;
  for (size_t x = 0; x < width; ++x) {
    uint32_t pixel = 0;
    for (size_t i = 0; i < bytes; ++i) pixel |= uint32_t{row[x * bytes + i]} << (8 * i);
    for (const BmpChannel& channel : header.channels) *to++ = channel.read(pixel);
  }
}

/// Rows of the picture in the order of the file.
class Rows {
 public:
  Rows(const BmpHeader& header, Image& image) : header_(header), image_(image) {}

  int count() const { return image_.size.height; }
  std::span<uint8_t> at(int stored) const {
    const int y = header_.top_down ? stored : image_.size.height - 1 - stored;
    const size_t row_bytes = static_cast<size_t>(image_.size.width) * 3;
    return std::span(image_.rgb).subspan(static_cast<size_t>(y) * row_bytes, row_bytes);
  }

 private:
  const BmpHeader& header_;
  Image& image_;
};

struct RowSizes {
  size_t bytes;   ///< that hold pixels
  size_t stride;  ///< from one row to the next
};

RowSizes row_sizes(const BmpHeader& header) {
  const auto bits = static_cast<size_t>(header.width) * static_cast<size_t>(header.bits);
  return {(bits + 7) / 8, (bits + 31) / 32 * 4};
}

/// Pixels as 1-byte counts and values. Pixels that are skipped, and those behind an early end mark,
/// have the first colour.
class RunLengths {
 public:
  RunLengths(const BmpHeader& header, Bytes data, Image& image)
      : header_(header), reader_(data), rows_(header, image) {}

  /// False if the data ends before the picture and before an end mark.
  bool read() {
    constexpr uint8_t kEndOfRow = 0;
    constexpr uint8_t kEndOfPicture = 1;
    constexpr uint8_t kSkip = 2;
    while (y_ < rows_.count()) {
      const auto pair = reader_.take(2);
      // The last row needs no mark behind it.
      if (!pair) return y_ + 1 == rows_.count() && x_ >= header_.width;
      const uint8_t count = (*pair)[0];
      const uint8_t value = (*pair)[1];
      if (count > 0) {
        write_run(count, value);
      } else if (value == kEndOfRow) {
        x_ = 0;
        ++y_;
      } else if (value == kEndOfPicture) {
        return true;
      } else if (value == kSkip) {
        const auto step = reader_.take(2);
        if (!step) return false;
        x_ += (*step)[0];
        y_ += (*step)[1];
      } else if (!write_literal(value)) {
        return false;
      }
    }
    return true;
  }

 private:
  bool four_bits() const { return header_.compression == BmpCompression::rle4; }

  /// What would lie behind the row's end is dropped.
  void put(size_t index) {
    if (x_ < header_.width) {
      std::copy_n(header_.palette[index].begin(), 3, &rows_.at(y_)[static_cast<size_t>(x_) * 3]);
    }
    ++x_;
  }

  /// A byte of RLE4 holds two indices, which take turns.
  size_t index_of(uint8_t value, size_t turn) const {
    if (!four_bits()) return value;
    return turn % 2 == 0 ? value >> 4 : value & 15;
  }

  void write_run(uint8_t count, uint8_t value) {
    for (size_t i = 0; i < count; ++i) put(index_of(value, i));
  }

  bool write_literal(uint8_t count) {
    const size_t bytes = four_bits() ? (size_t{count} + 1) / 2 : count;
    const auto values = reader_.take(bytes);
    if (!values) return false;
    for (size_t i = 0; i < count; ++i) put(index_of((*values)[four_bits() ? i / 2 : i], i));
    if (bytes % 2 != 0) reader_.byte();  // padding; the last may lack it
    return true;
  }

  const BmpHeader& header_;
  ByteReader reader_;
  Rows rows_;
  int64_t x_ = 0;
  int y_ = 0;
};

}  // namespace

Result<Image> decode_bmp(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  const Result<BmpHeader> header = read_bmp_header(bytes);
  if (!header) return header.error();
  if (Status fits = check_image_size(header->height, header->width, limits); !fits) {
    return fits.error();
  }
  const Bytes data = bytes.subspan(std::min(header->data_offset, bytes.size()));
  const bool plain = header->compression == BmpCompression::none ||
                     header->compression == BmpCompression::bit_fields;
  const RowSizes sizes = row_sizes(*header);
  const size_t last_row = static_cast<size_t>(header->height - 1) * sizes.stride;
  if (plain && data.size() < last_row + sizes.bytes) return ended_early("BMP", bytes.size());

  Image image = black_image({static_cast<int>(header->height), static_cast<int>(header->width)});
  if (!plain) {
    fill(image, header->palette[0]);
    if (!RunLengths(*header, data, image).read()) return ended_early("BMP", bytes.size());
    return image;
  }
  const Rows rows(*header, image);
  for (int y = 0; y < rows.count(); ++y) {
    const Bytes row = data.subspan(static_cast<size_t>(y) * sizes.stride, sizes.bytes);
    read_row(*header, row, rows.at(y));
  }
  return image;
}

}  // namespace qvl
