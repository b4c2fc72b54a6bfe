#include "runtime/runner_cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "core/cuda.h"
#include "core/host.h"
#include "kernels/candidates.h"
#include "kernels/staging.h"
#include "runtime/model_runner.h"

namespace qvl {
namespace {

/// What recorded graphs and the driver's own buffers take on the device after the plan is made.
constexpr int64_t kGraphBytes = 256LL << 20;

/// Numbers of generated rows that a graph is recorded for; a step takes the next larger one.
std::vector<int64_t> graph_rows(int64_t most) {
  std::vector<int64_t> rows;
  for (int64_t n = 1; n < most; n = n < 32 ? n * 2 : n + n / 32 * 16) rows.push_back(n);
  rows.push_back(most);
  return rows;
}

template <class T>
constexpr int64_t bytes_of() {
  return static_cast<int64_t>(sizeof(T));
}

/// Threads that prepare weights, and what lies between them and the device meanwhile.
constexpr int kLoadThreads = 8;
constexpr int64_t kLoadPartBytes = 4LL << 20;
constexpr size_t kLoadParts = 8;

/// A GPU with what it borrows.
class CudaOwner {
 public:
  static constexpr bool kAsynchronous = true;

  CudaOwner(CudaDeviceInfo info, const Cuda& device)
      : backend(device), info_(std::move(info)), stream_(make_stream()) {
    backend.stream = stream_.get();
    backend.scratch = scratch.get();
    backend.read_back = read_back_.get();
    backend.staging = staging_.get();
    backend.threads = threads_.get();
  }

  std::unique_ptr<Arena> scratch = std::make_unique<Arena>();
  Cuda backend;

  std::string describe() const {
    return fmt::format("cuda, {} with {} multiprocessors", info_.name, info_.sm_count);
  }

  static Result<Arena> make_arena(const char* name, int64_t bytes) {
    return make_device_arena(name, bytes);
  }

  MemoryRoom room() const {
    const int64_t free = cuda_free_bytes();
    return {.taken_bytes = info_.total_bytes - free,
            .available_bytes = free,
            .reserve_bytes = kGraphBytes,
            .detail = "on the device before loading, and recorded graphs"};
  }

  BackendNeeds needs(const ModelConfig& model, ActFormat activation, const EngineConfig& config) {
    BackendNeeds needs = backend_needs(backend, model, activation, config);
    const int64_t context =
        config.max_model_len > 0
            ? std::min<int64_t>(config.max_model_len, model.text.max_position_embeddings)
            : model.text.max_position_embeddings;
    capacity_ = capacity(model, config, context);
    needs.step_lists = list_bytes(capacity_);
    return needs;
  }

  /// After the weights are loaded.
  Status prepare(const ModelConfig& model, const EngineConfig& config, int64_t max_model_len) {
    wait();
    threads_.reset();
    backend.threads = nullptr;
    staging_ = std::make_unique<Staging>();
    backend.staging = staging_.get();
    capacity_ = capacity(model, config, max_model_len);
    Result<Arena> memory = make_device_arena("step lists", list_bytes(capacity_));
    if (!memory) return memory.error();
    memory_ = std::move(*memory);
    lists_ = std::make_unique<StepLists>(capacity_, memory_);
    const int64_t rows = capacity_.decode_rows;
    rows_ = memory_.take<int32_t>(rows);
    in_order_ = memory_.take<int32_t>(rows);
    tokens_ = memory_.take<int32_t>(rows);
    maxima_ = make_mat(memory_.take<LogitKey>(rows * kLogitGroups), rows, kLogitGroups);
    requests_ = memory_.take<CandidateRequest>(rows);
    sums_ = memory_.take<double>(rows * kCandidateSums);
    ranked_ = memory_.take<Candidates>(rows);
    std::vector<int32_t> order(static_cast<size_t>(rows));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    upload(backend, in_order_, order.data(), rows * 4);
    chosen_ = make_pinned(rows * 4);
    candidates_ = make_pinned(rows * bytes_of<Candidates>());
    row_ = make_pinned(model.text.vocab_size * 4);
    const int64_t vocab = model.text.vocab_size;
    limit_ = config.token_limit > 0 ? std::min(config.token_limit, vocab) : vocab;
    eager_ = config.enforce_eager;
    wait();
    return {};
  }

