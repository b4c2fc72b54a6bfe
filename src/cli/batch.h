#pragma once

/// `qvl run MODEL --batch`: the requests of a file, several at a time on one engine.

#include <string>

#include "cli/engine_flags.h"
#include "cli/sampling_flags.h"

namespace qvl {

struct BatchFlags {
  EngineFlags engine;
  SamplingFlags sampling;              ///< where a request says nothing
  std::string input;                   ///< OpenAI's batch format, a request per line
  std::string output;                  ///< lines are appended as requests end
  int64_t max_num_seqs = 0;            ///< requests at the same time; 0: as the device takes
  int64_t max_num_batched_tokens = 0;  ///< of one step; 0: as the device takes
};

/// The exit status: 0 when every request has its line, whatever it says; 130 after Ctrl-C.
int run_batch(const BatchFlags& flags);

}  // namespace qvl
