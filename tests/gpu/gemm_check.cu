/// Proves the CUDA matrix product on the device at hand and times it beside cuBLASLt.
///
///   gemm_check [variant ...]      a tile such as 128x256; mma; auto; cublaslt
///
/// Every variant runs in a process of its own, so that one that hangs or faults does not hide the
/// others. Checked for each shape and number of rows: every element written exactly once and none
/// outside; the distance to sums in float64; the bits of a row, which must be those of a product of
/// 3,072 rows with the smallest tile; that strips of the epilogues leave what their pairs do. Exit
/// code 1 and a line for each difference on failure.

#include <cublasLt.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <typeinfo>
#include <vector>

#include "gemm_reference.cuh"

namespace qvl::device {
namespace {

using namespace reference;

// ---- What is checked and timed

struct Shape {
  int n;
  int k;
};

constexpr Shape kCheckedShapes[] = {
    {4096, 2048}, {2048, 2048}, {12288, 2048}, {2048, 6144}, {3072, 1024},
    {1024, 4096}, {1152, 4304}, {4304, 1152},  {128, 128},   {192, 64},
    {704, 128},   {64, 1536},   {4608, 4608},
};

constexpr int kMostRows = 3072;
constexpr int kPadding = 24;  // elements after each row of the padded copy of A

struct Rows {
  int count;
  int first;    // of the rows of A: the same row at another place in its tile
  bool padded;  // lda > k
};

constexpr Rows kCheckedRows[] = {
    {1, 0, false},   {3, 0, false},    {16, 0, false},    {63, 0, false},
    {64, 0, false},  {65, 0, false},   {128, 0, false},   {200, 0, false},
    {777, 0, false}, {1024, 0, false}, {3072, 0, false},  {1, 70, false},
    {65, 1, false},  {200, 137, true}, {777, 2295, true}, {3072, 0, true},
};

struct Timed {
  int m;
  int n;
  int k;
};

std::vector<Timed> timed_products() {
  constexpr Shape kShapes[] = {{4096, 2048}, {2048, 2048}, {12288, 2048}, {2048, 6144},
                               {3072, 1024}, {4096, 1024}, {1024, 4096}};
  std::vector<Timed> products;
  for (const auto [n, k] : kShapes) {
    for (const int m : {256, 512, 1024, 2048, 3072, 4096, 8192}) products.push_back({m, n, k});
  }
  products.push_back({8192, 8192, 8192});
  return products;
}

constexpr int kMma = static_cast<int>(kGemmTiles.size());
constexpr int kAuto = kMma + 1;
constexpr int kCublasLt = kMma + 2;
constexpr int kVariants = kMma + 3;

std::string variant_name(int variant) {
  if (variant == kMma) return "mma";
  if (variant == kAuto) return "auto";
  if (variant == kCublasLt) return "cublaslt";
  const GemmTile& tile = kGemmTiles[static_cast<size_t>(variant)];
  std::string name = std::to_string(tile.rows);
  name += 'x';
  name += std::to_string(tile.cols);
  return name;
}

// ---- One variant, in its own process

struct Result {
  int failures;
  double worst_relative_error;
  double microseconds[64];  // for each of timed_products
  double launch_microseconds;
};

class VariantProcess {
 public:
  VariantProcess(int variant, Result& result) : variant_(variant), result_(result) {
    const Cuda cuda = *make_cuda();
    major_ = cuda.compute_capability / 10;
    sm_count_ = cuda.sm_count;
    check(cudaStreamCreate(&stream_));
  }

  void run() {
    if (variant_ != kCublasLt) {
      for (const Shape& shape : kCheckedShapes) {
        check_shape(shape);
        if (result_.failures >= kMostFailures) {
          std::printf("%s: no more checks after %d failures\n", name().c_str(), result_.failures);
          break;
        }
      }
    }
    time_all();
  }

 private:
  static constexpr int kMostFailures = 12;

  std::string name() const { return variant_name(variant_); }

  GemmArgs arguments(const bf16* a, int64_t lda, const bf16* b, int m, const Shape& shape) const {
    return {.a = a,
            .lda = lda,
            .b = b,
            .m = m,
            .n = shape.n,
            .k = shape.k,
            .compute_capability_major = major_,
            .sm_count = sm_count_,
            .stream = stream_};
  }