  PlacedLists place(const HostLists& lists) {
    const DeviceLists& placed = lists_->place(backend, lists);
    const int64_t rows = lists.tokens.size + lists.pad_rows;
    return {{placed.tokens, rows}, {placed.positions, 3, rows, placed.row_capacity}};
  }

  Vec<const int32_t> place_rows(Vec<const int32_t> rows) {
    require(rows.size <= capacity_.decode_rows, "rows of logits");
    upload(backend, rows_, rows.data, rows.size * 4);
    return {rows_, rows.size};
  }

  /// Records a step of generated rows alone, for each number of them.
  template <class Forward>
  void record(Forward&& forward) {
    if (eager_) return;
    for (const int64_t rows : graph_rows(capacity_.decode_rows)) {
      const PlacedLists placed = place({.pad_rows = rows});
      const TextBatch batch{.tokens = placed.tokens,
                            .positions = placed.positions,
                            .roles = {.generated = rows},
                            .sequences = {},
                            .features = {}};
      graphs_[rows] = record_graph(backend.stream, [&] {
        choose(forward(batch, Vec<const int32_t>{in_order_, rows}));
      });
    }
    wait();
  }

  /// True if a graph has done the step.
  bool replay(HostLists lists, RowRoles roles, Vec<const int32_t> rows) {
    if (roles.prompt > 0 || roles.generated == 0 || rows.size != roles.generated) return false;
    for (int64_t i = 0; i < rows.size; ++i) {
      if (rows[i] != i) return false;
    }
    const auto graph = graphs_.lower_bound(roles.generated);
    if (graph == graphs_.end()) return false;
    lists.pad_rows = graph->first - roles.generated;
    lists_->place(backend, lists);
    check(cudaGraphLaunch(graph->second.get(), backend.stream));
    return true;
  }

  /// Greedy tokens of all rows, on their way to the host.
  void choose(Mat<const float> logits) {
    group_maxima(backend, logits, limit_, maxima_);
    greedy_tokens(backend, maxima_, {tokens_, logits.rows});
    check(cudaMemcpyAsync(chosen_.get(), tokens_, static_cast<size_t>(logits.rows) * 4,
                          cudaMemcpyDeviceToHost, backend.stream));
  }
  std::optional<int32_t> greedy_token(int64_t row) const {
    return reinterpret_cast<const int32_t*>(chosen_.get())[row];
  }

  /// Candidates of rows that choose() has seen, on their way to the host.
  void rank(Mat<const float> logits, Vec<const CandidateRequest> wanted) {
    if (wanted.size == 0) return;
    require(wanted.size <= maxima_.rows, "rows of candidates");
    upload(backend, requests_, wanted.data, wanted.size * bytes_of<CandidateRequest>());
    const bool wants_sums =
        std::any_of(wanted.begin(), wanted.end(), [](const auto& r) { return r.wants_sum(); });
    rank_candidates(backend, logits, limit_, maxima_, {requests_, wanted.size},
                    {sums_, wants_sums ? wanted.size * kCandidateSums : 0}, {ranked_, wanted.size});
    check(cudaMemcpyAsync(candidates_.get(), ranked_,
                          static_cast<size_t>(wanted.size) * sizeof(Candidates),
                          cudaMemcpyDeviceToHost, backend.stream));
  }
  const Candidates* candidates(int64_t index) const {
    return reinterpret_cast<const Candidates*>(candidates_.get()) + index;
  }

  Vec<const float> logits_row(Mat<const float> logits, int64_t row) {
    check(cudaMemcpyAsync(row_.get(), logits.row(row), static_cast<size_t>(logits.cols) * 4,
                          cudaMemcpyDeviceToHost, backend.stream));
    wait();
    return {reinterpret_cast<const float*>(row_.get()), logits.cols};
  }

