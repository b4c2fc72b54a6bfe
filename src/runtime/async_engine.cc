#include "qvl/async_engine.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "core/clock.h"

namespace qvl {
namespace {

constexpr double kStatsMs = 50;
/// How soon a deadline is noticed while everything else is paused.
constexpr auto kPausedWait = std::chrono::milliseconds(5);

/// Streams that have something to tell the engine, each at most once.
struct Inbox {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::shared_ptr<EventStream::State>> streams;  // guarded by mutex
  bool stop = false;                                         // guarded by mutex
  bool cancel_all = false;                                   // guarded by mutex
  bool draining = false;                                     // guarded by mutex
  int64_t unfinished = 0;  // streams whose last event has not come; guarded by mutex
  std::condition_variable idle;
};

}  // namespace

struct EventStream::State {
  std::shared_ptr<Inbox> inbox;
  size_t capacity = 0;
  std::function<void()> on_events;

  // Of the engine's thread.
  RequestId id = 0;
  int answers = 0;
  int unfinished = 0;
  bool paused = false;

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex:
  std::vector<Event> events;
  bool ended = false;  // the last event is there, or was
  bool taken = false;  // the last event was taken
  bool in_inbox = false;
  bool wants_cancel = false;
  std::vector<int> wants_cancel_answers;
  std::unique_ptr<Request> request;  // until it is submitted
  Admission::Ticket ticket;
};

namespace {

/// Puts the stream into the inbox. `lock` holds its mutex and is released.
void post(const std::shared_ptr<EventStream::State>& state, std::unique_lock<std::mutex> lock) {
  if (state->in_inbox || state->ended) return;
  state->in_inbox = true;
  lock.unlock();
  {
    const std::lock_guard inbox_lock(state->inbox->mutex);
    state->inbox->streams.push_back(state);
  }
  state->inbox->changed.notify_one();
}

}  // namespace

EventStream& EventStream::operator=(EventStream&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

EventStream::~EventStream() {
  if (state_) cancel();
}

bool EventStream::take(std::vector<Event>& out) {
  out.clear();
  std::unique_lock lock(state_->mutex);
  if (state_->taken) return false;
  out.swap(state_->events);
  state_->taken = state_->ended;
  const bool was_full = out.size() >= state_->capacity;
  if (was_full) post(state_, std::move(lock));  // the engine may go on
  return true;
}

bool EventStream::wait(std::vector<Event>& out) {
  {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait(lock, [&] { return !state_->events.empty() || state_->ended; });
  }
  return take(out);
}

void EventStream::cancel() {
  std::unique_lock lock(state_->mutex);
  state_->wants_cancel = true;
  post(state_, std::move(lock));
}

void EventStream::cancel_answer(int index) {
  std::unique_lock lock(state_->mutex);
  state_->wants_cancel_answers.push_back(index);
  post(state_, std::move(lock));
}

class AsyncEngine::Impl {
 public:
  Impl(std::unique_ptr<Engine> engine, Options options)
      : engine_(std::move(engine)), options_(options), stats_(engine_->stats()) {
    thread_ = std::thread([this] { work(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(inbox_->mutex);
      inbox_->stop = true;
    }
    inbox_->changed.notify_one();
    thread_.join();
  }

  Result<EventStream> submit(Request request, Admission::Ticket ticket,
                             std::function<void()> on_events) {
    const Status ok = engine_->check(request);
    if (!ok) return ok.error();
    auto state = std::make_shared<EventStream::State>();
    state->inbox = inbox_;
    state->capacity = options_.stream_events;
    state->on_events = std::move(on_events);
    state->answers = request.sampling.n;
    state->request = std::make_unique<Request>(std::move(request));
    state->ticket = std::move(ticket);
    {
      const std::lock_guard lock(inbox_->mutex);
      if (inbox_->draining || inbox_->stop) return Error{ErrorCode::engine_draining, "", ""};
      ++inbox_->unfinished;
      state->in_inbox = true;
      inbox_->streams.push_back(state);
    }
    inbox_->changed.notify_one();
    return EventStream(std::move(state));
  }

  void drain() {
    const std::lock_guard lock(inbox_->mutex);
    inbox_->draining = true;
  }

  bool wait_idle(std::chrono::milliseconds timeout) {
    std::unique_lock lock(inbox_->mutex);
    return inbox_->idle.wait_for(lock, timeout, [&] { return inbox_->unfinished == 0; });
  }

  void cancel_all() {
    {
      const std::lock_guard lock(inbox_->mutex);
      inbox_->cancel_all = true;
    }
    inbox_->changed.notify_one();
  }

  EngineStats stats() const {
    const std::lock_guard lock(stats_mutex_);
    return stats_;
  }
  std::string failure() const {
    const std::lock_guard lock(stats_mutex_);
    return failure_;
  }
  Engine& engine() { return *engine_; }

 private:
  using State = EventStream::State;
  using StatePtr = std::shared_ptr<State>;

  /// Waits while there is nothing to do. False: the end has come.
  bool receive(std::vector<StatePtr>& streams, bool& cancel_all) {
    const auto something = [&] {
      return inbox_->stop || inbox_->cancel_all || !inbox_->streams.empty();
    };
    std::unique_lock lock(inbox_->mutex);
    if (engine_->idle()) {
      inbox_->changed.wait(lock, something);
    } else if (engine_->stalled()) {
      inbox_->changed.wait_for(lock, kPausedWait, something);
    }
    streams.swap(inbox_->streams);
    cancel_all = inbox_->cancel_all || inbox_->stop;
    inbox_->cancel_all = false;
    return !inbox_->stop || !engine_->idle() || !streams.empty();
  }

  void work() {
    std::vector<StatePtr> streams;
    bool cancel_all = false;
    while (receive(streams, cancel_all)) {
      for (const StatePtr& state : streams) apply(state);
      streams.clear();
      if (cancel_all) {
        for (const auto& [id, state] : live_) engine_->cancel(id);
      }
      std::vector<Event> events = engine_->step([this] { deliver(); });
      if (!undelivered_.empty()) deliver();  // no step was made
      undelivered_.swap(events);
      if (engine_->idle() || engine_->stalled()) deliver();
      publish_stats();
      count_ended();
    }
  }

  void apply(const StatePtr& state) {
    std::unique_ptr<Request> request;
    Admission::Ticket ticket;
    bool cancel = false;
    bool resume = false;
    std::vector<int> cancel_answers;
    {
      const std::lock_guard lock(state->mutex);
      state->in_inbox = false;
      request = std::move(state->request);
      ticket = std::move(state->ticket);
      cancel = state->wants_cancel;
      cancel_answers.swap(state->wants_cancel_answers);
      resume = state->paused && state->events.size() <= state->capacity / 2;
    }
    if (request) submit(state, std::move(*request), std::move(ticket));
    if (cancel) engine_->cancel(state->id);
    for (const int index : cancel_answers) engine_->cancel_answer(state->id, index);
    if (resume) pause(*state, false);
  }

  void submit(const StatePtr& state, Request request, Admission::Ticket ticket) {
    const Result<RequestId> id = engine_->submit(std::move(request), std::move(ticket));
    state->unfinished = state->answers;
    if (id) {
      state->id = *id;
      live_.emplace(*id, state);
      return;
    }
    // It was checked before: the engine itself has failed.
    for (int i = 0; i < state->answers; ++i) {
      Event event;
      event.index = i;
      event.finish = FinishReason::error;
      hand_over(state, std::move(event));
    }
  }

  void pause(State& state, bool paused) {
    state.paused = paused;
    for (int i = 0; i < state.answers; ++i) engine_->pause_answer(state.id, i, paused);
  }

  /// Waking the readers of many streams takes longer than a device should wait: so the events of
  /// a step go out while the next one is under way, if there is one.
  void deliver() {
    for (Event& event : undelivered_) deliver(std::move(event));
    undelivered_.clear();
  }

  void deliver(Event event) {
    const auto found = live_.find(event.request);
    if (found == live_.end()) return;
    const StatePtr state = found->second;
    hand_over(state, std::move(event));
    if (state->unfinished == 0) live_.erase(state->id);
  }

  void hand_over(const StatePtr& state, Event event) {
    if (event.finish != FinishReason::none) --state->unfinished;
    const bool last = state->unfinished == 0;
    bool first_unread = false;
    bool full = false;
    {
      const std::lock_guard lock(state->mutex);
      first_unread = state->events.empty();
      state->events.push_back(std::move(event));
      full = state->events.size() >= state->capacity;
      state->ended = last;
    }
    state->changed.notify_one();
    if (first_unread && state->on_events) state->on_events();
    if (last) {
      ++ended_;
    } else if (full && !state->paused) {
      pause(*state, true);
    }
  }

  /// After the statistics, so that who waits for the end finds it there.
  void count_ended() {
    if (ended_ == 0) return;
    const std::lock_guard lock(inbox_->mutex);
    inbox_->unfinished -= std::exchange(ended_, 0);
    if (inbox_->unfinished == 0) inbox_->idle.notify_all();
  }

  void publish_stats() {
    const double now = clock_.ms();
    if (now < stats_at_ms_ + kStatsMs && !engine_->idle()) return;
    stats_at_ms_ = now;
    EngineStats stats = engine_->stats();
    const std::lock_guard lock(stats_mutex_);
    stats_ = stats;
    failure_ = engine_->failure();
  }

  std::unique_ptr<Engine> engine_;
  Options options_;
  std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::unordered_map<RequestId, StatePtr> live_;
  std::vector<Event> undelivered_;  // of the last step
  int64_t ended_ = 0;               // streams, in this round
  Stopwatch clock_;
  double stats_at_ms_ = 0;
  mutable std::mutex stats_mutex_;
  EngineStats stats_;    // guarded by stats_mutex_
  std::string failure_;  // guarded by stats_mutex_
  std::thread thread_;
};

AsyncEngine::AsyncEngine(std::unique_ptr<Engine> engine, Options options)
    : impl_(std::make_unique<Impl>(std::move(engine), options)) {}
AsyncEngine::~AsyncEngine() = default;

Status AsyncEngine::check(const Request& request) const { return impl_->engine().check(request); }
Admission& AsyncEngine::admission() { return impl_->engine().admission(); }

Result<EventStream> AsyncEngine::submit(Request request, std::function<void()> on_events) {
  const Status ok = check(request);
  if (!ok) return ok.error();
  Result<Admission::Ticket> ticket = admission().reserve(cost_of(request));
  if (!ticket) return ticket.error();
  return impl_->submit(std::move(request), std::move(*ticket), std::move(on_events));
}

Result<EventStream> AsyncEngine::submit(Request request, Admission::Ticket ticket,
                                        std::function<void()> on_events) {
  return impl_->submit(std::move(request), std::move(ticket), std::move(on_events));
}

void AsyncEngine::drain() { impl_->drain(); }
bool AsyncEngine::wait_idle(std::chrono::milliseconds timeout) { return impl_->wait_idle(timeout); }
void AsyncEngine::cancel_all() { impl_->cancel_all(); }
EngineStats AsyncEngine::stats() const { return impl_->stats(); }
std::string AsyncEngine::failure() const { return impl_->failure(); }
const MemoryPlan& AsyncEngine::memory_plan() const { return impl_->engine().memory_plan(); }
const LoadStats& AsyncEngine::load_stats() const { return impl_->engine().load_stats(); }

}  // namespace qvl
