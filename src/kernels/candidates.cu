// Bound by latency more than by bytes: a row of 151,936 logits is 608 KB, in the L2 cache where
// rows are few. The first pass keeps the largest logit of each of 1,024 groups of tokens, with many
// blocks for a row. The 256th of these is no larger than the 256th of all logits, so only the 256
// groups whose largest is not below it are read again, by one block for a row; they hold about 300
// logits above it. Keys are unique, so a result does not depend on the order in which they are
// found.

#include <cfloat>

#include "kernels/candidates.h"
#include "kernels/device/products.cuh"

namespace qvl {
namespace {

using device::wait_for_inputs;

// Four threads have a group: a piece of 16 neighbouring logits, and those 1,024 pieces on.
constexpr int kPiece = 16;
constexpr int kGroupThreads = 4;
constexpr int kGroups = kLogitGroups;
constexpr int kGroupStride = kGroups * kPiece;
constexpr int kParts = kCandidateSums / 2;  // blocks of a row
constexpr int kThreads = kGroups * kGroupThreads / kParts;
constexpr int kRankThreads = 1024;
constexpr int kBest = kCandidates;
static_assert(kBest * kGroupThreads == kRankThreads && kGroups == kRankThreads);

/// Larger logits have larger keys, of equal ones the smaller token; 0 is no logit.
__device__ LogitKey key_of(float logit, int token) {
  const uint32_t bits = __float_as_uint(logit + 0.0F);  // 0 and -0 are equal
  const uint32_t ordered = bits ^ (bits >> 31 != 0 ? 0xffffffffU : 0x80000000U);
  return LogitKey{ordered} << 32 | ~static_cast<uint32_t>(token);
}
/// No finite logit has a smaller one.
constexpr LogitKey kLeastKey = LogitKey{0x00800000} << 32;
__device__ float logit_of(LogitKey key) {
  const auto ordered = static_cast<uint32_t>(key >> 32);
  return __uint_as_float(ordered ^ (ordered >> 31 != 0 ? 0x80000000U : 0xffffffffU));
}
__device__ int32_t token_of(LogitKey key) {
  return static_cast<int32_t>(~static_cast<uint32_t>(key));
}

__device__ bool is_finite(float v) { return fabsf(v) <= FLT_MAX; }

struct Logits4 {
  float v[4];
};

/// row[i, i + 4), -infinity from n on.
__device__ Logits4 load(const float* row, int i, int n, bool aligned) {
  if (aligned && i + 4 <= n) {
    const float4 x = *reinterpret_cast<const float4*>(row + i);
    return {x.x, x.y, x.z, x.w};
  }
  Logits4 x;
  for (int j = 0; j < 4; ++j) x.v[j] = i + j < n ? row[i + j] : -INFINITY;
  return x;
}

/// f(logit, token) for this thread's part of a group; tokens ascend.
template <class F>
__device__ void visit_group(const float* row, int group, int n, F&& f) {
  constexpr int kAtOnce = 5;  // loads under way
  const bool aligned = reinterpret_cast<uintptr_t>(row) % 16 == 0;
  const int first = group * kPiece + threadIdx.x % kGroupThreads * 4;
  for (int i = first; i < n; i += kAtOnce * kGroupStride) {
    Logits4 x[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) x[u] = load(row, i + u * kGroupStride, n, aligned);
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
#pragma unroll
      for (int j = 0; j < 4; ++j) f(x[u].v[j], i + u * kGroupStride + j);
    }
  }
}

/// Combines the values of kThreads threads, always in the same order; the result is thread 0's.
template <class T, class Combine>
__device__ T reduce_block(T value, Combine combine) {
  __shared__ T warps[kThreads / 32];
  for (int step = 16; step > 0; step /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffU, value, step));
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  for (int w = 1; w < kThreads / 32 && threadIdx.x == 0; ++w) value = combine(value, warps[w]);
  return value;
}

