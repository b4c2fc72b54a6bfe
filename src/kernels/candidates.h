#pragma once

/// The largest logits of a row, from which nearly every token is chosen: a row of them is small
/// enough to be copied to the host for each token.

#include <array>

#include "core/view.h"
#include "kernels/backend.h"

namespace qvl {

constexpr int64_t kCandidates = 256;

struct TokenLogit {
  float logit = 0;
  int32_t token = 0;

  bool operator==(const TokenLogit&) const = default;
};

/// What a sampler knows of a row of logits without reading it. "Below the limit": tokens that may
/// be chosen at all.
struct Candidates {
  /// Σ exp((logit − best[0].logit) / temperature) over the finite logits below the limit, with a
  /// relative error below kWeightSumError; not finite if it was not asked for.
  double weight_sum = 0;
  /// ln Σ exp(logit) over all logits, with an error below 1e-6; not finite if it was not asked for,
  /// if a logit is NaN or infinity, and where one beyond the limit is so large that the sum
  /// overflows.
  double log_sum = 0;
  /// Of best; if it is less than kCandidates, these are all finite logits below the limit.
  int32_t count = 0;
  /// The largest finite logits below the limit in descending order, equal ones by ascending token.
  std::array<TokenLogit, kCandidates> best;
};
constexpr double kWeightSumError = 1e-5;

struct CandidateRequest {
  int32_t row = 0;        ///< of the logits
  float temperature = 0;  ///< of weight_sum; 0: it is not asked for
  bool log_sum = false;   ///< asked for

  constexpr bool wants_sum() const { return temperature > 0 || log_sum; }
};

/// out[i] = the candidates of row requests[i].row.
void rank_candidates(Ref&, Mat<const float> logits, int64_t limit, Vec<const CandidateRequest>,
                     Vec<Candidates> out);

/// The largest logit below the limit of each of kLogitGroups groups of tokens, with its token, as
/// a key; [rows, kLogitGroups]. The first pass over logits that the two functions below share.
using LogitKey = uint64_t;
constexpr int64_t kLogitGroups = 1024;
void group_maxima(Cuda&, Mat<const float> logits, int64_t limit, Mat<LogitKey> maxima);

/// tokens[i] = the token of the largest logit of row i, the first of equal ones; -1 if none is
/// finite. `maxima` is group_maxima of the logits.
void greedy_tokens(Cuda&, Mat<const LogitKey> maxima, Vec<int32_t> tokens);

/// Sums of the parts of a row, [kCandidateSums] for each request.
constexpr int64_t kCandidateSums = 32;

/// `maxima` is group_maxima of the logits; `sums` is empty if no request asks for one. All are
/// device memory.
void rank_candidates(Cuda&, Mat<const float> logits, int64_t limit, Mat<const LogitKey> maxima,
                     Vec<const CandidateRequest> requests, Vec<double> sums, Vec<Candidates> out);

}  // namespace qvl
