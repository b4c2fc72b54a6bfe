#include "kernels/device/products.cuh"
#include "kernels/moe.h"

namespace qvl {
namespace {

using device::bf16x1;
using device::kSkinnyChunk;

constexpr int kExpertWarps = 8;
constexpr int kRouterThreads = 256;
constexpr int kMaxExperts = 512;
constexpr int kMaxTopK = 32;
constexpr int kMaxHidden = 8192;
constexpr int kExpertRows = 16;  // of one expert that a block takes at a time

struct RouterArgs {
  const float* x;
  int64_t ldx;
  const float* norm_weight;
  float eps;
  int hidden;
  const bf16x1* router;  // [experts, hidden]
  int experts;
  int top_k;
  int32_t* ids;    // [rows, top_k] in ascending order
  float* weights;  // alike
};

/// One block a row: the norm and the logits in float32, then one thread chooses as choose_experts
/// does.
__global__ void __launch_bounds__(kRouterThreads) router_kernel(const RouterArgs args) {
  __shared__ float normed[kMaxHidden];
  __shared__ float logits[kMaxExperts];
  __shared__ float shared[kRouterThreads / 32 + 1];
  device::wait_for_inputs();
  const float* const x = args.x + blockIdx.x * args.ldx;
  float sum = 0.0F;
  for (int i = threadIdx.x; i < args.hidden; i += kRouterThreads) sum += x[i] * x[i];
  sum = device::block_sum<kRouterThreads>(sum, shared);
  const float scale = 1.0F / sqrtf(sum / static_cast<float>(args.hidden) + args.eps);
  for (int i = threadIdx.x; i < args.hidden; i += kRouterThreads) {
    normed[i] = args.norm_weight[i] * (x[i] * scale);
  }
  __syncthreads();
  for (int e = threadIdx.x / 32; e < args.experts; e += kRouterThreads / 32) {
    const bf16x1* const w = args.router + int64_t{e} * args.hidden;
    float dot = 0.0F;
    for (int i = threadIdx.x % 32; i < args.hidden; i += 32) {
      dot = fmaf(normed[i], __bfloat162float(w[i]), dot);
    }
    dot = device::warp_sum(dot);
    if (threadIdx.x % 32 == 0) logits[e] = dot;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  int ids[kMaxTopK];
  float values[kMaxTopK];
  int count = 0;
  for (int e = 0; e < args.experts; ++e) {
    const float v = logits[e];
    int at = count;
    while (at > 0 && v > values[at - 1]) --at;
    if (at == args.top_k) continue;
    count = min(count + 1, args.top_k);
    for (int i = count - 1; i > at; --i) {
      values[i] = values[i - 1];
      ids[i] = ids[i - 1];
    }
    values[at] = v;
    ids[at] = e;
  }
  const float largest = values[0];
  for (int i = 1; i < count; ++i) {
    for (int j = i; j > 0 && ids[j] < ids[j - 1]; --j) {
      const int id = ids[j];
      ids[j] = ids[j - 1];
      ids[j - 1] = id;
      const float value = values[j];
      values[j] = values[j - 1];
      values[j - 1] = value;
    }
  }
  float total = 0.0F;
  for (int i = 0; i < count; ++i) total += values[i] = expf(values[i] - largest);
  for (int i = 0; i < count; ++i) {
    args.ids[int64_t{blockIdx.x} * args.top_k + i] = ids[i];
    args.weights[int64_t{blockIdx.x} * args.top_k + i] = values[i] / total;
  }
}

/// Entries (row · top_k + slot) sorted by expert: first[e] is where those of expert e begin. One
/// block; a thread an expert counts and then writes its own, in order.
__global__ void sort_kernel(const int32_t* ids, int entries, int experts, int32_t* first,
                            int32_t* sorted) {
  __shared__ int counts[kMaxExperts + 1];
  device::wait_for_inputs();
  for (int e = threadIdx.x; e < experts; e += blockDim.x) {
    int count = 0;
    for (int i = 0; i < entries; ++i) count += ids[i] == e ? 1 : 0;
    counts[e + 1] = count;
  }
  if (threadIdx.x == 0) counts[0] = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int e = 0; e < experts; ++e) counts[e + 1] += counts[e];
  }
  __syncthreads();
  for (int e = threadIdx.x; e <= experts; e += blockDim.x) first[e] = counts[e];
  for (int e = threadIdx.x; e < experts; e += blockDim.x) {
    int at = counts[e];
    for (int i = 0; i < entries; ++i) {
      if (ids[i] == e) sorted[at++] = i;
    }
  }
}

struct ExpertArgs {
  const bf16x1* w;       // of expert 0
  int64_t expert_bytes;  // from one expert to the next
  const bf16x1* x;
  int64_t ldx;
  int entries_per_row;  // entry / this is the row of x
  int n;
  int k;
  const int32_t* first;
  const int32_t* sorted;
};

/// The 16-byte pieces of a chunk of 16 rows of W that a thread multiplies: rows g and g + 8, at two
/// places 32 columns apart.
template <class F>
__device__ void each_piece(const device::SkinnyArgs& args, int first_n, int chunk, F&& f) {
  const int lane = threadIdx.x % 32;
  const int column = chunk * kSkinnyChunk + lane % 4 * 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first_n + i / 2 * 8 + lane / 4;
    const int at = column + i % 2 * 32;
    f(i, row < args.n && at < args.k ? args.w + int64_t{row} * args.k + at : nullptr);
  }
}

