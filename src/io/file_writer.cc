#include "io/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace qvl {
namespace {

Error write_error(const std::string& path) {
  return {ErrorCode::write_failed, std::generic_category().message(errno), path};
}

}  // namespace

FileWriter::FileWriter(Fd fd, std::string path, std::string temporary)
    : fd_(std::move(fd)), path_(std::move(path)), temporary_(std::move(temporary)) {}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : fd_(std::move(other.fd_)),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})) {}

Result<FileWriter> FileWriter::create(const std::string& path) {
  // A fixed name: what a killed run left behind is overwritten by the next one.
  std::string temporary = path + ".partial";
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (fd.get() < 0) return write_error(path);
  return FileWriter(std::move(fd), path, std::move(temporary));
}

FileWriter::~FileWriter() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status FileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return write_error(path_);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status FileWriter::commit() {
  if (fd_.reset() != 0) return write_error(path_);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return write_error(path_);
  temporary_.clear();
  return {};
}

Status write_file(const std::string& path, std::string_view text) {
  Result<FileWriter> writer = FileWriter::create(path);
  if (!writer) return writer.error();
  if (Status status = writer->write(std::as_bytes(std::span(text))); !status) return status;
  return writer->commit();
}

}  // namespace qvl