  template <class Epilogue>
  static void launch(int variant, const GemmArgs& args, const Epilogue& epilogue) {
    if (variant == kAuto) {
      launch_gemm(args, epilogue);
    } else if (variant == kMma) {
      launch_gemm_mma(args, epilogue);
    } else {
      launch_gemm_wgmma(args, epilogue, static_cast<size_t>(variant));
    }
  }

  /// Ends the process when the device does: nothing can follow on it.
  void wait(const std::string& what) {
    const auto start = std::chrono::steady_clock::now();
    for (;;) {
      const cudaError_t state = cudaStreamQuery(stream_);
      if (state == cudaSuccess) return;
      const bool hangs = std::chrono::steady_clock::now() - start > std::chrono::seconds(4);
      if (state != cudaErrorNotReady || hangs) {
        std::printf("FAIL %s %s: %s\n", name().c_str(), what.c_str(),
                    hangs ? "still running after 4 s" : cudaGetErrorString(state));
        std::fflush(stdout);
        ++result_.failures;
        _exit(1);
      }
      usleep(20);
    }
  }

  void report(const Fault& fault, const char* what, const std::string& where, const float* c,
              const unsigned* calls, const double* expected, const float* same_bits, int n) {
    if (fault.count == 0) return;
    ++result_.failures;
    float got = 0;
    float bits = 0;
    double want = 0;
    unsigned times = 0;
    check(cudaMemcpy(&got, c + fault.first, sizeof got, cudaMemcpyDeviceToHost));
    check(cudaMemcpy(&times, calls + fault.first / 2, sizeof times, cudaMemcpyDeviceToHost));
    check(cudaMemcpy(&want, expected + fault.first, sizeof want, cudaMemcpyDeviceToHost));
    if (same_bits != nullptr) {
      check(cudaMemcpy(&bits, same_bits + fault.first, sizeof bits, cudaMemcpyDeviceToHost));
    }
    std::printf(
        "FAIL %s %s: %llu elements %s, rows %d..%d, cols %d..%d; first at row %llu, col %llu: "
        "got %.9g, float64 sum %.9g, all rows %.9g, written %u times\n",
        name().c_str(), where.c_str(), fault.count, what, fault.low_row, fault.high_row,
        fault.low_col, fault.high_col, fault.first / static_cast<unsigned>(n),
        fault.first % static_cast<unsigned>(n), double{got}, want, double{bits}, times);
  }

