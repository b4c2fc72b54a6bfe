#include "core/arena.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace qvl {

Result<Arena> Arena::create(std::string name, int64_t bytes) {
  Arena arena;
  arena.name_ = std::move(name);
  if (bytes == 0) return arena;
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return Error{ErrorCode::does_not_fit,
                 fmt::format("{} bytes for {} were refused by the system ({})", bytes, arena.name_,
                             std::strerror(errno)),
                 ""};
  }
  // Weights are streamed once per token; large pages spare the page walks. Advice only.
  madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  arena.data_ = static_cast<std::byte*>(data);
  arena.capacity_ = bytes;
  return arena;
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(capacity_));
}

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(data_, other.data_);
  std::swap(capacity_, other.capacity_);
  std::swap(used_, other.used_);
  return *this;
}

void* Arena::take_bytes(int64_t bytes) {
  const int64_t need = padded(bytes);
  if (used_ + need > capacity_) {
    std::fprintf(stderr, "qvl: arena %s holds %lld bytes, %lld of them taken\n", name_.c_str(),
                 static_cast<long long>(capacity_), static_cast<long long>(used_));
    require_equal(used_ + need, capacity_, "arena is too small for its plan");
  }
  void* out = data_ + used_;
  used_ += need;
  return out;
}

}  // namespace qvl
