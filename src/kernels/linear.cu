#include <algorithm>
#include <optional>

#include "kernels/device/products.cuh"
#include "kernels/linear.h"
#include "kernels/staging.h"
#include "kernels/transfer.h"

namespace qvl {
namespace {

using device::bf16x1;

/// Elements [first, first + count) of rows of W as bfloat16, to the same place of `out`.
void to_half(const LinearDesc& desc, const void* rows, int64_t first, int64_t count, bf16* out) {
  const int64_t end = first + count;
  if (desc.weight == WeightFormat::bf16) {
    std::copy_n(static_cast<const bf16*>(rows) + first, count, out + first);
  } else if (desc.weight == WeightFormat::f16) {
    const auto* const in = static_cast<const f16*>(rows);
    for (int64_t i = first; i < end; ++i) out[i] = bf16(static_cast<float>(in[i]));
  } else {
    const auto* const in = static_cast<const float*>(rows);
    for (int64_t i = first; i < end; ++i) out[i] = bf16(in[i]);
  }
}

device::Int4Layout int4_layout(const LinearDesc& desc) {
  return {static_cast<int>(desc.out), static_cast<int>(desc.in),
          device::int4_parts(desc.group_size)};
}

/// The rows of the file are uploaded to scratch memory, a few megabytes at a time, and the device
/// brings them into its layout; rows of a gate_up Linear alternate there too.
Linear pack_int4(const Cuda& cuda, const LinearDesc& desc, RowReader rows, const float* bias,
                 Arena& arena) {
  constexpr int64_t kBytesAtOnce = 4 << 20;
  const device::Int4Layout layout = int4_layout(desc);
  const Int4Row row{desc.in, desc.group_size};
  auto* const packed = arena.take<uint8_t>(layout.bytes());
  check(cudaMemsetAsync(packed, 0, static_cast<size_t>(layout.bytes()), cuda.stream));
  std::optional<Staging> own;
  Staging& staging = cuda.staging != nullptr ? *cuda.staging : own.emplace();

  const int64_t parts = desc.kind == LinearKind::gate_up ? 2 : 1;
  const int64_t tile_rows = device::kInt4Tile / parts;
  const int64_t room = cuda.scratch->capacity() - cuda.scratch->used();
  const int64_t tiles = std::min(room, kBytesAtOnce) / (tile_rows * row.bytes());
  const int64_t step = std::max<int64_t>(1, tiles) * tile_rows;
  const int64_t part_rows = desc.out / parts;
  device::ScratchScope scratch(cuda);
  auto* const uploaded = scratch.take<std::byte>(std::min(step, part_rows) * row.bytes());
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t first = 0; first < part_rows; first += step) {
      device::Int4Rows in(uploaded, row);
      in.first = static_cast<int>(first);
      in.count = static_cast<int>(std::min(step, part_rows - first));
      in.output_step = static_cast<int>(parts);
      in.first_output = static_cast<int>(part);
      staging.copy(uploaded, rows(part * part_rows + first, in.count), in.count * row.bytes(),
                   cuda.stream);
      constexpr int kThreads = 256;
      const int64_t blocks = (device::int4_units(layout, in) + kThreads - 1) / kThreads;
      device::launch({.grid = static_cast<unsigned>(blocks),
                      .block = kThreads,
                      .stream = cuda.stream,
                      .overlaps = false},
                     device::pack_int4_kernel, layout, in, packed);
    }
  }
  // Products read weights before the kernel in front of them has ended.
  check(cudaStreamSynchronize(cuda.stream));
  return {desc, packed, bias};
}

__global__ void gather_kernel(const int32_t* ids, const bf16x1* w, int64_t cols, int64_t ldw,
                              float* x, int64_t ldx) {
  device::wait_for_inputs();
  const bf16x1* const from = w + ids[blockIdx.x] * ldw;
  float* const to = x + blockIdx.x * ldx;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) to[i] = __bfloat162float(from[i]);
}

}  // namespace

/// Groups of whole parts, and rows of 16-byte pieces when they are widened; not a router's, whose
/// products are others.
bool keeps_int4(const Cuda&, const LinearDesc& desc) {
  return desc.activation == ActFormat::bf16 && desc.in % 8 == 0 && desc.out % 2 == 0 &&
         device::int4_groups_fit(desc.group_size);
}

