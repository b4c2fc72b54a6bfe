#pragma once

/// Pages of 2 MiB for what is large and about to be written for the first time.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace qvl {

/// Asks for large pages wherever they fit into [data, data + bytes), of which nothing has been
/// written yet: otherwise the system clears and maps each 4 KiB by itself, which takes longer than
/// to decode a picture into them. Advice only; nothing for less than 4 MiB.
inline void ask_for_large_pages(void* data, size_t bytes) {
  constexpr size_t kPage = 4096;
  constexpr size_t kFewBytes = size_t{4} << 20;
  if (bytes < kFewBytes) return;
  const size_t before = (kPage - reinterpret_cast<uintptr_t>(data) % kPage) % kPage;
  madvise(static_cast<char*>(data) + before, (bytes - before) / kPage * kPage, MADV_HUGEPAGE);
}

}  // namespace qvl
