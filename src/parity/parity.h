#pragma once

/// Compares this build with reference cases: token ids, grids, positions and pixels must be equal,
/// floating-point results within the contract of docs/exactness.md.

#include <string>
#include <vector>

#include "model/processor.h"
#include "parity/reference.h"
#include "runtime/runner.h"

namespace qvl {

struct ParityOptions {
  int64_t chunk = 0;  ///< prefill in chunks of this many tokens; 0: the default
  int64_t batch = 1;  ///< run each case among batch - 1 others
};

/// Largest bfloat16 error of the logits, in units of transformers' own on the same case.
struct Bf16Limits {
  double one_case = 0;  ///< infinite for mixtures of experts: one token routed otherwise decides it
  double mean = 0;      ///< over the cases
};
Bf16Limits bf16_limits(const ModelConfig& config);

/// What one case gave. Errors are relative L2: ‖ours − reference‖ / ‖reference‖; negative: not in
/// this case.
struct ParityResult {
  std::string name;
  int64_t tokens = 0;
  bool prompt_equal = false;
  bool ids_equal = false;
  bool grids_equal = false;
  bool positions_equal = false;
  bool patches_equal = true;
  double vision_error = -1;  ///< features, DeepStack features and patches' hidden rows, the largest
  double hidden_error = -1;  ///< of the last token after any layer, the largest
  double logits_error = -1;  ///< logits_rows
  int64_t argmax_differs = 0;  ///< of all prompt rows
  int64_t argmax_rows = 0;
  int64_t greedy_tokens = 0;
  int64_t greedy_differs = 0;  ///< where the reference's margin is large enough to ask for equality
  int64_t greedy_near_ties = 0;  ///< differing tokens below that margin
  double hf_bf16_error = 0;
  bool bits_equal = true;  ///< the run with chunk and batch gave the bits of the run without
  std::string failure;     ///< why it failed; empty: it passed
};

/// Runs the named cases. The runner must come from parity_config().
Result<std::vector<ParityResult>> run_parity(Runner& runner, const Processor& processor,
                                             const std::string& model_folder,
                                             const std::vector<std::string>& cases,
                                             ActFormat activation, const ParityOptions& options);

/// Sizes of an engine that can hold the cases.
Result<EngineConfig> parity_config(const EngineConfig& base, const Processor& processor,
                                   const std::string& model_folder,
                                   const std::vector<std::string>& cases,
                                   const ParityOptions& options);

/// Mean over the cases of logits error / transformers' own bfloat16 error; 0 if no case has both.
double mean_bf16_ratio(const std::vector<ParityResult>& results);

}  // namespace qvl
