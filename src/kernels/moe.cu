#include "kernels/device/experts.cuh"
#include "kernels/device/products.cuh"
#include "kernels/device/routing.cuh"
#include "kernels/moe.h"
#include "kernels/moe_cuda.h"

namespace qvl {
namespace {

using device::GroupTile;
using device::ScratchScope;
using device::SortedEntries;

constexpr int64_t kMaxHidden = 8192;
/// Up to so many rows one block sorts entries, and a warp multiplies eight at a time.
constexpr int64_t kFewRows = 16;
/// An expert's rows from which tiles of 128 are faster than of 64, on the average.
constexpr int64_t kRowsOfLargeTiles = 64;

/// Bytes from one expert's weights to the next one's, which must be the same for all.
int64_t expert_stride(const std::vector<Linear>& experts) {
  const LinearDesc& desc = experts[0].desc;
  if (experts.size() == 1) return desc.out * desc.in * 2;
  const auto at = [&](size_t e) { return static_cast<const std::byte*>(experts[e].data); };
  const int64_t stride = at(1) - at(0);
  require(at(experts.size() - 1) - at(0) == stride * static_cast<int64_t>(experts.size() - 1),
          "experts lie at even distances");
  return stride;
}

/// The block of experts for some rows.
class ExpertRows {
 public:
  ExpertRows(const Cuda& cuda, const RmsNorm& norm, const Experts& experts, Mat<float> x)
      : cuda_(cuda),
        norm_(norm),
        experts_(experts),
        x_(x),
        entries_(x.rows * experts.top_k),
        scratch_(cuda) {}

  void run() {
    const bool in_tiles = x_.rows > kFewRows && device::has_wgmma(cuda_);
    tile_rows_ = !in_tiles                                          ? device::kExpertRows
                 : entries_ / experts_.count() >= kRowsOfLargeTiles ? 128
                                                                    : 64;
    max_tiles_ = std::min(entries_, entries_ / tile_rows_ + experts_.count());
    allocate();
    // The rows of the experts lie where the results come, which need them no more.
    auto* const gathered = in_tiles ? reinterpret_cast<device::bf16x1*>(results_) : nullptr;
    route(gathered);
    if (in_tiles) {
      multiply_tiles(gathered);
    } else {
      multiply_few();
    }
    combine();
  }

  /// Bytes of scratch for so many rows.
  static int64_t bytes(const MoeShape& shape) {
    const int64_t entries = shape.rows * shape.top_k;
    return Arena::padded(shape.rows * shape.hidden_size * 2) +
           Arena::padded(shape.rows * shape.num_experts * 4) + 4 * Arena::padded(entries * 4) +
           Arena::padded(shape.num_experts * 4) +
           Arena::padded((entries / device::kExpertRows + shape.num_experts) * 16) +
           Arena::padded(4) + Arena::padded(entries * shape.moe_intermediate_size * 2) +
           Arena::padded(entries * shape.hidden_size * 4);
  }

 private:
  int count() const { return static_cast<int>(experts_.count()); }
  int top_k() const { return static_cast<int>(experts_.top_k); }
  int hidden() const { return static_cast<int>(x_.cols); }
  const LinearDesc& gate_up() const { return experts_.gate_up[0].desc; }
  const LinearDesc& down() const { return experts_.down[0].desc; }

  void allocate() {
    normed_ = scratch_.half_rows(x_.rows, x_.cols);
    logits_ = scratch_.take<float>(x_.rows * count());
    ids_ = scratch_.take<int32_t>(entries_);
    weights_ = scratch_.take<float>(entries_);
    counts_ = scratch_.take<int32_t>(count());
    sorted_ = {.entries = scratch_.take<int32_t>(entries_),
               .place = scratch_.take<int32_t>(entries_),
               .tiles = scratch_.take<GroupTile>(max_tiles_),
               .tile_count = scratch_.take<int32_t>(1),
               .tile_rows = static_cast<int>(tile_rows_)};
    mid_ = scratch_.half_rows(entries_, down().in);
    results_ = scratch_.take<float>(entries_ * x_.cols);
  }

