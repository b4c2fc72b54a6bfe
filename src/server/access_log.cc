#include "server/access_log.h"

#include <spdlog/async.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace qvl {
namespace {

constexpr size_t kQueuedLines = 8'192;
constexpr const char* kPattern = "%Y-%m-%dT%H:%M:%S.%eZ %v";

}  // namespace

struct AccessLog::Queue {
  std::shared_ptr<spdlog::details::thread_pool> thread =
      std::make_shared<spdlog::details::thread_pool>(kQueuedLines, 1);
};

AccessLog::AccessLog() : queue_(std::make_unique<Queue>()) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  logger_ = std::make_shared<spdlog::async_logger>("access", std::move(sink), queue_->thread,
                                                   spdlog::async_overflow_policy::overrun_oldest);
  logger_->set_pattern(kPattern, spdlog::pattern_time_type::utc);
}

AccessLog::AccessLog(std::shared_ptr<spdlog::sinks::sink> sink)
    : logger_(std::make_shared<spdlog::logger>("access", std::move(sink))) {
  logger_->set_pattern(kPattern, spdlog::pattern_time_type::utc);
}

AccessLog::~AccessLog() = default;

void AccessLog::write(const AccessRecord& record) {
  logger_->info("id={} method={} route={} status={} bytes={} ms={:.1f}", record.id, record.method,
                record.route, record.status, record.body_bytes, record.seconds * 1e3);
}

void AccessLog::write(std::string_view id, const FinishedRequest& r) {
  logger_->info(
      "id={} finish={} n={} prompt_tokens={} computed_prompt_tokens={} generation_tokens={} "
      "queue_ms={:.1f} prefill_ms={:.1f} decode_ms={:.1f}",
      id, finish_reason_name(r.reason), r.n, r.prompt_tokens, r.computed_prompt_tokens,
      r.generation_tokens, r.queue * 1e3, r.prefill * 1e3, r.decode * 1e3);
}

size_t AccessLog::dropped() const { return queue_ ? queue_->thread->overrun_counter() : 0; }

}  // namespace qvl
