#pragma once

#include <cstdint>
#include <memory>

#include "qvl/result.h"

namespace qvl {

/// What a request takes from the moment it is accepted until its last answer ends.
struct RequestCost {
  int64_t answers = 1;
  int64_t prompt_tokens = 0;  ///< or a bound, while its media are not decoded yet
  int64_t media_bytes = 0;    ///< of decoded pictures and patches; or a bound
};

/// Room for requests: who has a ticket has a place in the queue and the memory for its media. Safe
/// to use from any thread, so that a server can refuse at once, whatever the engine is doing.
class Admission {
  struct State;

 public:
  /// 0: no limit.
  struct Limits {
    int64_t answers = 0;
    int64_t prompt_tokens = 0;
    int64_t media_bytes = 0;
  };

  /// A reservation; given back when it goes.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&& other) noexcept;
    ~Ticket();
    explicit operator bool() const { return state_ != nullptr; }
    const RequestCost& cost() const { return cost_; }
    /// What is known better now. May exceed the limits: others wait for it.
    void update(const RequestCost& cost);
    /// A ticket of its own for a part of this one.
    Ticket split(const RequestCost& part);

   private:
    friend class Admission;
    std::shared_ptr<State> state_;
    RequestCost cost_;
  };

  explicit Admission(const Limits& limits);

  /// queue_full if there is no room now, request_too_large if there never is.
  Result<Ticket> reserve(const RequestCost& cost);
  /// The same for what is known better now: the ticket's own room counts as free. The ticket stays
  /// as it was if there is no room.
  Status change(Ticket& ticket, const RequestCost& cost);
  /// The sum of all tickets, and how many there are.
  RequestCost reserved() const;
  int64_t tickets() const;
  const Limits& limits() const;

 private:
  Status fits(const RequestCost& cost, const RequestCost& own) const;

  std::shared_ptr<State> state_;
};

}  // namespace qvl