  void route(device::bf16x1* gathered) {
    const device::RouterArgs args{.x = x_.data,
                                  .ldx = x_.stride,
                                  .norm_weight = norm_.weight.data,
                                  .eps = norm_.eps,
                                  .rows = static_cast<int>(x_.rows),
                                  .hidden = hidden(),
                                  .router = device::half(experts_.router.data),
                                  .experts = count(),
                                  .normed = device::half(normed_.data),
                                  .logits = logits_,
                                  .counts = counts_};
    constexpr int64_t kSeveralRows = 8;
    if (x_.rows < kSeveralRows || x_.cols * kSeveralRows * 4 > 64 * 1024) {
      launch_router<1, 1>(args, count() / 8);
    } else if (x_.rows < 512) {
      launch_router<kSeveralRows, 1>(args, count() / 8);
    } else {
      launch_router<kSeveralRows, 4>(args, count() / 64);
    }
    const device::ChoiceArgs choice{
        logits_, static_cast<int>(x_.rows), count(), top_k(), ids_, weights_, counts_};
    if (x_.rows <= kFewRows) {
      device::launch(device::blocks_of(cuda_, 1, device::kSortThreads), device::sort_kernel, choice,
                     sorted_);
      return;
    }
    constexpr int64_t kWarps = device::kRouterThreads / 32;
    const auto a_warp_each = [&](int64_t count) {
      return device::blocks_of(cuda_, static_cast<unsigned>((count + kWarps - 1) / kWarps),
                               device::kRouterThreads);
    };
    device::launch(a_warp_each(x_.rows), device::choose_kernel, choice);
    device::launch(device::blocks_of(cuda_, 1, 32), device::place_experts_kernel, choice, sorted_);
    device::launch(a_warp_each(entries_), device::place_entries_kernel, choice, sorted_,
                   device::half(normed_.data), hidden(), gathered);
  }

  template <int kRows, int kExperts>
  void launch_router(const device::RouterArgs& args, int parts) {
    const auto kernel = device::router_kernel<kRows, kExperts>;
    const int bytes = kRows * args.hidden * 4;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    device::Launch how = device::blocks_of(cuda_,
                                           {static_cast<unsigned>((args.rows + kRows - 1) / kRows),
                                            static_cast<unsigned>(std::max(1, parts))},
                                           device::kRouterThreads);
    how.shared_bytes = bytes;
    device::launch(how, kernel, args);
  }

  void multiply_few() {
    const device::ExpertArgs up{.w = device::half(experts_.gate_up[0].data),
                                .expert_bytes = expert_stride(experts_.gate_up),
                                .x = device::half(normed_.data),
                                .ldx = normed_.stride,
                                .entries = sorted_.entries,
                                .entries_per_row = top_k(),
                                .n = static_cast<int>(gate_up().out),
                                .k = hidden(),
                                .tiles = sorted_.tiles,
                                .tile_count = sorted_.tile_count};
    device::ExpertArgs back = up;
    back.w = device::half(experts_.down[0].data);
    back.expert_bytes = expert_stride(experts_.down);
    back.x = device::half(mid_.data);
    back.ldx = mid_.stride;
    back.entries = nullptr;
    back.n = hidden();
    back.k = static_cast<int>(down().in);
    launch_few(up, device::SiluProduct{device::half(mid_.data), mid_.stride});
    launch_few(back, device::StoreFloat{results_, x_.cols, nullptr});
  }