  void check_shape(const Shape& shape) {
    const auto [n, k] = shape;
    constexpr int kGuardRows = 256;  // NaN after B, for a tile that reads past it
    const size_t size_a = static_cast<size_t>(kMostRows) * static_cast<size_t>(k);
    const size_t size_c = static_cast<size_t>(kMostRows) * static_cast<size_t>(n);
    const int64_t padded_stride = k + kPadding;
    DeviceArray<bf16> a(size_a);
    DeviceArray<bf16> padded(static_cast<size_t>(kMostRows) * static_cast<size_t>(padded_stride));
    DeviceArray<bf16> b(static_cast<size_t>(n + kGuardRows) * static_cast<size_t>(k));
    DeviceArray<double> expected(size_c);
    DeviceArray<float> all_rows(size_c);
    DeviceArray<float> c(size_c);
    DeviceArray<unsigned> calls(size_c / 2);
    DeviceArray<Comparison> comparison(1);
    padded.fill(0xFF, stream_);
    b.fill(0xFF, stream_);
    all_rows.fill(0xFF, stream_);
    fill(a.get(), kMostRows, k, k, 1, 1.F, stream_);
    fill(padded.get(), kMostRows, k, padded_stride, 1, 1.F, stream_);
    fill(b.get(), n, k, k, 2, 1.F / std::sqrt(static_cast<float>(k)), stream_);
    const dim3 blocks((n + 31) / 32, kMostRows / 32);
    reference_kernel<<<blocks, dim3(32, 32), 0, stream_>>>(a.get(), b.get(), expected.get(),
                                                           kMostRows, n, k);
    check(cudaGetLastError());
    const std::string shape_text = "n " + std::to_string(n) + ", k " + std::to_string(k);
    wait(shape_text + ", float64 reference");

    const bool by_wgmma = variant_ != kMma && major_ == 9;
    const int bits_from = by_wgmma ? 0 : kMma;
    const auto clear = [&] {
      c.fill(0xFF, stream_);
      calls.fill(0, stream_);
      comparison.fill(0, stream_);
    };
    clear();
    launch(bits_from, arguments(a.get(), k, b.get(), kMostRows, shape),
           CountingStore{all_rows.get(), calls.get(), &comparison.get()->outside, kMostRows, n});
    wait(shape_text + ", all rows by " + variant_name(bits_from));

    for (const Rows& rows : kCheckedRows) {
      const std::string where = shape_text + ", m " + std::to_string(rows.count) + " from row " +
                                std::to_string(rows.first) + (rows.padded ? ", lda > k" : "");
      Comparison found{};
      for (Fault* fault : {&found.not_once, &found.far, &found.other_bits}) {
        *fault = {.count = 0,
                  .first = ~0ULL,
                  .low_row = 1 << 30,
                  .high_row = -1,
                  .low_col = 1 << 30,
                  .high_col = -1};
      }
      clear();
      check(
          cudaMemcpyAsync(comparison.get(), &found, sizeof found, cudaMemcpyHostToDevice, stream_));
      const int64_t lda = rows.padded ? padded_stride : k;
      const bf16* from = (rows.padded ? padded.get() : a.get()) + rows.first * lda;
      launch(variant_, arguments(from, lda, b.get(), rows.count, shape),
             CountingStore{c.get(), calls.get(), &comparison.get()->outside, rows.count, n});
      wait(where);
      const int64_t skipped = int64_t{rows.first} * n;
      compare_kernel<<<512, 256, 0, stream_>>>(c.get(), calls.get(), expected.get() + skipped,
                                               all_rows.get() + skipped, rows.count, n,
                                               comparison.get());
      check(cudaGetLastError());
      wait(where + ", comparison");
      check(cudaMemcpy(&found, comparison.get(), sizeof found, cudaMemcpyDeviceToHost));

      const auto tell = [&](const Fault& fault, const char* what) {
        report(fault, what, where, c.get(), calls.get(), expected.get() + skipped,
               all_rows.get() + skipped, n);
      };
      tell(found.not_once, "not written exactly once");
      tell(found.far, "far from the float64 sum");
      tell(found.other_bits, "unlike the product of all rows");
      if (found.outside != 0) {
        ++result_.failures;
        std::printf("FAIL %s %s: %llu epilogue calls outside the matrix or at odd columns\n",
                    name().c_str(), where.c_str(), found.outside);
      }
      // A float32 sum of k / 16 products that is cut, not rounded, after each loses up to
      // k / 16 * 2^-24 of itself on average.
      const double limit = std::max(1e-5, k / 16 * 0x1p-24);
      const double relative = std::sqrt(found.error_squares / found.expected_squares);
      if (!(relative <= limit)) {
        ++result_.failures;
        std::printf("FAIL %s %s: relative error %.3g, at most %.3g expected\n", name().c_str(),
                    where.c_str(), relative, limit);
      }
      // A NaN was reported above; here it counts as everything.
      result_.worst_relative_error =
          std::max(result_.worst_relative_error, std::isnan(relative) ? 1.0 : relative);
      std::fflush(stdout);
    }
    if (variant_ == kMma) return;
    for (const int m : {1, 65, 777}) {
      const GemmArgs args = arguments(a.get(), k, b.get(), m, shape);
      const std::string where = shape_text + ", m " + std::to_string(m);
      const int width = (n + 7) / 8 * 8 + 8;
      const auto* const bias = reinterpret_cast<const float*>(a.get());
      using Half = StoreHalf<GeluTanh>;
      check_strips<bf16>(where, args, width, [&](bf16* y) { return Half{y, width, bias}; });
      check_strips<float>(where, args, width, [&](float* y) { return StoreFloat{y, width, bias}; });
      check_strips<float>(where, args, width, [&](float* x) { return AddTo{x, width, bias}; });
      check_strips<bf16>(where, args, width, [&](bf16* y) { return SiluProduct{y, width}; });
    }
  }