int64_t product_scratch_bytes(const Cuda&, const LinearDesc& desc) {
  return desc.weight == WeightFormat::int4 ? Arena::padded(desc.out * desc.in * 2) : 0;
}

int64_t packed_bytes(const Cuda&, const LinearDesc& desc) {
  if (desc.weight == WeightFormat::int4) return Arena::padded(int4_layout(desc).bytes());
  return Arena::padded(desc.out * device::device_cols(desc) * 2);
}

/// Row-major bfloat16, whatever the format was, but for 4 bits. Rows of a gate_up Linear alternate,
/// gate and up, so that a product has both in neighbouring columns.
Linear pack_linear(Cuda& cuda, const LinearDesc& desc, RowReader rows, const float* bias,
                   Arena& arena) {
  if (desc.weight == WeightFormat::int4) return pack_int4(cuda, desc, rows, bias, arena);
  const int64_t cols = device::device_cols(desc);
  bf16x1* const packed = arena.take<bf16x1>(desc.out * cols);
  if (cols != desc.in) {
    check(cudaMemsetAsync(packed, 0, static_cast<size_t>(desc.out * cols * 2), cuda.stream));
  }
  std::optional<Staging> own;
  Staging& staging = cuda.staging != nullptr ? *cuda.staging : own.emplace();
  const int64_t step = std::max<int64_t>(1, staging.part_bytes() / (desc.in * 2));
  const bool alternate = desc.kind == LinearKind::gate_up;
  const int64_t half = desc.out / 2;
  const auto width = static_cast<size_t>(desc.in * 2);
  const int64_t pitch = cols * (alternate ? 2 : 1);
  for (int64_t part = 0; part < (alternate ? 2 : 1); ++part) {
    const int64_t end = alternate ? (part + 1) * half : desc.out;
    for (int64_t first = part * half; first < end; first += step) {
      const int64_t count = std::min(step, end - first);
      const void* const source = rows(first, count);
      std::byte* const room = staging.take(count * desc.in * 2, cuda.stream);
      const auto convert = [&](int64_t from, int64_t to, int /*thread*/) {
        to_half(desc, source, from * desc.in, (to - from) * desc.in, reinterpret_cast<bf16*>(room));
      };
      if (cuda.threads != nullptr) {
        cuda.threads->parallel_for(count, convert);
      } else {
        convert(0, count, 0);
      }
      bf16x1* const to = packed + (alternate ? 2 * (first - part * half) + part : first) * cols;
      check(cudaMemcpy2DAsync(to, static_cast<size_t>(pitch) * 2, room, width, width,
                              static_cast<size_t>(count), cudaMemcpyHostToDevice, cuda.stream));
    }
  }
  if (own) check(cudaStreamSynchronize(cuda.stream));
  return {desc, packed, bias};
}

void linear(Cuda& cuda, RowRoles roles, ActMat x, const Linear& w, ActMat y) {
  if (y.dtype == DType::f32) {
    device::product(cuda, roles, x, w,
                    device::StoreFloat{static_cast<float*>(y.data), y.stride, w.bias});
  } else {
    device::product(cuda, roles, x, w,
                    device::StoreHalf<device::NoChange>{device::half(y.data), y.stride, w.bias});
  }
}

void linear_residual(Cuda& cuda, RowRoles roles, ActMat a, const Linear& w, Mat<float> x) {
  device::product(cuda, roles, a, w, device::AddTo{x.data, x.stride, w.bias});
}

void gather_rows(Cuda& cuda, Vec<const int32_t> ids, const Linear& w, Mat<float> x) {
  require(w.desc.weight != WeightFormat::int4, "gather_rows: rows of 4 bits");
  if (ids.size == 0) return;
  device::launch(device::blocks_of(cuda, static_cast<unsigned>(ids.size), 256), gather_kernel,
                 ids.data, device::half(w.data), w.desc.in, device::device_cols(w.desc), x.data,
                 x.stride);
}

}  // namespace qvl
