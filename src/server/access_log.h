#pragma once

/// One line for each request: its id, method, route, status, bytes and time; if asked for, one more
/// for its tokens. There are no prompts, answers, keys, paths or queries in them, because neither
/// record has any.

#include <memory>
#include <string>

#include "server/connection.h"
#include "server/metrics.h"

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
  /// id=4f2a… finish=stop n=1 prompt_tokens=20 generation_tokens=8 queue_ms=0.1 …
  void write(std::string_view id, const FinishedRequest& request);
  /// Lines that were dropped because nobody took them.
  size_t dropped() const;

 private:
  struct Queue;
  std::unique_ptr<Queue> queue_;
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace qvl
