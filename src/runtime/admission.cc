#include "qvl/admission.h"

#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "core/check.h"

namespace qvl {

struct Admission::State {
  Limits limits;
  std::mutex mutex;
  RequestCost reserved{.answers = 0};  // guarded by mutex
  int64_t tickets = 0;                 // guarded by mutex

  void add(const RequestCost& cost, int64_t sign) {
    reserved.answers += sign * cost.answers;
    reserved.prompt_tokens += sign * cost.prompt_tokens;
    reserved.media_bytes += sign * cost.media_bytes;
  }
};

Admission::Ticket::Ticket(Ticket&& other) noexcept
    : state_(std::exchange(other.state_, nullptr)), cost_(other.cost_) {}

Admission::Ticket& Admission::Ticket::operator=(Ticket&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(cost_, other.cost_);
  return *this;
}

Admission::Ticket::~Ticket() {
  if (!state_) return;
  const std::lock_guard lock(state_->mutex);
  state_->add(cost_, -1);
  --state_->tickets;
}

void Admission::Ticket::update(const RequestCost& cost) {
  require(state_ != nullptr, "a ticket that is used up changes");
  const std::lock_guard lock(state_->mutex);
  state_->add(cost_, -1);
  state_->add(cost, 1);
  cost_ = cost;
}

Admission::Ticket Admission::Ticket::split(const RequestCost& part) {
  require(state_ != nullptr, "a ticket that is used up is split");
  Ticket out;
  out.state_ = state_;
  out.cost_ = part;
  cost_.answers -= part.answers;
  cost_.prompt_tokens -= part.prompt_tokens;
  cost_.media_bytes -= part.media_bytes;
  const std::lock_guard lock(state_->mutex);
  ++state_->tickets;
  return out;
}

Admission::Admission(const Limits& limits) : state_(std::make_shared<State>()) {
  state_->limits = limits;
}

/// Under the lock. `own`: what the request has already.
Status Admission::fits(const RequestCost& cost, const RequestCost& own) const {
  const Limits& limits = state_->limits;
  const RequestCost& now = state_->reserved;
  const auto check = [](int64_t others, int64_t more, int64_t limit, const char* what) {
    if (limit == 0 || more <= limit - others) return Status();
    if (more > limit) {
      return Status(Error{ErrorCode::request_too_large,
                          fmt::format("found {} {}, expected at most {}: all that the queue takes",
                                      more, what, limit),
                          ""});
    }
    return Status(Error{ErrorCode::queue_full,
                        fmt::format("found {} unfinished {} and {} asked for, expected at most {}",
                                    others, what, more, limit),
                        ""});
  };
  for (const Status& status :
       {check(now.answers - own.answers, cost.answers, limits.answers, "answers"),
        check(now.prompt_tokens - own.prompt_tokens, cost.prompt_tokens, limits.prompt_tokens,
              "prompt tokens"),
        check(now.media_bytes - own.media_bytes, cost.media_bytes, limits.media_bytes,
              "bytes of media")}) {
    if (!status) return status.error();
  }
  return {};
}

Result<Admission::Ticket> Admission::reserve(const RequestCost& cost) {
  const std::lock_guard lock(state_->mutex);
  const Status status = fits(cost, {.answers = 0});
  if (!status) return status.error();
  state_->add(cost, 1);
  ++state_->tickets;
  Ticket ticket;
  ticket.state_ = state_;
  ticket.cost_ = cost;
  return ticket;
}

Status Admission::change(Ticket& ticket, const RequestCost& cost) {
  require(ticket.state_ == state_, "a ticket of another queue changes");
  const std::lock_guard lock(state_->mutex);
  const Status status = fits(cost, ticket.cost_);
  if (!status) return status.error();
  state_->add(ticket.cost_, -1);
  state_->add(cost, 1);
  ticket.cost_ = cost;
  return {};
}

RequestCost Admission::reserved() const {
  const std::lock_guard lock(state_->mutex);
  return state_->reserved;
}

int64_t Admission::tickets() const {
  const std::lock_guard lock(state_->mutex);
  return state_->tickets;
}

const Admission::Limits& Admission::limits() const { return state_->limits; }

}  // namespace qvl
