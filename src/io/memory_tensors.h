#pragma once

/// For tests: a TensorSource of tensors written out in memory.

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "io/tensor_source.h"

namespace qvl {

class MemoryTensors final : public TensorSource {
 public:
  /// Adds a tensor; `values` are its elements, of a type as wide as dtype.
  template <class T>
  MemoryTensors& add(std::string name, DType dtype, std::vector<int64_t> shape,
                     const std::vector<T>& values) {
    Stored stored;
    stored.name = name;
    stored.dtype = dtype;
    stored.shape = std::move(shape);
    stored.bytes.resize(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(stored.bytes.data(), values.data(), stored.bytes.size());
    tensors_.insert_or_assign(std::move(name), std::move(stored));
    return *this;
  }
  void remove(const std::string& name) { tensors_.erase(name); }

  const TensorInfo* find(std::string_view name) const override {
    const auto at = tensors_.find(std::string(name));
    return at == tensors_.end() ? nullptr : &at->second;
  }
  std::vector<const TensorInfo*> tensors() const override {
    std::vector<const TensorInfo*> all;
    for (const auto& [name, tensor] : tensors_) all.push_back(&tensor);
    return all;
  }
  const void* rows(const TensorInfo& tensor, int64_t first, int64_t count, void*) const override {
    require(first >= 0 && count >= 0 && first <= tensor.rows() && count <= tensor.rows() - first,
            "rows outside the tensor");
    return static_cast<const Stored&>(tensor).bytes.data() + first * tensor.row_bytes();
  }
  void release(const TensorInfo& tensor, int64_t, int64_t) const override {
    released.insert(tensor.name);
  }

  mutable std::set<std::string> released;

 private:
  struct Stored : TensorInfo {
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Stored> tensors_;
};

}  // namespace qvl
