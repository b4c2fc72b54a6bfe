#include "media/image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <string_view>
#include <utility>

#include "core/large_pages.h"
#include "media/codecs.h"
#include "media/exif.h"
#include "media/image_format.h"

namespace qvl {
namespace {

constexpr std::string_view kReadFormats = "PNG, JPEG, WebP, GIF or BMP";

Result<Image> decode_as(const SniffedFormat& found, std::span<const uint8_t> bytes,
                        const ImageLimits& limits) {
  switch (found.format) {
    case ImageFormat::png:
      return decode_png(bytes, limits);
    case ImageFormat::jpeg:
      return decode_jpeg(bytes, limits);
    case ImageFormat::webp:
      return decode_webp(bytes, limits);
    case ImageFormat::gif:
      return decode_gif(bytes, limits);
    case ImageFormat::bmp:
      return decode_bmp(bytes, limits);
    case ImageFormat::other:
      break;
  }
  return Error{ErrorCode::unsupported_image,
               fmt::format("found {}, expected {}", found.name, kReadFormats),
               {}};
}

Result<Image> decode_known(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  if (bytes.empty()) return Error{ErrorCode::bad_image, "found no bytes at all", {}};
  if (static_cast<uint64_t>(bytes.size()) > static_cast<uint64_t>(limits.max_file_bytes)) {
    return Error{
        ErrorCode::image_too_large,
        fmt::format("found {} bytes, the limit is {}", bytes.size(), limits.max_file_bytes),
        {}};
  }
  const std::optional<SniffedFormat> found = sniff_format(bytes);
  if (!found) {
    return Error{ErrorCode::unsupported_image,
                 fmt::format("found no known signature at its start, expected {}", kReadFormats),
                 {}};
  }
  Result<Image> image = decode_as(*found, bytes, limits);
  if (!image) return image;
  return apply_orientation(*std::move(image), orientation_of(found->format, bytes));
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

Error ended_early(std::string_view format, size_t file_bytes) {
  return {ErrorCode::bad_image,
          fmt::format("the {} data ends after {} bytes, before the picture is complete", format,
                      file_bytes),
          {}};
}

void fill(Image& image, const std::array<uint8_t, 3>& colour) {
  for (auto pixel = image.rgb.begin(); pixel != image.rgb.end(); pixel += 3) {
    std::copy(colour.begin(), colour.end(), pixel);
  }
}

Image black_image(Size size) {
  Image image;
  image.size = size;
  const auto bytes = static_cast<size_t>(size.pixels()) * 3;
  image.rgb.reserve(bytes);
  ask_for_large_pages(image.rgb.data(), bytes);
  image.rgb.resize(bytes);
  return image;
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