  /// The strips of an epilogue leave the same bits as its pairs, in the matrix and beside it.
  template <class T, class Make>
  void check_strips(const std::string& where, const GemmArgs& args, int width, const Make& make) {
    const size_t size = static_cast<size_t>(args.m + 1) * static_cast<size_t>(width);
    DeviceArray<T> strips(size);
    DeviceArray<T> pairs(size);
    strips.fill(0x3D, stream_);
    pairs.fill(0x3D, stream_);
    const auto epilogue = make(strips.get());
    launch(variant_, args, epilogue);
    launch(variant_, args, InPairs<std::remove_const_t<decltype(epilogue)>>{make(pairs.get())});
    wait(where + ", strips");
    std::vector<uint8_t> by_strips(size * sizeof(T));
    std::vector<uint8_t> by_pairs(size * sizeof(T));
    check(cudaMemcpy(by_strips.data(), strips.get(), by_strips.size(), cudaMemcpyDeviceToHost));
    check(cudaMemcpy(by_pairs.data(), pairs.get(), by_pairs.size(), cudaMemcpyDeviceToHost));
    const auto first = std::mismatch(by_strips.begin(), by_strips.end(), by_pairs.begin()).first;
    if (first == by_strips.end()) return;
    ++result_.failures;
    const auto at = static_cast<size_t>(first - by_strips.begin()) / sizeof(T);
    std::printf("FAIL %s %s: strips of %s differ from pairs, first at row %zu, col %zu\n",
                name().c_str(), where.c_str(), typeid(epilogue).name(),
                at / static_cast<size_t>(width), at % static_cast<size_t>(width));
  }

