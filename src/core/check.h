#pragma once

/// `require` guards our own invariants. It is never reachable from user input: a bad file or
/// request is a Result, not a failed requirement.

#include <cstdio>
#include <cstdlib>
#include <source_location>

namespace qvl {

inline void require(bool ok, const char* what,
                    std::source_location at = std::source_location::current()) {
  if (ok) [[likely]]
    return;
  std::fprintf(stderr, "qvl: internal error at %s:%u: %s\n", at.file_name(), at.line(), what);
  std::abort();
}

/// The same for a comparison, with both values in the message.
inline void require_equal(long long found, long long expected, const char* what,
                          std::source_location at = std::source_location::current()) {
  if (found == expected) [[likely]]
    return;
  std::fprintf(stderr, "qvl: internal error at %s:%u: %s: found %lld, expected %lld\n",
               at.file_name(), at.line(), what, found, expected);
  std::abort();
}

}  // namespace qvl
