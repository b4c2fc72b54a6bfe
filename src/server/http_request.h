#pragma once

/// What a handler is given: checked, complete, and owned by it.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http_head.h"

namespace qvl {

/// Bytes that all requests together may hold as bodies. Thread-safe.
class ByteBudget {
 public:
  explicit ByteBudget(size_t bytes) : bytes_(bytes) {}

  bool take(size_t bytes) {
    size_t used = used_.load(std::memory_order_relaxed);
    do {
      if (bytes > bytes_ - used) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  void give_back(size_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  size_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  const size_t bytes_;
  std::atomic<size_t> used_ = 0;
};

/// A share of a budget, given back at the end of its life.
class ByteLease {
 public:
  ByteLease() = default;
  explicit ByteLease(std::shared_ptr<ByteBudget> budget) : budget_(std::move(budget)) {}
  ByteLease(ByteLease&& other) noexcept
      : budget_(std::move(other.budget_)), bytes_(std::exchange(other.bytes_, 0)) {}
  ByteLease& operator=(ByteLease&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~ByteLease() {
    if (budget_) budget_->give_back(bytes_);
  }

  /// Raises the share to `bytes`; false if the budget has not as much.
  bool grow_to(size_t bytes) {
    if (bytes <= bytes_) return true;
    if (!budget_->take(bytes - bytes_)) return false;
    bytes_ = bytes;
    return true;
  }

 private:
  std::shared_ptr<ByteBudget> budget_;
  size_t bytes_ = 0;
};

struct HttpRequest {
  RequestHead head;
  std::string rest;  ///< what {id} of the route's path stands for
  std::string body;
  std::string peer;      ///< "192.0.2.7", "::1" or "unix"
  std::string id;        ///< X-Request-Id of the request, or one made here
  ByteLease body_bytes;  ///< keep it as long as the body is kept
};

}  // namespace qvl
