#include "server/live_reply.h"

#include <algorithm>
#include <utility>

#include "openai/api_error.h"

namespace qvl {
namespace {

constexpr double kMs = 1e-3;

std::string error_frame(ErrorCode code) { return dump(error_json({code, "", ""})); }

}  // namespace

LiveReply::LiveReply(Parts parts) : parts_(std::move(parts)) {}

std::function<void()> LiveReply::on_events() {
  return [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->wake();
  };
}

void LiveReply::begin(std::vector<EventStream> streams) {
  {
    const std::lock_guard lock(mutex_);
    streams_ = std::move(streams);
    begun_ = true;
    if (parts_.is_stream) {
      parts_.writer.start_events();
      for (std::string& frame : parts_.reply.start()) frames_.push_back(std::move(frame));
    }
  }
  // The callback keeps the reply alive until the answer is complete.
  parts_.writer.on_cancel(
      [self = shared_from_this()](CancelReason reason) { self->cancel(reason); });
  wake();
}

void LiveReply::cancel(CancelReason reason) {
  is_shutdown_ = reason == CancelReason::shutdown;
  is_cancelled_ = true;
  wake();
}

void LiveReply::wake() {
  if (is_queued_.exchange(true)) return;
  parts_.pool->post([self = shared_from_this()] { self->pump(); });
}

void LiveReply::pump() {
  is_queued_ = false;
  const std::lock_guard lock(mutex_);
  if (!begun_ || ended_) return;
  if (is_cancelled_) {
    for (EventStream& stream : streams_) stream.cancel();
    if (is_shutdown_ && parts_.is_stream) {
      (void)parts_.writer.event(error_frame(ErrorCode::engine_draining));
      parts_.writer.finish();
    } else {
      parts_.writer.json(503, error_frame(ErrorCode::engine_draining));  // nobody may be there
    }
    finished_.reason = FinishReason::cancelled;
    return close();
  }
  if (!flush()) return;  // what comes meanwhile stays with the engine, which pauses
  std::vector<Event> events;
  for (size_t prompt = 0; prompt < streams_.size(); ++prompt) {
    if (streams_[prompt].take(events)) take(prompt, events);
  }
  if (parts_.reply.finished()) {
    end();
  } else {
    flush();
  }
}

void LiveReply::take(size_t prompt, const std::vector<Event>& events) {
  for (const Event& event : events) {
    const size_t choice = parts_.reply.choice(prompt, event.index);
    observe(choice, event);
    for (std::string& frame : parts_.reply.push(choice, event)) frames_.push_back(std::move(frame));
    if (event.finish != FinishReason::none) finished_.reason = parts_.reply.finish_reason(choice);
    if (parts_.reply.wants_cancel(choice)) streams_[prompt].cancel_answer(event.index);
  }
}

void LiveReply::observe(size_t choice, const Event& event) {
  if (times_.size() <= choice) times_.resize(choice + 1);
  double& last = times_[choice].last_token_ms;
  if (event.token >= 0) {
    if (last < 0) {
      parts_.metrics->observe_first_token(event.at_ms * kMs);
    } else {
      parts_.metrics->observe_inter_token((event.at_ms - last) * kMs);
    }
    last = event.at_ms;
  }
  if (event.finish == FinishReason::none) return;
  FinishedRequest& f = finished_;
  f.end_to_end = std::max(f.end_to_end, event.at_ms * kMs);
  f.queue = std::max(f.queue, event.timings.queue_ms * kMs);
  f.prefill = std::max(f.prefill, (event.timings.first_token_ms - event.timings.queue_ms) * kMs);
  f.decode = std::max(f.decode, event.timings.decode_ms * kMs);
  vision_ms_ = std::max(vision_ms_, event.timings.vision_ms);
  f.prompt_tokens = event.usage.prompt_tokens;
  f.computed_prompt_tokens = event.usage.prompt_tokens - event.usage.cached_tokens;
  f.generation_tokens += event.usage.completion_tokens;
  f.longest_generation_tokens =
      std::max(f.longest_generation_tokens, event.usage.completion_tokens);
  if (event.stop_cause == StopCause::repetition) parts_.metrics->add_repetition_stop();
}

bool LiveReply::flush() {
  while (!frames_.empty()) {
    const Written written = parts_.writer.event(frames_.front());
    if (written == Written::full) {
      parts_.writer.on_writable(on_events());
      return false;
    }
    frames_.pop_front();  // also if nobody is there: the cancel comes
  }
  return true;
}

void LiveReply::end() {
  if (!parts_.is_stream) {
    if (parts_.reply.failed()) {
      parts_.writer.json(500, error_frame(ErrorCode::engine_failed));
    } else {
      parts_.writer.json(200, parts_.reply.body());
    }
  } else {
    if (parts_.reply.failed()) {
      frames_.push_back(error_frame(ErrorCode::engine_failed));
    } else {
      for (std::string& frame : parts_.reply.end()) frames_.push_back(std::move(frame));
      frames_.emplace_back("[DONE]");
    }
    if (!flush()) return;
    parts_.writer.finish();
  }
  close();
}

void LiveReply::close() {
  finished_.n = std::max<int64_t>(1, static_cast<int64_t>(times_.size()));
  finished_.max_tokens = parts_.max_tokens;
  parts_.metrics->observe_finished(finished_);
  if (vision_ms_ > 0) parts_.metrics->observe_media(MediaStage::encode, vision_ms_ * kMs);
  if (parts_.on_finished) parts_.on_finished(finished_);
  ended_ = true;
  streams_.clear();
}

}  // namespace qvl