  void wait() const { check(cudaStreamSynchronize(backend.stream)); }

  /// On the device: between what was queued before and after.
  void start_clock() { check(cudaEventRecord(started_.get(), backend.stream)); }
  void stop_clock() { check(cudaEventRecord(stopped_.get(), backend.stream)); }
  double clock_ms() const {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, started_.get(), stopped_.get()));
    return ms;
  }

 private:
  static StepCapacity capacity(const ModelConfig& model, const EngineConfig& config,
                               int64_t max_model_len) {
    const int64_t generated = logits_rows(config);
    return {.rows = std::max(config.max_step_tokens, generated),
            .sequences = std::max(config.max_num_seqs, generated),
            .decode_rows = generated,
            .max_model_len = max_model_len,
            .num_heads = model.text.num_attention_heads,
            .num_kv_heads = model.text.num_key_value_heads,
            .head_dim = model.text.head_dim};
  }
  static int64_t list_bytes(const StepCapacity& capacity) {
    const int64_t rows = capacity.decode_rows;
    return StepLists::device_bytes(capacity) + 3 * Arena::padded(rows * 4) +
           Arena::padded(rows * kLogitGroups * bytes_of<LogitKey>()) +
           Arena::padded(rows * bytes_of<CandidateRequest>()) +
           Arena::padded(rows * kCandidateSums * bytes_of<double>()) +
           Arena::padded(rows * bytes_of<Candidates>());
  }

  CudaDeviceInfo info_;
  CudaStream stream_;
  std::unique_ptr<std::vector<std::byte>> read_back_ = std::make_unique<std::vector<std::byte>>();
  std::unique_ptr<Staging> staging_ = std::make_unique<Staging>(kLoadPartBytes, kLoadParts);
  std::unique_ptr<Threads> threads_ =
      std::make_unique<Threads>(std::min(kLoadThreads, affinity_cores()));
  CudaEvent started_ = make_event();
  CudaEvent stopped_ = make_event();
  StepCapacity capacity_;
  Arena memory_;
  std::unique_ptr<StepLists> lists_;
  int32_t* rows_ = nullptr;      // of logits, for steps without a graph
  int32_t* in_order_ = nullptr;  // 0, 1, 2, …
  int32_t* tokens_ = nullptr;
  Mat<LogitKey> maxima_;  // of the step's logits
  CandidateRequest* requests_ = nullptr;
  double* sums_ = nullptr;
  Candidates* ranked_ = nullptr;
  PinnedMemory chosen_;
  PinnedMemory candidates_;
  PinnedMemory row_;
  int64_t limit_ = 0;
  bool eager_ = false;
  std::map<int64_t, CudaGraph> graphs_;
};

}  // namespace

bool has_cuda_backend() { return true; }
bool has_gpu() { return open_cuda_device(0) && make_cuda(); }

std::optional<int64_t> gpu_memory_bytes() {
  const Result<CudaDeviceInfo> device = open_cuda_device(0);
  if (!device || !make_cuda()) return std::nullopt;
  return device->total_bytes;
}

Result<std::unique_ptr<Runner>> make_cuda_runner(const ModelFiles& model,
                                                 const EngineConfig& config) {
  if (resolve_activation(config.dtype, *model.weights) != ActFormat::bf16) {
    return Error{ErrorCode::bad_flag,
                 "float32 was asked for, the CUDA backend computes in bfloat16", "--dtype"};
  }
  if (model.config.text.head_dim != 128) {
    return Error{
        ErrorCode::unsupported_model,
        fmt::format("head_dim {} was found, the CUDA backend has 128", model.config.text.head_dim),
        ""};
  }
  try {
    Result<CudaDeviceInfo> device = open_cuda_device(0);
    if (!device) return device.error();
    const Result<Cuda> cuda = make_cuda();
    if (!cuda) return cuda.error();
    return load_runner(CudaOwner(std::move(*device), *cuda), model, config);
  } catch (const CudaError& error) {
    return Error{ErrorCode::no_gpu, error.what(), ""};
  }
}

}  // namespace qvl
