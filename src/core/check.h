#pragma once

/// `require` guards our own invariants. It is never reachable from user input: a bad file or
/// request is a Result, not a failed requirement.

#include <cstdio>
#include <cstdlib>

namespace qvl {

inline void require(bool ok, const char* what, const char* file = __builtin_FILE(),
                    int line = __builtin_LINE()) {
  if (ok) [[likely]]
    return;
  std::fprintf(stderr, "qvl: internal error at %s:%d: %s\n", file, line, what);
  std::abort();
}

/// The same for a comparison, with both values in the message.
inline void require_equal(long long found, long long expected, const char* what,
                          const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (found == expected) [[likely]]
    return;
  std::fprintf(stderr, "qvl: internal error at %s:%d: %s: found %lld, expected %lld\n", file, line,
               what, found, expected);
  std::abort();
}

}  // namespace qvl
