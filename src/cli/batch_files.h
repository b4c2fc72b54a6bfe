#pragma once

/// The files of a batch: one that is read line by line, and one that grows by whole lines.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>

#include "io/fd.h"
#include "qvl/result.h"

namespace qvl {

/// Reads a file of any size line by line with bounded memory.
class LineReader {
 public:
  struct Line {
    std::string text;          ///< without the line end, LF or CR LF; empty if it is too long
    int64_t number = 0;        ///< from 1
    int64_t begin = 0;         ///< offset of its first byte in the file
    bool is_whole = true;      ///< false: the file ends without a line end
    bool is_too_long = false;  ///< more than max_bytes
  };

  static Result<LineReader> open(const std::string& path, size_t max_bytes);

  /// Empty at the end of the file. Error file_unreadable.
  Result<std::optional<Line>> next();

 private:
  LineReader(Fd fd, std::string path, size_t max_bytes);
  /// False at the end of the file.
  Result<bool> fill();

  Fd fd_;
  std::string path_;
  size_t max_bytes_;
  std::string buffer_;
  size_t at_ = 0;       ///< of the first unread byte of buffer_
  int64_t offset_ = 0;  ///< of the same in the file
  int64_t lines_ = 0;
};

/// Lines of the file that are not blank.
Result<int64_t> count_requests(const std::string& path);

/// The output file of a batch. What earlier runs wrote stays; one run at a time.
class BatchOutput {
 public:
  /// Drops an unfinished last line, which a killed run leaves. Errors: write_failed, also if
  /// another run has the file; bad_json if the file holds anything else than lines of a batch.
  static Result<BatchOutput> open(const std::string& path);

  bool is_answered(const std::string& custom_id) const { return answered_.count(custom_id) > 0; }
  /// The line of the input is known to be bad.
  bool is_bad(int64_t line) const { return bad_lines_.count(line) > 0; }
  int64_t kept_lines() const { return kept_lines_; }

  /// On the disk when it returns.
  Status append(std::string line);

 private:
  BatchOutput(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Status read_back();

  Fd fd_;
  std::string path_;
  std::unordered_set<std::string> answered_;
  std::set<int64_t> bad_lines_;
  int64_t kept_lines_ = 0;
};

}  // namespace qvl
