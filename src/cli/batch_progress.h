#pragma once

#include <cstdint>
#include <string>

namespace qvl {

/// How far a batch is.
struct BatchCounts {
  int64_t total = 0;     ///< requests of the input
  int64_t skipped = 0;   ///< answered by earlier runs
  int64_t answered = 0;  ///< by this run, with status 200
  int64_t errors = 0;    ///< by this run
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;

  int64_t done() const { return skipped + answered + errors; }
};

/// "12/100 requests  1 error  34.5 tok/s  1:02:03 left". The time left appears after the first
/// request of this run.
std::string batch_progress_text(const BatchCounts& counts, double seconds);

/// "100 requests: 97 answered, 1 error, 2 done before; 5678 tokens of prompt, 1234 of answer in
/// 35.8 s, 34.5 tok/s"
std::string batch_summary_text(const BatchCounts& counts, double seconds);

}  // namespace qvl