/// Rows of x by the expert that takes them, through the weights of that expert: the skinny kernel
/// with its rows picked from a list. A block takes 16 outputs of one expert for all of its rows.
template <class Epilogue>
__global__ void __launch_bounds__(kExpertWarps * 32)
    expert_kernel(const ExpertArgs args, const Epilogue epilogue) {
  constexpr int kColumns = kExpertRows / 8;
  __shared__ float partial[kExpertWarps][16][kExpertRows + 1];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int first_n = blockIdx.x * 16;
  const int expert = blockIdx.y;
  const int chunks = (args.k + kSkinnyChunk - 1) / kSkinnyChunk;
  device::wait_for_inputs();
  const int begin = args.first[expert];
  const int end = args.first[expert + 1];
  const device::SkinnyArgs weights{
      .w = reinterpret_cast<const bf16x1*>(reinterpret_cast<const std::byte*>(args.w) +
                                           expert * args.expert_bytes),
      .n = args.n,
      .k = args.k};
  for (int first_row = begin; first_row < end; first_row += kExpertRows) {
    float sums[kColumns][4] = {};
    const bf16x1* rows[kColumns];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int at = first_row + j * 8 + lane / 4;
      rows[j] =
          at < end ? args.x + int64_t{args.sorted[at] / args.entries_per_row} * args.ldx : nullptr;
    }
    for (int chunk = warp; chunk < chunks; chunk += kExpertWarps) {
      uint4 a[4];
      each_piece(weights, first_n, chunk, [&](int piece, const bf16x1* from) {
        a[piece] = from != nullptr ? device::load_once(from) : uint4{};
      });
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const int column = chunk * kSkinnyChunk + part * 32 + lane % 4 * 8;
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          uint4 x{};
          if (rows[j] != nullptr && column < args.k) {
            x = *reinterpret_cast<const uint4*>(rows[j] + column);
          }
          const uint4 low = a[part];
          const uint4 high = a[2 + part];
          device::multiply_add(sums[j], low.x, high.x, low.y, high.y, x.x, x.y);
          device::multiply_add(sums[j], low.z, high.z, low.w, high.w, x.z, x.w);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        partial[warp][lane / 4 + i / 2 * 8][j * 8 + lane % 4 * 2 + i % 2] = sums[j][i];
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 8 * kExpertRows; i += kExpertWarps * 32) {
      const int pair = i % 8;
      const int r = i / 8;
      const int col = first_n + pair * 2;
      if (first_row + r >= end || col >= args.n) continue;
      float v0 = 0.0F;
      float v1 = 0.0F;
#pragma unroll
      for (int w = 0; w < kExpertWarps; ++w) {
        v0 += partial[w][pair * 2][r];
        v1 += partial[w][pair * 2 + 1][r];
      }
      epilogue(args.sorted[first_row + r], col, v0, v1);
    }
    __syncthreads();
  }
}

