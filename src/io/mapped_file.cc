#include "io/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "io/fd.h"

namespace qvl {
namespace {

struct OpenFile {
  Fd fd;
  uint64_t bytes;
};

Error system_error(const std::string& path) {
  const int code = errno;
  const bool missing = code == ENOENT || code == ENOTDIR;
  return {missing ? ErrorCode::file_not_found : ErrorCode::file_unreadable,
          std::generic_category().message(code), path};
}

Result<OpenFile> open_regular(const std::string& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return system_error(path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return system_error(path);
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorCode::file_unreadable,
                 S_ISDIR(status.st_mode) ? "found a folder, expected a file"
                                         : "found a device or pipe, expected a regular file",
                 path};
  }
  return OpenFile{std::move(fd), static_cast<uint64_t>(status.st_size)};
}

void unmap(std::span<const std::byte> bytes) {
  if (!bytes.empty()) ::munmap(const_cast<std::byte*>(bytes.data()), bytes.size());
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  Result<OpenFile> file = open_regular(path);
  if (!file) return file.error();
  MappedFile mapped;
  mapped.path_ = path;
  if (file->bytes == 0) return mapped;  // mmap refuses an empty range
  void* const data = ::mmap(nullptr, file->bytes, PROT_READ, MAP_PRIVATE, file->fd.get(), 0);
  if (data == MAP_FAILED) return system_error(path);
  // Weights are read once, front to back. Only a hint: failure changes nothing.
  ::madvise(data, file->bytes, MADV_SEQUENTIAL);
  mapped.bytes_ = {static_cast<const std::byte*>(data), file->bytes};
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap(bytes_);
    bytes_ = std::exchange(other.bytes_, {});
    path_ = std::move(other.path_);
  }
  return *this;
}

MappedFile::~MappedFile() { unmap(bytes_); }

void MappedFile::release(size_t offset, size_t size) const {
  require(offset <= bytes_.size() && size <= bytes_.size() - offset, "release outside the file");
  // Whole pages only: the first and the last may hold a neighbour that is still in use.
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t first = (offset + page - 1) / page * page;
  const size_t last = (offset + size) / page * page;
  if (first >= last) return;
  ::madvise(const_cast<std::byte*>(bytes_.data()) + first, last - first, MADV_DONTNEED);
}

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
  Result<OpenFile> file = open_regular(path);
  if (!file) return file.error();
  const auto too_large = [&](uint64_t found) {
    return Error{ErrorCode::file_too_large,
                 fmt::format("found {} bytes, expected at most {}", found, max_bytes), path};
  };
  if (file->bytes > max_bytes) return too_large(file->bytes);

  // The size is where to start, not where to end: the file may grow, and /proc files say 0.
  std::string text(file->bytes + 1, '\0');
  size_t filled = 0;
  while (true) {
    const ssize_t got = ::read(file->fd.get(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(path);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
    if (filled > max_bytes) return too_large(filled);
    if (filled == text.size()) text.resize(std::min(text.size() * 2, max_bytes + 1));
  }
  text.resize(filled);
  return text;
}

}  // namespace qvl