/// The largest of a row's keys, thread 0's.
__device__ LogitKey largest(const LogitKey* keys) {
  LogitKey best = 0;
#pragma unroll
  for (int i = 0; i < kGroups / kThreads; ++i) {
    best = max(best, keys[threadIdx.x + i * kThreads]);
  }
  return reduce_block(best, [](LogitKey a, LogitKey b) { return max(a, b); });
}

__global__ void __launch_bounds__(kThreads)
    group_maxima_kernel(const float* logits, int64_t ld, int limit, LogitKey* maxima) {
  wait_for_inputs();
  const int group = (blockIdx.x * kThreads + threadIdx.x) / kGroupThreads;
  float best = -INFINITY;
  int token = 0;
  visit_group(logits + blockIdx.y * ld, group, limit, [&](float v, int t) {
    if (v > best && v <= FLT_MAX) {
      best = v;
      token = t;
    }
  });
  LogitKey key = best == -INFINITY ? 0 : key_of(best, token);
  key = max(key, __shfl_xor_sync(0xffffffffU, key, 1));
  key = max(key, __shfl_xor_sync(0xffffffffU, key, 2));
  if (threadIdx.x % kGroupThreads == 0) maxima[int64_t{blockIdx.y} * kGroups + group] = key;
}

__global__ void __launch_bounds__(kThreads)
    greedy_kernel(const LogitKey* maxima, int32_t* tokens) {
  wait_for_inputs();
  const LogitKey best = largest(maxima + int64_t{blockIdx.x} * kGroups);
  if (threadIdx.x == 0) tokens[blockIdx.x] = best == 0 ? -1 : token_of(best);
}

/// The sums of a part of a row, relative to its largest logit: of weights and of exponentials.
__global__ void __launch_bounds__(kThreads)
    sums_kernel(const float* logits, int64_t ld, int columns, int limit, const LogitKey* maxima,
                const CandidateRequest* requests, double* sums) {
  __shared__ float row_max;
  wait_for_inputs();
  const CandidateRequest request = requests[blockIdx.y];
  if (!request.wants_sum()) return;
  const LogitKey best = largest(maxima + int64_t{request.row} * kGroups);
  if (threadIdx.x == 0) row_max = logit_of(best);
  __syncthreads();
  const float max = row_max;
  const float scale = 1.0F / request.temperature;
  const float* const row = logits + request.row * ld;
  const int group = (blockIdx.x * kThreads + threadIdx.x) / kGroupThreads;
  double weights = 0;
  double exponentials = 0;
  if (request.temperature > 0.0F) {
    visit_group(row, group, limit, [&](float v, int) {
      if (is_finite(v)) weights += expf((v - max) * scale);
    });
  }
  if (request.log_sum) {
    visit_group(row, group, columns, [&](float v, int) { exponentials += expf(v - max); });
  }
  const auto add = [](double a, double b) { return a + b; };
  weights = reduce_block(weights, add);
  exponentials = reduce_block(exponentials, add);
  if (threadIdx.x != 0) return;
  double* const to = sums + int64_t{blockIdx.y} * kCandidateSums + blockIdx.x;
  to[0] = weights;
  to[kParts] = exponentials;
}

/// Bitonic sort of one key of each of kRankThreads threads, the largest first.
__device__ LogitKey sort_descending(LogitKey key, LogitKey (&shared)[2][kRankThreads]) {
  const int i = threadIdx.x;
  int turn = 0;
  for (int size = 2; size <= kRankThreads; size *= 2) {
    for (int step = size / 2; step > 0; step /= 2) {
      LogitKey other;
      if (step < 32) {
        other = __shfl_xor_sync(0xffffffffU, key, step);
      } else {
        shared[turn][i] = key;
        __syncthreads();
        other = shared[turn][i ^ step];
        turn ^= 1;  // who is late may still read the other half
      }
      const bool is_first = (i & step) == 0;
      const bool descends = (i & size) == 0;
      key = is_first == descends ? max(key, other) : min(key, other);
    }
  }
  return key;
}

__device__ double sum_of_parts(const double* parts) {
  double sum = 0;
#pragma unroll
  for (int p = 0; p < kParts; ++p) sum += parts[p];
  return sum;
}

