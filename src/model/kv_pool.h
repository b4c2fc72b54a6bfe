#pragma once

/// The paged cache: for each layer a row of pages of 64 tokens. Which page belongs to whom is the
/// block pool's business; what a page looks like inside is the backend's.

#include "io/model_config.h"
#include "kernels/attention.h"

namespace qvl {

class KvPool {
 public:
  KvPool() = default;
  /// `memory` has room for bytes(…) and outlives the pool.
  KvPool(KvShape shape, int64_t layers, int64_t pages, int64_t page_bytes, Arena& memory)
      : shape_(shape), pages_(pages), page_bytes_(page_bytes) {
    base_ = memory.take<std::byte>(layers * pages * page_bytes);
  }

  static int64_t bytes(int64_t layers, int64_t pages, int64_t page_bytes) {
    return layers * pages * page_bytes;
  }

  KvLayer layer(int64_t l) const { return {base_ + l * pages_ * page_bytes_, page_bytes_, shape_}; }
  int64_t pages() const { return pages_; }

 private:
  KvShape shape_;
  int64_t pages_ = 0;
  int64_t page_bytes_ = 0;
  std::byte* base_ = nullptr;
};

inline KvShape kv_shape(const TextConfig& config, ActFormat activation) {
  return {config.num_key_value_heads, config.head_dim, act_dtype(activation)};
}

}  // namespace qvl