  template <class Epilogue>
  void launch_few(const device::ExpertArgs& args, const Epilogue& epilogue) {
    constexpr int kBlocksOfMultiprocessor = 4;
    const auto kernel = device::expert_kernel<Epilogue>;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               device::kExpertSharedBytes));
    const int64_t units = max_tiles_ * ((args.n + 15) / 16);
    const int64_t blocks =
        std::min<int64_t>((units + device::kExpertWarps - 1) / device::kExpertWarps,
                          kBlocksOfMultiprocessor * cuda_.sm_count);
    device::Launch how =
        device::blocks_of(cuda_, static_cast<unsigned>(blocks), device::kExpertWarps * 32);
    how.shared_bytes = device::kExpertSharedBytes;
    device::launch(how, kernel, args, epilogue);
  }

  void multiply_tiles(const device::bf16x1* gathered) {
    const device::GroupGemmArgs up{.a = gathered,
                                   .rows = static_cast<int>(entries_),
                                   .b = device::half(experts_.gate_up[0].data),
                                   .group_bytes = expert_stride(experts_.gate_up),
                                   .groups = count(),
                                   .n = static_cast<int>(gate_up().out),
                                   .k = hidden(),
                                   .row_tiles = sorted_.tiles,
                                   .row_tile_count = sorted_.tile_count,
                                   .max_row_tiles = static_cast<int>(max_tiles_),
                                   .sm_count = cuda_.sm_count,
                                   .stream = cuda_.stream};
    device::GroupGemmArgs back = up;
    back.a = device::half(mid_.data);
    back.b = device::half(experts_.down[0].data);
    back.group_bytes = expert_stride(experts_.down);
    back.n = hidden();
    back.k = static_cast<int>(down().in);
    launch_tiles(up, device::SiluProduct{device::half(mid_.data), mid_.stride});
    launch_tiles(back, device::StoreFloat{results_, x_.cols, nullptr});
  }

  template <class Epilogue>
  void launch_tiles(const device::GroupGemmArgs& args, const Epilogue& epilogue) {
    if (tile_rows_ == 64) {
      device::launch_group_gemm_wgmma<64, 128>(args, epilogue);
    } else {
      device::launch_group_gemm_wgmma<128, 256>(args, epilogue);
    }
  }

  void combine() {
    device::launch(device::blocks_of(cuda_, static_cast<unsigned>(x_.rows), device::kRouterThreads),
                   device::combine_kernel, results_, sorted_.place, weights_, top_k(), hidden(),
                   x_.data, x_.stride);
  }

  const Cuda& cuda_;
  const RmsNorm& norm_;
  const Experts& experts_;
  const Mat<float> x_;
  const int64_t entries_;  ///< rows · top_k
  ScratchScope scratch_;
  int64_t tile_rows_ = 0;
  int64_t max_tiles_ = 0;
  ActMat normed_;              // [rows, hidden]
  float* logits_ = nullptr;    // [rows, experts]
  int32_t* counts_ = nullptr;  // [experts]
  int32_t* ids_ = nullptr;     // [rows, top_k]
  float* weights_ = nullptr;   // alike
  SortedEntries sorted_{};
  ActMat mid_;                // [entries, moe_intermediate_size], sorted as the entries
  float* results_ = nullptr;  // [entries, hidden], alike
};

}  // namespace

int64_t moe_scratch_bytes(const Cuda&, const MoeShape& shape) {
  return shape.num_experts == 0 ? 0 : ExpertRows::bytes(shape);
}

/// Rows of both roles go the same way: their bits do not depend on how many there are, nor on
/// whether warps or tiles multiply them.
void rms_norm_moe(Cuda& cuda, RowRoles roles, const RmsNorm& norm, const Experts& experts,
                  Mat<float> x) {
  require_equal(x.rows, roles.rows(), "rms_norm_moe: rows");
  const LinearDesc& gate_up = experts.gate_up[0].desc;
  const LinearDesc& down = experts.down[0].desc;
  require(experts.count() <= device::kMaxExperts && experts.top_k <= device::kMaxTopK &&
              x.cols <= kMaxHidden && gate_up.in % 8 == 0 && down.in % 8 == 0 && x.stride % 4 == 0,
          "device experts: shape");
  if (x.rows > 0) ExpertRows(cuda, norm, experts, x).run();
}

}  // namespace qvl