/// One block for a request.
__global__ void __launch_bounds__(kRankThreads)
    rank_kernel(const float* logits, int64_t ld, int limit, const LogitKey* maxima,
                const CandidateRequest* requests, const double* sums, Candidates* out) {
  __shared__ LogitKey sorting[2][kRankThreads];
  __shared__ LogitKey found[kRankThreads];
  __shared__ int groups[kBest];
  __shared__ int group_count;
  __shared__ int found_count;
  __shared__ LogitKey bound;
  const int i = threadIdx.x;
  if (i == 0) group_count = 0;
  wait_for_inputs();
  const CandidateRequest request = requests[blockIdx.x];
  const float* const row = logits + request.row * ld;
  const LogitKey largest_of_group = maxima[int64_t{request.row} * kGroups + i];
  LogitKey key = sort_descending(largest_of_group, sorting);
  if (i == kBest - 1) bound = max(key, kLeastKey);
  __syncthreads();
  if (largest_of_group >= bound) groups[atomicAdd(&group_count, 1)] = i;
  // Where more than fit are found, the last of the best of those that fit is a closer bound.
  for (;;) {
    if (i == 0) found_count = 0;
    __syncthreads();
    const LogitKey least = bound;
    if (i / kGroupThreads < group_count) {
      const float least_logit = logit_of(least);
      visit_group(row, groups[i / kGroupThreads], limit, [&](float v, int t) {
        if (!(v >= least_logit && v <= FLT_MAX)) return;
        const LogitKey candidate = key_of(v, t);
        if (candidate < least) return;
        const int place = atomicAdd(&found_count, 1);
        if (place < kRankThreads) found[place] = candidate;
      });
    }
    __syncthreads();
    key = sort_descending(i < found_count ? found[i] : 0, sorting);
    if (found_count <= kRankThreads) break;
    if (i == kBest - 1) bound = key;
    __syncthreads();
  }
  Candidates& to = out[blockIdx.x];
  if (i < kBest) to.best[i] = {logit_of(key), token_of(key)};
  if (i > 0) return;
  const double* const parts = sums + int64_t{blockIdx.x} * kCandidateSums;
  const double kNone = nan("");
  to.count = min(found_count, kBest);
  to.weight_sum = request.temperature > 0.0F ? sum_of_parts(parts) : kNone;
  to.log_sum = request.log_sum ? logit_of(key) + log(sum_of_parts(parts + kParts)) : kNone;
}

dim3 parts_of(int64_t rows) { return {kParts, static_cast<unsigned>(rows)}; }

}  // namespace

void group_maxima(Cuda& cuda, Mat<const float> logits, int64_t limit, Mat<LogitKey> maxima) {
  if (logits.rows == 0) return;
  device::launch(device::blocks_of(cuda, parts_of(logits.rows), kThreads), group_maxima_kernel,
                 logits.data, logits.stride, static_cast<int>(limit), maxima.data);
}

void greedy_tokens(Cuda& cuda, Mat<const LogitKey> maxima, Vec<int32_t> tokens) {
  if (tokens.size == 0) return;
  device::launch(device::blocks_of(cuda, static_cast<unsigned>(tokens.size), kThreads),
                 greedy_kernel, maxima.data, tokens.data);
}

void rank_candidates(Cuda& cuda, Mat<const float> logits, int64_t limit,
                     Mat<const LogitKey> maxima, Vec<const CandidateRequest> requests,
                     Vec<double> sums, Vec<Candidates> out) {
  if (requests.size == 0) return;
  if (sums.size > 0) {
    device::launch(device::blocks_of(cuda, parts_of(requests.size), kThreads), sums_kernel,
                   logits.data, logits.stride, static_cast<int>(logits.cols),
                   static_cast<int>(limit), maxima.data, requests.data, sums.data);
  }
  device::launch(
      device::blocks_of(cuda, static_cast<unsigned>(requests.size), kRankThreads), rank_kernel,
      logits.data, logits.stride, static_cast<int>(limit), maxima.data, requests.data,
      static_cast<const double*>(sums.data), out.data);
}

}  // namespace qvl