/// x[row,:] += sum over the slots of weight · result, in order.
__global__ void combine_kernel(const float* results, const float* weights, int top_k, int hidden,
                               float* x, int64_t ldx) {
  device::wait_for_inputs();
  const int64_t row = blockIdx.x;
  for (int i = threadIdx.x; i < hidden; i += blockDim.x) {
    float sum = 0.0F;
    for (int slot = 0; slot < top_k; ++slot) {
      const int64_t entry = row * top_k + slot;
      sum += weights[entry] * results[entry * hidden + i];
    }
    x[row * ldx + i] += sum;
  }
}

/// Bytes from one expert's weights to the next one's, which must be the same for all.
int64_t expert_stride(const std::vector<Linear>& experts) {
  if (experts.size() == 1) return 0;
  const auto at = [&](size_t e) { return static_cast<const std::byte*>(experts[e].data); };
  const int64_t stride = at(1) - at(0);
  require(at(experts.size() - 1) - at(0) == stride * static_cast<int64_t>(experts.size() - 1),
          "experts lie at even distances");
  return stride;
}

template <class Epilogue>
void launch_experts(const Cuda& cuda, const ExpertArgs& args, int experts,
                    const Epilogue& epilogue) {
  device::launch(
      device::blocks_of(cuda,
                        {static_cast<unsigned>((args.n + 15) / 16), static_cast<unsigned>(experts)},
                        kExpertWarps * 32),
      expert_kernel<Epilogue>, args, epilogue);
}

}  // namespace

/// Rows of both roles go the same way: their bits do not depend on how many there are.
void rms_norm_moe(Cuda& cuda, RowRoles roles, const RmsNorm& norm, const Experts& experts,
                  Mat<float> x) {
  require_equal(x.rows, roles.rows(), "rms_norm_moe: rows");
  if (x.rows == 0) return;
  const auto count = static_cast<int>(experts.count());
  const auto top_k = static_cast<int>(experts.top_k);
  const LinearDesc& gate_up = experts.gate_up[0].desc;
  const LinearDesc& down = experts.down[0].desc;
  require(count <= kMaxExperts && top_k <= kMaxTopK && x.cols <= kMaxHidden &&
              gate_up.in % 8 == 0 && down.in % 8 == 0,
          "device experts: shape");
  const int64_t entries = x.rows * top_k;
  device::ScratchScope scratch(cuda);
  const ActMat normed = scratch.half_rows(x.rows, x.cols);
  auto* const ids = scratch.take<int32_t>(entries);
  auto* const weights = scratch.take<float>(entries);
  auto* const first = scratch.take<int32_t>(count + 1);
  auto* const sorted = scratch.take<int32_t>(entries);
  const ActMat mid = scratch.half_rows(entries, down.in);
  auto* const results = scratch.take<float>(entries * x.cols);

  device::launch(device::blocks_of(cuda, static_cast<unsigned>(x.rows), kRouterThreads),
                 router_kernel,
                 RouterArgs{x.data, x.stride, norm.weight.data, norm.eps, static_cast<int>(x.cols),
                            device::half(experts.router.data), count, top_k, ids, weights});
  device::launch(device::blocks_of(cuda, 1, 512), sort_kernel, ids, static_cast<int>(entries),
                 count, first, sorted);
  device::launch_rms_norm(cuda, x, norm, normed);
  launch_experts(cuda,
                 {.w = device::half(experts.gate_up[0].data),
                  .expert_bytes = expert_stride(experts.gate_up),
                  .x = device::half(normed.data),
                  .ldx = normed.stride,
                  .entries_per_row = top_k,
                  .n = static_cast<int>(gate_up.out),
                  .k = static_cast<int>(gate_up.in),
                  .first = first,
                  .sorted = sorted},
                 count, device::SiluProduct{device::half(mid.data), mid.stride});
  launch_experts(cuda,
                 {.w = device::half(experts.down[0].data),
                  .expert_bytes = expert_stride(experts.down),
                  .x = device::half(mid.data),
                  .ldx = mid.stride,
                  .entries_per_row = 1,
                  .n = static_cast<int>(down.out),
                  .k = static_cast<int>(down.in),
                  .first = first,
                  .sorted = sorted},
                 count, device::StoreFloat{results, x.cols, nullptr});
  device::launch(device::blocks_of(cuda, static_cast<unsigned>(x.rows), 256), combine_kernel,
                 results, weights, top_k, static_cast<int>(x.cols), x.data, x.stride);
}

}  // namespace qvl
