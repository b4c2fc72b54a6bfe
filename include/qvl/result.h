#pragma once

#include <cstdlib>
#include <optional>
#include <utility>
#include <variant>

#include "qvl/error.h"

namespace qvl {

/// A value, or the reason why there is none. Reading the value of a failed result ends the process:
/// test it first.
///
///   Result<Image> image = decode_image(bytes, limits);
///   if (!image) return image.error();
///   use(*image);
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    if (state_.index() != 1) std::abort();
    return std::get<1>(state_);
  }

 private:
  T& value() {
    if (state_.index() != 0) std::abort();
    return std::get<0>(state_);
  }
  const T& value() const { return const_cast<Result*>(this)->value(); }

  std::variant<T, Error> state_;
};

/// Success, or the reason why not.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_.has_value(); }
  const Error& error() const {
    if (!error_) std::abort();
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace qvl