  /// Median time of one of the launches that `enqueue` puts on the stream, in microseconds. They
  /// are replayed as a graph, so that the host's time does not count.
  template <class Enqueue>
  double median_microseconds(const Enqueue& enqueue, const std::string& what) {
    constexpr int kLaunches = 4;
    constexpr int kSamples = 20;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t replay = nullptr;
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed));
    for (int i = 0; i < kLaunches; ++i) enqueue();
    check(cudaStreamEndCapture(stream_, &graph));
    check(cudaGraphInstantiate(&replay, graph, 0));
    cudaEvent_t start = nullptr;
    cudaEvent_t stop = nullptr;
    check(cudaEventCreate(&start));
    check(cudaEventCreate(&stop));
    std::vector<float> samples;
    for (int i = 0; i < kSamples + 1; ++i) {
      check(cudaEventRecord(start, stream_));
      check(cudaGraphLaunch(replay, stream_));
      check(cudaEventRecord(stop, stream_));
      wait(what + ", timing");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, start, stop));
      if (i > 0) samples.push_back(milliseconds);  // the first one warms up
    }
    check(cudaEventDestroy(start));
    check(cudaEventDestroy(stop));
    check(cudaGraphExecDestroy(replay));
    check(cudaGraphDestroy(graph));
    std::nth_element(samples.begin(), samples.begin() + kSamples / 2, samples.end());
    return double{samples[kSamples / 2]} * 1000 / kLaunches;
  }

  void time_all() {
    const std::vector<Timed> products = timed_products();
    require(products.size() <= std::size(result_.microseconds), "room for every time");
    for (size_t i = 0; i < products.size(); ++i) {
      const auto [m, n, k] = products[i];
      const std::string what =
          "n " + std::to_string(n) + ", k " + std::to_string(k) + ", m " + std::to_string(m);
      DeviceArray<bf16> a(static_cast<size_t>(m) * static_cast<size_t>(k));
      DeviceArray<bf16> b(static_cast<size_t>(n) * static_cast<size_t>(k));
      DeviceArray<__nv_bfloat162> c(static_cast<size_t>(m) * static_cast<size_t>(n) / 2);
      fill(a.get(), m, k, k, 1, 1.F, stream_);
      fill(b.get(), n, k, k, 2, 1.F / std::sqrt(static_cast<float>(k)), stream_);
      const GemmArgs args = arguments(a.get(), k, b.get(), m, {n, k});
      const StoreHalf<NoChange> store{reinterpret_cast<bf16*>(c.get()), n, nullptr};
      if (variant_ == kCublasLt) {
        result_.microseconds[i] = time_cublaslt(args, c.get(), what);
        continue;
      }
      launch(variant_, args, store);
      wait(what);
      result_.microseconds[i] = median_microseconds([&] { launch(variant_, args, store); }, what);
      if (i == 0) {
        constexpr int kLaunches = 200;
        const auto start = std::chrono::steady_clock::now();
        for (int j = 0; j < kLaunches; ++j) launch(variant_, args, store);
        const std::chrono::duration<double, std::micro> took =
            std::chrono::steady_clock::now() - start;
        wait(what + ", launches");
        result_.launch_microseconds = took.count() / kLaunches;
      }
    }
  }

  static void check_blas(cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS) {
      throw std::runtime_error(std::string("cuBLASLt: ") + cublasLtGetStatusString(status));
    }
  }

  /// The fastest of the first algorithms that its heuristic names.
  double time_cublaslt(const GemmArgs& args, __nv_bfloat162* c, const std::string& what) {
    constexpr size_t kWorkspaceBytes = size_t{64} << 20;
    constexpr int kAlgorithms = 3;
    DeviceArray<std::byte> workspace(kWorkspaceBytes);
    cublasLtHandle_t handle = nullptr;
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t layout_a = nullptr;
    cublasLtMatrixLayout_t layout_b = nullptr;
    cublasLtMatrixLayout_t layout_c = nullptr;
    cublasLtMatmulPreference_t preference = nullptr;
    check_blas(cublasLtCreate(&handle));
    check_blas(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transpose = CUBLAS_OP_T;
    check_blas(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                              sizeof transpose));
    // Its matrices are column by column: C^T[n, m] = B[n, k] A^T[k, m].
    const auto rows = static_cast<uint64_t>(args.m);
    const auto cols = static_cast<uint64_t>(args.n);
    const auto depth = static_cast<uint64_t>(args.k);
    check_blas(cublasLtMatrixLayoutCreate(&layout_b, CUDA_R_16BF, depth, cols, args.k));
    check_blas(cublasLtMatrixLayoutCreate(&layout_a, CUDA_R_16BF, depth, rows, args.lda));
    check_blas(cublasLtMatrixLayoutCreate(&layout_c, CUDA_R_16BF, cols, rows, args.n));
    check_blas(cublasLtMatmulPreferenceCreate(&preference));
    check_blas(cublasLtMatmulPreferenceSetAttribute(preference,
                                                    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                    &kWorkspaceBytes, sizeof kWorkspaceBytes));
    cublasLtMatmulHeuristicResult_t algorithms[kAlgorithms];
    int found = 0;
    check_blas(cublasLtMatmulAlgoGetHeuristic(handle, product, layout_b, layout_a, layout_c,
                                              layout_c, preference, kAlgorithms, algorithms,
                                              &found));
    double best = INFINITY;
    for (int i = 0; i < found; ++i) {
      const auto enqueue = [&] {
        const float one = 1;
        const float zero = 0;
        check_blas(cublasLtMatmul(handle, product, &one, args.b, layout_b, args.a, layout_a, &zero,
                                  c, layout_c, c, layout_c, &algorithms[i].algo, workspace.get(),
                                  kWorkspaceBytes, args.stream));
      };
      enqueue();
      wait(what);
      best = std::min(best, median_microseconds(enqueue, what));
    }
    check_blas(cublasLtMatmulPreferenceDestroy(preference));
    check_blas(cublasLtMatrixLayoutDestroy(layout_a));
    check_blas(cublasLtMatrixLayoutDestroy(layout_b));
    check_blas(cublasLtMatrixLayoutDestroy(layout_c));
    check_blas(cublasLtMatmulDescDestroy(product));
    check_blas(cublasLtDestroy(handle));
    return best;
  }

  int variant_;
  Result& result_;
  int major_ = 0;
  int sm_count_ = 0;
  cudaStream_t stream_ = nullptr;
};

// ---- The parent, which never touches the device: a process that did cannot share it by fork

