#include "cli/batch_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "openai/batch_line.h"

namespace qvl {
namespace {

constexpr size_t kBlock = size_t{1} << 20;
constexpr size_t kMaxOutputLine = size_t{1} << 30;

Error system_error(ErrorCode code, const std::string& path) {
  return {code, std::generic_category().message(errno), path};
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t") == std::string::npos;
}

}  // namespace

LineReader::LineReader(Fd fd, std::string path, size_t max_bytes)
    : fd_(std::move(fd)), path_(std::move(path)), max_bytes_(max_bytes) {}

Result<LineReader> LineReader::open(const std::string& path, size_t max_bytes) {
  // Without O_NONBLOCK, opening a named pipe waits for a writer that may never come.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    return system_error(missing ? ErrorCode::file_not_found : ErrorCode::file_unreadable, path);
  }
  struct stat info {};
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error{ErrorCode::file_unreadable, "it is not a regular file", path};
  }
  return LineReader(std::move(fd), path, max_bytes);
}

Result<bool> LineReader::fill() {
  buffer_.erase(0, at_);
  at_ = 0;
  const size_t size = buffer_.size();
  buffer_.resize(size + kBlock);
  ssize_t got = 0;
  do {
    got = ::read(fd_.get(), buffer_.data() + size, kBlock);
  } while (got < 0 && errno == EINTR);
  buffer_.resize(size + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) return system_error(ErrorCode::file_unreadable, path_);
  return got > 0;
}

Result<std::optional<LineReader::Line>> LineReader::next() {
  Line line;
  line.number = lines_ + 1;
  line.begin = offset_;
  size_t searched = at_;
  while (true) {
    const size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      line.is_too_long |= end - at_ > max_bytes_;
      if (!line.is_too_long) line.text = buffer_.substr(at_, end - at_);
      offset_ += static_cast<int64_t>(end + 1 - at_);
      at_ = end + 1;
      break;
    }
    // Of a line that is too long nothing is kept.
    if (buffer_.size() - at_ > max_bytes_) {
      line.is_too_long = true;
      offset_ += static_cast<int64_t>(buffer_.size() - at_);
      at_ = buffer_.size();
    }
    const size_t unread = buffer_.size() - at_;
    const Result<bool> more = fill();
    if (!more) return more.error();
    searched = unread;
    if (*more) continue;
    if (unread == 0 && !line.is_too_long) return std::optional<Line>();
    line.is_whole = false;
    if (!line.is_too_long) line.text = buffer_;
    offset_ += static_cast<int64_t>(unread);
    at_ = buffer_.size();
    break;
  }
  ++lines_;
  if (line.text.ends_with('\r')) line.text.pop_back();
  return std::optional<Line>(std::move(line));
}

Result<int64_t> count_requests(const std::string& path) {
  Result<LineReader> reader = LineReader::open(path, kMaxOutputLine);
  if (!reader) return reader.error();
  int64_t count = 0;
  while (true) {
    const auto line = reader->next();
    if (!line) return line.error();
    if (!line->has_value()) return count;
    if ((*line)->is_too_long || !is_blank((*line)->text)) ++count;
  }
}

Result<BatchOutput> BatchOutput::open(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (fd.get() < 0) return system_error(ErrorCode::write_failed, path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error{ErrorCode::write_failed, "another run is writing it", path};
  }
  BatchOutput output(std::move(fd), path);
  const Status read = output.read_back();
  if (!read) return read.error();
  return output;
}

Status BatchOutput::read_back() {
  Result<LineReader> reader = LineReader::open(path_, kMaxOutputLine);
  if (!reader) return reader.error();
  while (true) {
    const auto next = reader->next();
    if (!next) return next.error();
    if (!next->has_value()) return {};
    const LineReader::Line& line = **next;
    const Error other{ErrorCode::bad_json,
                      fmt::format("line {} is not the output of a batch", line.number), path_};
    if (line.is_too_long) return other;
    if (!line.is_whole) {
      const size_t known = std::min(line.text.size(), kBatchLineStart.size());
      if (line.text.substr(0, known) != kBatchLineStart.substr(0, known)) return other;
      if (ftruncate(fd_.get(), line.begin) != 0) {
        return system_error(ErrorCode::write_failed, path_);
      }
      return {};
    }
    Result<BatchRecord> record = parse_batch_record(line.text);
    if (!record) return other;
    ++kept_lines_;
    if (record->bad_line > 0) {
      bad_lines_.insert(record->bad_line);
    } else {
      answered_.insert(std::move(record->custom_id));
    }
  }
}

Status BatchOutput::append(std::string line) {
  line += '\n';
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_error(ErrorCode::write_failed, path_);
    rest.remove_prefix(static_cast<size_t>(written));
  }
  // A device or a pipe has no disk behind it.
  if (fdatasync(fd_.get()) != 0 && errno != EINVAL && errno != EROFS) {
    return system_error(ErrorCode::write_failed, path_);
  }
  return {};
}

}  // namespace qvl
