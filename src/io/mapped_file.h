#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "qvl/result.h"

namespace qvl {

/// A read-only file mapping. The bytes live as long as this object.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  /// Gives the pages of [offset, offset + size) back to the system; they are read again on next
  /// use.
  void release(size_t offset, size_t size) const;

 private:
  MappedFile() = default;
  std::span<const std::byte> bytes_;
  std::string path_;
};

/// The whole of a small file. Error file_too_large above `max_bytes`.
Result<std::string> read_file(const std::string& path, size_t max_bytes);

}  // namespace qvl
