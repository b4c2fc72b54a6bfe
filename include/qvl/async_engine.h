#pragma once

/// An engine on a thread of its own, for programs with many readers:
///
///   AsyncEngine engine(std::move(*Engine::create(config)));
///   Result<EventStream> stream = engine.submit(request);     // from any thread
///   std::vector<Event> events;
///   while (stream->wait(events)) show(events);               // false: all answers have ended
///
/// A stream that goes out of scope cancels what has not ended.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qvl/engine.h"

namespace qvl {

/// The events of one request. One reader; calls may come from any thread.
class EventStream {
 public:
  struct State;

  EventStream() = default;
  explicit EventStream(std::shared_ptr<State> state) : state_(std::move(state)) {}
  EventStream(EventStream&&) noexcept = default;
  EventStream& operator=(EventStream&& other) noexcept;
  ~EventStream();

  /// Replaces `out` by what has come since the last call, maybe nothing. False when the last event
  /// was taken before.
  bool take(std::vector<Event>& out);
  /// The same, but waits until something has come.
  bool wait(std::vector<Event>& out);

  void cancel();
  void cancel_answer(int index);

 private:
  std::shared_ptr<State> state_;
};

class AsyncEngine {
 public:
  struct Options {
    /// Events that a reader may leave unread before its request pauses, beside those of the step
    /// under way; it goes on when half of them are read.
    size_t stream_events = 256;
  };

  explicit AsyncEngine(std::unique_ptr<Engine> engine)
      : AsyncEngine(std::move(engine), Options{}) {}
  AsyncEngine(std::unique_ptr<Engine> engine, Options options);
  /// Cancels what has not ended.
  ~AsyncEngine();

  /// All of these may be called from any thread.
  Status check(const Request& request) const;
  Admission& admission();
  /// `on_events` is called on the engine's thread when a stream without unread events gets some,
  /// while the device works on the next step if there is one; it must return soon.
  Result<EventStream> submit(Request request, std::function<void()> on_events = {});
  /// The same with room that was reserved before.
  Result<EventStream> submit(Request request, Admission::Ticket ticket,
                             std::function<void()> on_events = {});

  /// From now on nothing is taken: engine_draining.
  void drain();
  /// True when no request is left, at once or within `timeout`.
  bool wait_idle(std::chrono::milliseconds timeout);
  void cancel_all();

  /// As of the end of a recent step, at most some 50 ms ago.
  EngineStats stats() const;
  /// Engine::failure().
  std::string failure() const;
  const MemoryPlan& memory_plan() const;
  const LoadStats& load_stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qvl