/// What the children write, and the parent prints.
struct Shared {
  Result results[kVariants];
  int device_major;
  int major;  // of the device and of the code
  int sm_count;
  char device[256];
};

template <class Work>
bool in_child(const Work& work, const std::string& name) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    try {
      work();
    } catch (const std::exception& error) {
      std::printf("FAIL %s: %s\n", name.c_str(), error.what());
      std::fflush(stdout);
      _exit(1);
    }
    std::fflush(stdout);
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    std::printf("FAIL %s: the process could not be started or waited for\n", name.c_str());
    return false;
  }
  if (WIFSIGNALED(status)) {
    std::printf("FAIL %s: ended by signal %d\n", name.c_str(), WTERMSIG(status));
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void print_times(const Shared& shared, const std::vector<bool>& wanted) {
  const std::vector<Timed> products = timed_products();
  std::printf("\nTFLOP/s, median of 20\n%6s %6s %6s", "m", "n", "k");
  for (int v = 0; v < kVariants; ++v) {
    if (wanted[static_cast<size_t>(v)]) std::printf(" %9s", variant_name(v).c_str());
  }
  std::printf("  chosen\n");
  for (size_t i = 0; i < products.size(); ++i) {
    const auto [m, n, k] = products[i];
    std::printf("%6d %6d %6d", m, n, k);
    for (int v = 0; v < kVariants; ++v) {
      if (!wanted[static_cast<size_t>(v)]) continue;
      const double us = shared.results[v].microseconds[i];
      if (us > 0) {
        std::printf(" %9.1f", 2.0 * m * n * k / us * 1e-6);
      } else {
        std::printf(" %9s", "-");
      }
    }
    const int chosen =
        shared.major == 9 ? static_cast<int>(choose_gemm_tile(m, n, k, shared.sm_count)) : kMma;
    std::printf("  %s\n", variant_name(chosen).c_str());
  }
}

int run(int argc, char** argv) {
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::printf("FAIL: no shared memory\n");
    return 1;
  }
  Shared& shared = *static_cast<Shared*>(memory);
  const bool has_device = in_child(
      [&] {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, 0));
        const auto cuda = make_cuda();
        if (!cuda) throw CudaError(cuda.error().message());
        shared.device_major = properties.major;
        shared.major = cuda->compute_capability / 10;
        shared.sm_count = cuda->sm_count;
        std::snprintf(shared.device, sizeof shared.device, "%s", properties.name);
      },
      "device");
  if (!has_device) return 1;
  std::printf("%s, %d multiprocessors, compute capability %d\n", shared.device, shared.sm_count,
              shared.major);

  std::vector<bool> wanted(kVariants, argc == 1);
  for (int i = 1; i < argc; ++i) {
    bool known = false;
    for (int v = 0; v < kVariants; ++v) {
      if (variant_name(v) != argv[i]) continue;
      wanted[static_cast<size_t>(v)] = true;
      known = true;
    }
    if (!known) {
      std::printf("unknown variant '%s'\n", argv[i]);
      return 1;
    }
  }
  for (int v = 0; v < kMma; ++v) {
    if (shared.major != 9) wanted[static_cast<size_t>(v)] = false;
  }

  bool good = true;
  if (argc == 1 && shared.device_major == 9 && shared.major != 9) {
    std::printf("FAIL: the program lacks code of compute_90a, or cannot tell that it has it\n");
    good = false;
  }
  for (int v = 0; v < kVariants; ++v) {
    if (!wanted[static_cast<size_t>(v)]) continue;
    Result& result = shared.results[v];
    const auto start = std::chrono::steady_clock::now();
    const bool ended = in_child([&] { VariantProcess(v, result).run(); }, variant_name(v));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%-9s %s, worst relative error %.3g, host %.1f us a launch, %.1f s\n",
                variant_name(v).c_str(), ended && result.failures == 0 ? "ok" : "FAILED",
                result.worst_relative_error, result.launch_microseconds, took.count());
    good = good && ended && result.failures == 0;
  }
  print_times(shared, wanted);
  std::printf("%s\n", good ? "all checks passed" : "FAILED");
  return good ? 0 : 1;
}

}  // namespace
}  // namespace qvl::device

int main(int argc, char** argv) { return qvl::device::run(argc, argv); }
