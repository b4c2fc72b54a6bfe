// What choosing tokens takes on the device, in microseconds a step: greedy tokens, which every step
// has; candidates of all rows; and candidates with both sums. Their results are checked by
// gpu_operators_test.

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "core/cuda.h"
#include "kernels/candidates.h"
#include "kernels/transfer.h"

namespace qvl {
namespace {

constexpr int64_t kVocab = 151'936;
constexpr int64_t kMostRows = 256;

class Steps {
 public:
  explicit Steps(const Cuda& cuda)
      : stream_(make_stream()),
        memory_(std::move(*make_device_arena("logits", (kVocab + 8192) * kMostRows * 4))),
        cuda_(cuda) {
    cuda_.stream = stream_.get();
    logits_ = make_mat(memory_.take<float>(kMostRows * kVocab), kMostRows, kVocab);
    maxima_ = make_mat(memory_.take<LogitKey>(kMostRows * kLogitGroups), kMostRows, kLogitGroups);
    tokens_ = memory_.take<int32_t>(kMostRows);
    requests_ = memory_.take<CandidateRequest>(kMostRows);
    sums_ = memory_.take<double>(kMostRows * kCandidateSums);
    out_ = memory_.take<Candidates>(kMostRows);
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 3);
    std::vector<float> row(kVocab + kMostRows);
    for (float& v : row) v = normal(random);
    std::vector<CandidateRequest> requests;
    for (int64_t r = 0; r < kMostRows; ++r) {
      upload(cuda_, logits_.row(r), row.data() + r, kVocab * 4);
      requests.push_back({static_cast<int32_t>(r), 0.7F, true});
    }
    upload(cuda_, requests_, requests.data(), kMostRows * int64_t{sizeof(CandidateRequest)});
    check(cudaStreamSynchronize(cuda_.stream));
  }

  void measure(int64_t rows) {
    const auto greedy = [&] {
      group_maxima(cuda_, logits_.slice_rows(0, rows), kVocab, maxima_);
      greedy_tokens(cuda_, maxima_, {tokens_, rows});
    };
    const auto rank = [&](int64_t sums) {
      rank_candidates(cuda_, logits_.slice_rows(0, rows), kVocab, maxima_, {requests_, rows},
                      {sums_, sums}, {out_, rows});
    };
    const double greedy_us = us(greedy);
    const double ranked_us = us([&] { rank(0); });
    const double summed_us = us([&] { rank(rows * kCandidateSums); });
    std::printf("%4lld rows: greedy tokens %6.1f us, candidates %6.1f us, with sums %6.1f us\n",
                static_cast<long long>(rows), greedy_us, ranked_us, summed_us);
  }

 private:
  /// Median of nine runs of 50.
  template <class Work>
  double us(Work&& work) {
    constexpr int kRepeat = 50;
    const CudaEvent begin = make_event();
    const CudaEvent end = make_event();
    std::vector<float> ms(9);
    for (float& m : ms) {
      check(cudaEventRecord(begin.get(), cuda_.stream));
      for (int i = 0; i < kRepeat; ++i) work();
      check(cudaEventRecord(end.get(), cuda_.stream));
      check(cudaEventSynchronize(end.get()));
      check(cudaEventElapsedTime(&m, begin.get(), end.get()));
    }
    std::nth_element(ms.begin(), ms.begin() + 4, ms.end());
    return ms[4] * 1e3 / kRepeat;
  }

  CudaStream stream_;
  Arena memory_;
  Cuda cuda_;
  Mat<float> logits_;
  Mat<LogitKey> maxima_;
  int32_t* tokens_ = nullptr;
  CandidateRequest* requests_ = nullptr;
  double* sums_ = nullptr;
  Candidates* out_ = nullptr;
};

int run() {
  const Result<CudaDeviceInfo> info = open_cuda_device(0);
  if (!info) throw CudaError(info.error().message());
  const Result<Cuda> cuda = make_cuda();
  if (!cuda) throw CudaError(cuda.error().message());
  Steps steps(*cuda);
  for (const int64_t rows : {1, 8, 64, 256}) steps.measure(rows);
  return 0;
}

}  // namespace
}  // namespace qvl

int main() {
  try {
    return qvl::run();
  } catch (const qvl::CudaError& error) {
    std::printf("FAILED  %s\n", error.what());
    return 1;
  }
}
