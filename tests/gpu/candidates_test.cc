// The largest logits of a row on a GPU against the reference's.

#include "kernels/candidates.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gpu_testing.h"

namespace qvl {
namespace {

TEST(GpuGreedy, TakesTheFirstOfTheLargestBelowTheLimit) {
  TestGpu gpu;
  TestMat logits = TestMat::normal(DType::f32, 4, 5000, 3);
  logits.set(0, 4321, 50.0F);
  logits.set(0, 4400, 50.0F);
  logits.set(0, 4999, 60.0F);  // beyond the limit
  logits.set(1, 17, std::numeric_limits<float>::quiet_NaN());
  logits.set(1, 18, std::numeric_limits<float>::infinity());
  logits.set(1, 1030, 40.0F);
  for (int64_t c = 0; c < 5000; ++c) {
    logits.set(2, c, std::numeric_limits<float>::quiet_NaN());
    logits.set(3, c, -7.0F);
  }
  const Mat<float> on_gpu = gpu.put_floats(logits);
  int32_t* const tokens = gpu.memory().take<int32_t>(4);
  const auto maxima =
      make_mat(gpu.memory().take<LogitKey>(4 * kLogitGroups), int64_t{4}, kLogitGroups);
  group_maxima(*gpu, on_gpu, 4990, maxima);
  greedy_tokens(*gpu, maxima, {tokens, 4});
  const ActMat found = read_back(*gpu, ActMat{tokens, DType::f32, 1, 4, 4});
  const auto* const ids = static_cast<const int32_t*>(found.data);
  EXPECT_EQ(ids[0], 4321);
  EXPECT_EQ(ids[1], 1030);
  EXPECT_EQ(ids[2], -1);
  EXPECT_EQ(ids[3], 0);
}

/// The device's candidates of some rows.
std::vector<Candidates> rank(TestGpu& gpu, Mat<const float> logits, int64_t limit,
                             const std::vector<CandidateRequest>& requests) {
  const auto count = static_cast<int64_t>(requests.size());
  Arena& memory = gpu.memory();
  const int64_t before = memory.used();
  const auto maxima =
      make_mat(memory.take<LogitKey>(logits.rows * kLogitGroups), logits.rows, kLogitGroups);
  auto* const sums = memory.take<double>(count * kCandidateSums);
  auto* const out = memory.take<Candidates>(count);
  group_maxima(*gpu, logits, limit, maxima);
  rank_candidates(*gpu, logits, limit, maxima, {gpu.put_list(requests), count},
                  {sums, count * kCandidateSums}, {out, count});
  std::vector<Candidates> found(requests.size());
  const auto words = static_cast<int64_t>(found.size() * sizeof(Candidates) / 4);
  std::memcpy(found.data(), read_back(*gpu, ActMat{out, DType::f32, 1, words, words}).data,
              found.size() * sizeof(Candidates));
  memory.rewind(before);
  return found;
}

testing::AssertionResult are_those_of(const Candidates& found, const Candidates& expected) {
  if (found.count != expected.count) {
    return testing::AssertionFailure() << found.count << " found, not " << expected.count;
  }
  for (size_t i = 0; i < static_cast<size_t>(expected.count); ++i) {
    if (found.best[i] == expected.best[i]) continue;
    return testing::AssertionFailure()
           << "rank " << i << ": token " << found.best[i].token << " with " << found.best[i].logit
           << ", not " << expected.best[i].token << " with " << expected.best[i].logit;
  }
  if (expected.count == 0) return testing::AssertionSuccess();
  const auto close = [](double a, double b, double error) {
    return std::isfinite(b) ? std::abs(a - b) <= error : !std::isfinite(a);
  };
  if (!close(found.weight_sum, expected.weight_sum, kWeightSumError * expected.weight_sum)) {
    return testing::AssertionFailure()
           << "weights " << found.weight_sum << ", not " << expected.weight_sum;
  }
  const bool overflows = expected.log_sum > expected.best[0].logit + 89;
  if (overflows ? std::isfinite(found.log_sum) : !close(found.log_sum, expected.log_sum, 1e-6)) {
    return testing::AssertionFailure()
           << "log of the sum " << found.log_sum << ", not " << expected.log_sum;
  }
  return testing::AssertionSuccess();
}

/// Rows that differ in how hard it is to find their largest logits.
void spoil_rows(TestMat& logits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const int64_t n = logits.cols();
  for (int64_t r = 0; r < logits.rows(); ++r) {
    for (int64_t t = 0; t < n; ++t) {
      const float v = logits.act().as<float>()(r, t);
      const bool few = (t * 7919 + r) % 41 == 0;
      switch (r % 11) {
        case 1:
          logits.set(r, t, 0.5F * std::round(v * 2.0F));
          break;  // many are equal
        case 2:
          logits.set(r, t, -7.0F);
          break;  // all are equal
        case 3:
          logits.set(r, t, static_cast<float>(t));
          break;  // the best last,
        case 4:
          logits.set(r, t, static_cast<float>(n - t));
          break;  // or first,
        case 5:
          logits.set(r, t, t / 16 % 1024 < 255 ? v + 9 : v);
          break;  // in few groups
        case 6:
          logits.set(r, t, few ? kNaN : v);
          break;
        case 7:
          logits.set(r, t, few ? kInfinity : v);
          break;
        case 8:
          logits.set(r, t, few ? v : -kInfinity);
          break;
        case 9:
          logits.set(r, t, t == 77 ? v : kNaN);
          break;
        case 10:
          logits.set(r, t, t % 3 == 0 ? 0.0F : -0.0F);
          break;
        default:
          logits.set(r, t, 3 * v);
      }
    }
  }
}

TEST(GpuCandidates, AreThoseOfTheReference) {
  for (const int64_t n : {151'936, 16'500, 300, 100, 1}) {
    for (const int64_t rows : {1, 3, 64}) {
      TestGpu gpu;
      Ref ref;
      TestMat logits = TestMat::normal(DType::f32, rows, n + 1, 3);
      spoil_rows(logits);
      const Mat<float> on_gpu = gpu.put_floats(logits);
      for (const int64_t first : {0, 1}) {  // 1: rows that do not begin at 16 bytes
        for (const int64_t limit : {n, std::max<int64_t>(1, n - 267)}) {
          std::vector<CandidateRequest> requests;
          for (int64_t i = 0; i < rows; ++i) {
            const float temperatures[] = {0.0F, 0.7F, 1.0F, 2.0F, 0.05F};
            requests.push_back({.row = static_cast<int32_t>(rows - 1 - i),
                                .temperature = temperatures[i % 5],
                                .log_sum = i % 2 == 0});
          }
          const std::vector<Candidates> found =
              rank(gpu, on_gpu.slice_cols(first, n), limit, requests);
          std::vector<Candidates> expected(requests.size());
          rank_candidates(ref, Mat<const float>(logits.f32()).slice_cols(first, n), limit,
                          {requests.data(), rows}, {expected.data(), rows});
          for (size_t i = 0; i < expected.size(); ++i) {
            EXPECT_TRUE(are_those_of(found[i], expected[i]))
                << n << " logits from " << first << ", limit " << limit << ", row "
                << requests[i].row << " of " << rows;
          }
        }
      }
    }
  }
}

TEST(GpuCandidates, OfARowHaveTheSameBitsAloneAndAmongOthers) {
  TestGpu gpu;
  TestMat logits = TestMat::normal(DType::f32, 33, 50'000, 3);
  const Mat<float> on_gpu = gpu.put_floats(logits);
  std::vector<CandidateRequest> requests(33);
  for (int32_t r = 0; r < 33; ++r) requests[static_cast<size_t>(r)] = {r, 0.9F, true};
  const std::vector<Candidates> all = rank(gpu, on_gpu, 49'000, requests);
  for (const size_t r : {0, 1, 32}) {
    const Candidates alone = rank(gpu, on_gpu, 49'000, {requests[r]})[0];
    EXPECT_EQ(alone.weight_sum, all[r].weight_sum);
    EXPECT_EQ(alone.log_sum, all[r].log_sum);
    EXPECT_EQ(alone.best, all[r].best);
  }
}

}  // namespace
}  // namespace qvl
