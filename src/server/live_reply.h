#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "openai/reply.h"
#include "qvl/async_engine.h"
#include "server/metrics.h"
#include "server/response_writer.h"
#include "server/worker_pool.h"

namespace qvl {

/// One request between the engine and its client: takes events, turns them into text, and sends
/// them, as frames or as one body. A client that reads slowly makes its request pause; one that is
/// gone cancels it. Lives until the answer is complete or cancelled.
class LiveReply : public std::enable_shared_from_this<LiveReply> {
 public:
  struct Parts {
    Reply reply;
    bool is_stream = false;
    int64_t max_tokens = 0;  ///< that the request asks for; 0: it says nothing
    ResponseWriter writer;
    WorkerPool* pool = nullptr;  ///< where text is made; outlives the reply
    Metrics* metrics = nullptr;  ///< outlives the reply
    std::function<void(const FinishedRequest&)> on_finished;  ///< may be empty
  };
  explicit LiveReply(Parts parts);

  /// To be given to AsyncEngine::submit for every prompt, before begin().
  std::function<void()> on_events();
  /// All prompts are with the engine, in order.
  void begin(std::vector<EventStream> streams);

 private:
  struct AnswerTimes {
    double last_token_ms = -1;
  };

  void wake();
  void pump();
  void take(size_t prompt, const std::vector<Event>& events);
  void observe(size_t choice, const Event& event);
  /// False: the client takes no more now.
  bool flush();
  void end();
  void close();
  void cancel(CancelReason reason);

  Parts parts_;
  std::atomic<bool> is_queued_ = false;
  std::atomic<bool> is_cancelled_ = false;
  std::atomic<bool> is_shutdown_ = false;

  std::mutex mutex_;  // guards all below
  std::vector<EventStream> streams_;
  std::vector<AnswerTimes> times_;
  std::deque<std::string> frames_;
  bool begun_ = false;
  bool ended_ = false;
  double vision_ms_ = 0;
  FinishedRequest finished_;
};

}  // namespace qvl
