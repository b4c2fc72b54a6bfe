#pragma once

/// One line for each request: its id, method, route, status, bytes and time. There are no prompts,
/// answers, keys, paths or queries in it, because an AccessRecord has none.

#include <memory>
#include <string>

#include "server/connection.h"

namespace spdlog {
class logger;
namespace sinks {
class sink;
}
}  // namespace spdlog

namespace qvl {

class AccessLog {
 public:
  /// To standard error. A line is handed to a thread of its own: a reader of standard error that
  /// stands still costs lines, the oldest first, and never a request.
  AccessLog();
  /// To `sink`, at once; for tests.
  explicit AccessLog(std::shared_ptr<spdlog::sinks::sink> sink);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  /// id=4f2a… method=POST route=/v1/completions status=200 bytes=512 ms=12.3
  void write(const AccessRecord& record);
  /// Lines that were dropped because nobody took them.
  size_t dropped() const;

 private:
  struct Queue;
  std::unique_ptr<Queue> queue_;
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace qvl
