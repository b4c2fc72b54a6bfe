#pragma once

/// One block of anonymous memory, taken once and handed out in order: the owner behind every view
/// of the engine. The memory plan says how large each arena must be; taking more is a bug, not an
/// error. Not thread-safe.

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/view.h"
#include "qvl/result.h"

namespace qvl {

class Arena {
 public:
  static constexpr int64_t kAlignment = 64;  ///< one cache line, one AVX-512 register

  Arena() = default;
  /// Reserves `bytes`, zeroed; pages become resident when first written.
  static Result<Arena> create(std::string name, int64_t bytes);
  /// Takes over memory of another kind, such as a device's; `release` gives it back.
  using Release = void (*)(std::byte* data, int64_t bytes);
  static Arena adopt(std::string name, std::byte* data, int64_t bytes, Release release);
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;

  template <class T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(count * static_cast<int64_t>(sizeof(T))));
  }
  template <class T>
  Mat<T> take_mat(int64_t rows, int64_t cols) {
    return make_mat(take<T>(rows * cols), rows, cols);
  }
  ActMat take_act(DType dtype, int64_t rows, int64_t cols) {
    return {take_bytes(rows * cols * dtype_bytes(dtype)), dtype, rows, cols, cols};
  }
  void* take_bytes(int64_t bytes);

  /// What `take_bytes(bytes)` uses up; sums of this size an arena.
  static int64_t padded(int64_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  int64_t capacity() const { return capacity_; }
  int64_t used() const { return used_; }
  /// Forgets all that was taken after `mark`; views into it become invalid.
  void rewind(int64_t mark) { used_ = mark; }

 private:
  std::string name_;
  std::byte* data_ = nullptr;
  int64_t capacity_ = 0;
  int64_t used_ = 0;
  Release release_ = nullptr;
};

}  // namespace qvl
