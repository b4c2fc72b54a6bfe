#include "media/image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "media/codecs.h"
#include "media/exif.h"

namespace qvl {
namespace {

enum class Format { png, jpeg, other };

struct Magic {
  std::string_view bytes;
  size_t offset;
  std::string_view name;
  Format format = Format::other;
};

/// The ones that we do not read are here to be named in the error.
constexpr std::array kMagics = {
    Magic{"\x89PNG\r\n\x1a\n", 0, "PNG", Format::png},
    Magic{"\xff\xd8\xff", 0, "JPEG", Format::jpeg},
    Magic{"GIF8", 0, "GIF"},
    Magic{"WEBP", 8, "WebP"},
    Magic{"BM", 0, "BMP"},
    Magic{{"II*\0", 4}, 0, "TIFF"},
    Magic{{"MM\0*", 4}, 0, "TIFF"},
    Magic{"ftypavif", 4, "AVIF"},
    Magic{"ftyphei", 4, "HEIC"},
    Magic{"ftypmif1", 4, "HEIF"},
    Magic{"jP  \r\n", 4, "JPEG 2000"},
    Magic{"\xff\x4f\xff\x51", 0, "JPEG 2000"},
    Magic{"%PDF", 0, "PDF"},
    Magic{"<svg", 0, "SVG"},
    Magic{"<?xml", 0, "XML"},
};

const Magic* sniff(std::span<const uint8_t> bytes) {
  for (const Magic& magic : kMagics) {
    if (bytes.size() < magic.offset + magic.bytes.size()) continue;
    if (std::memcmp(bytes.data() + magic.offset, magic.bytes.data(), magic.bytes.size()) == 0) {
      return &magic;
    }
  }
  return nullptr;
}

Result<Image> decode_known(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  if (bytes.empty()) return Error{ErrorCode::bad_image, "found no bytes at all", {}};
  if (static_cast<uint64_t>(bytes.size()) > static_cast<uint64_t>(limits.max_file_bytes)) {
    return Error{
        ErrorCode::image_too_large,
        fmt::format("found {} bytes, the limit is {}", bytes.size(), limits.max_file_bytes),
        {}};
  }
  const Magic* magic = sniff(bytes);
  if (magic == nullptr) {
    return Error{
        ErrorCode::unsupported_image, "found neither a PNG nor a JPEG signature at its start", {}};
  }
  if (magic->format == Format::other) {
    return Error{ErrorCode::unsupported_image,
                 fmt::format("found {}, expected PNG or JPEG", magic->name),
                 {}};
  }
  const bool png = magic->format == Format::png;
  Result<Image> image = png ? decode_png(bytes, limits) : decode_jpeg(bytes, limits);
  if (!image) return image;
  const int orientation = exif_orientation(png ? exif_of_png(bytes) : exif_of_jpeg(bytes));
  return apply_orientation(*std::move(image), orientation);
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Result<std::vector<uint8_t>> read_file(const std::string& path, int64_t max_bytes) {
  // Without O_NONBLOCK, opening a named pipe waits for a writer that may never come.
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    return Error{missing ? ErrorCode::file_not_found : ErrorCode::file_unreadable, {}, path};
  }
  struct stat info = {};
  if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error{ErrorCode::file_unreadable, "it is not a regular file", path};
  }
  if (info.st_size > max_bytes) {
    return Error{ErrorCode::file_too_large,
                 fmt::format("found {} bytes, the limit is {}", info.st_size, max_bytes), path};
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(info.st_size));
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t count = read(file.get(), bytes.data() + filled, bytes.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error{ErrorCode::file_unreadable, "reading it failed", path};
    if (count == 0) break;  // it has shrunk meanwhile; the decoder will say what is missing
    filled += static_cast<size_t>(count);
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace

Status check_image_size(int64_t height, int64_t width, const ImageLimits& limits) {
  if (height > limits.max_side || width > limits.max_side) {
    return Error{ErrorCode::image_too_large,
                 fmt::format("found {}x{} pixels, the limit is {} on a side", width, height,
                             limits.max_side),
                 {}};
  }
  if (height * width > limits.max_pixels) {  // both fit in 32 bits
    return Error{ErrorCode::image_too_large,
                 fmt::format("found {}x{} pixels, which is {} in all; the limit is {}", width,
                             height, height * width, limits.max_pixels),
                 {}};
  }
  return {};
}

Result<Image> decode_image(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  try {
    return decode_known(bytes, limits);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::image_too_large, "there is not enough memory for its pixels", {}};
  }
}

Result<Image> load_image(const std::string& path, const ImageLimits& limits) {
  const Result<std::vector<uint8_t>> bytes = read_file(path, limits.max_file_bytes);
  if (!bytes) return bytes.error();
  Result<Image> image = decode_image(*bytes, limits);
  if (!image) return Error{image.error().code, image.error().detail, path};
  return image;
}

}  // namespace qvl
