#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "io/fd.h"
#include "qvl/result.h"

namespace qvl {

/// Writes a file under a temporary name beside its place and moves it there when it is complete, so
/// that nobody ever sees half of it. Without commit() nothing remains.
class FileWriter {
 public:
  /// Error write_failed, here and below, says what the system said.
  static Result<FileWriter> create(const std::string& path);
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&&) = delete;
  ~FileWriter();

  Status write(std::span<const std::byte> bytes);
  Status commit();

 private:
  FileWriter(Fd fd, std::string path, std::string temporary);

  Fd fd_;
  std::string path_;
  std::string temporary_;  ///< empty once committed or moved from
};

Status write_file(const std::string& path, std::string_view text);

}  // namespace qvl
