#include "core/arena.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/large_pages.h"

namespace qvl {
namespace {

void unmap(std::byte* data, int64_t bytes) { munmap(data, static_cast<size_t>(bytes)); }

}  // namespace

Arena Arena::adopt(std::string name, std::byte* data, int64_t bytes, Release release) {
  Arena arena;
  arena.name_ = std::move(name);
  arena.data_ = data;
  arena.capacity_ = bytes;
  arena.release_ = release;
  return arena;
}

Result<Arena> Arena::create(std::string name, int64_t bytes) {
  if (bytes == 0) return adopt(std::move(name), nullptr, 0, unmap);
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return Error{ErrorCode::does_not_fit,
                 fmt::format("{} bytes for {} were refused by the system ({})", bytes, name,
                             std::strerror(errno)),
                 ""};
  }
  // Weights are streamed once per token; large pages spare the page walks too.
  ask_for_large_pages(data, static_cast<size_t>(bytes));
  return adopt(std::move(name), static_cast<std::byte*>(data), bytes, unmap);
}

Arena::~Arena() {
  if (data_ != nullptr) release_(data_, capacity_);
}

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(data_, other.data_);
  std::swap(capacity_, other.capacity_);
  std::swap(used_, other.used_);
  std::swap(release_, other.release_);
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
