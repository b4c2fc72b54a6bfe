/// Compares the attention kernels and the rotation with their definitions in float64, requires that
/// the bits of a row survive any cut into chunks and any company, and times them. Exits 1 when
/// anything differs. Needs a GPU and 2 GiB of its memory; takes seconds.
///
/// `make test-gpu` builds and runs it.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "checking.cuh"
#include "flash_reference.cuh"
#include "kernels/device/rotate_rows.cuh"

namespace qvl::device {
namespace {

/// One of the implementations; the largest tiles first, none where another path has the same.
struct Path {
  const char* name;
  Cuda cuda;
  void (*prefill)(const Cuda&, const PrefillAttention&);
  void (*vision)(const Cuda&, const VisionAttention&, std::span<const VisionRows>);
  std::vector<int64_t> prefill_tile_rows;
  std::vector<int64_t> vision_tile_rows;
};

std::vector<Path> paths() {
  const auto device = make_cuda();
  if (!device) throw CudaError(device.error().message());
  const Cuda& cuda = *device;
  Cuda small = cuda;
  small.shared_bytes = 64 * 1024;  // as on compute capability 7.5
  std::vector<Path> paths = {{"mma.sync in 64 KiB",
                              small,
                              prefill_attention_mma,
                              vision_attention_mma,
                              {kFlashSmallTileRows},
                              {}}};
  if (has_large_prefill_tiles(cuda)) {
    paths.push_back({"mma.sync",
                     cuda,
                     prefill_attention_mma,
                     vision_attention_mma,
                     {kFlashTileRows, kFlashSmallTileRows},
                     {kFlashTileRows}});
  } else {
    paths.back().vision_tile_rows = {kFlashTileRows};
  }
  if (has_wgmma(cuda)) {
    paths.push_back({"wgmma",
                     cuda,
                     prefill_attention_wgmma,
                     vision_attention_wgmma,
                     {kFlashTileRows, kFlashSmallTileRows},
                     {kFlashLargeTileRows, kFlashTileRows}});
  } else {
    std::printf("wgmma: not for this device\n");
  }
  return paths;
}

/// A few sequences over a shuffled pool of pages. Slots that no row may read hold NaN.
struct Prompts {
  static constexpr int64_t kHeadDim = 128;

  Prompts(std::vector<std::pair<int64_t, int64_t>> starts_and_rows, int64_t heads, int64_t kv_heads,
          float query_scale)
      : num_heads(heads),
        num_kv_heads(kv_heads),
        page_bytes(kv_heads * 2 * kPageTokens * kHeadDim * 2 + 64) {
    std::vector<int32_t> pages;
    for (const auto& [start, count] : starts_and_rows) {
      pages.resize(pages.size() + static_cast<size_t>(pages_for(start + count)));
    }
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(7));  // NOLINT: the same each time
    tables = std::make_unique<Buffer<int32_t>>(pages);
    const auto pool_bytes = static_cast<size_t>(page_bytes) * pages.size();
    cache = std::make_unique<Buffer<bf16>>(pool_bytes / 2);
    fill_normal(cache->data(), static_cast<int64_t>(pool_bytes / 2), 1, 1.0F);
    int64_t table = 0;
    for (const auto& [start, count] : starts_and_rows) {
      sequences.push_back({.first_row = rows,
                           .rows = count,
                           .start = start,
                           .role = Role::prompt,
                           .block_table = tables->data() + table});
      table += pages_for(start + count);
      rows += count;
      const int64_t used = (start + count) % kPageTokens;
      for (int64_t half = 0; used != 0 && half < 2 * kv_heads; ++half) {
        bf16* slots = cache->data() + pages[static_cast<size_t>(table - 1)] * (page_bytes / 2) +
                      (half * kPageTokens + used) * kHeadDim;
        check(cudaMemset(slots, 0xff, static_cast<size_t>((kPageTokens - used) * kHeadDim * 2)));
      }
    }
    query_stride = (heads + 2 * kv_heads) * kHeadDim;
    out_stride = heads * kHeadDim + 2;
    query = std::make_unique<Buffer<bf16>>(static_cast<size_t>(rows * query_stride));
    fill_normal(query->data(), rows * query_stride, 2, query_scale);
    out = std::make_unique<Buffer<bf16>>(static_cast<size_t>(rows * out_stride));
  }

  PrefillAttention args(const Buffer<SequenceRows>& list, const Buffer<PrefillTile>& tiles,
                        size_t num_tiles, int64_t tile_rows) const {
    return {.query = query->data(),
            .query_stride = query_stride,
            .cache = reinterpret_cast<const std::byte*>(cache->data()),
            .page_bytes = page_bytes,
            .sequences = list.data(),
            .tiles = tiles.data(),
            .num_tiles = static_cast<int64_t>(num_tiles),
            .tile_rows = tile_rows,
            .num_heads = num_heads,
            .num_kv_heads = num_kv_heads,
            .head_dim = kHeadDim,
            .out = out->data(),
            .out_stride = out_stride};
  }

  /// Longest first.
  static std::vector<PrefillTile> tiles_of(const std::vector<SequenceRows>& list,
                                           int64_t tile_rows) {
    std::vector<PrefillTile> tiles;
    for (size_t s = 0; s < list.size(); ++s) {
      for (int64_t first = 0; first < list[s].rows; first += tile_rows) {
        tiles.push_back({static_cast<int32_t>(s), static_cast<int32_t>(first)});
      }
    }
    std::stable_sort(tiles.begin(), tiles.end(), [&](const PrefillTile& a, const PrefillTile& b) {
      return list[static_cast<size_t>(a.sequence)].start + a.first >
             list[static_cast<size_t>(b.sequence)].start + b.first;
    });
    return tiles;
  }

  std::vector<bf16> run(const Path& path, const std::vector<SequenceRows>& list,
                        int64_t tile_rows) const {
    const std::vector<PrefillTile> tiles = tiles_of(list, tile_rows);
    const Buffer<SequenceRows> device_list(list);
    const Buffer<PrefillTile> device_tiles(tiles);
    out->poison();
    path.prefill(path.cuda, args(device_list, device_tiles, tiles.size(), tile_rows));
    check(cudaDeviceSynchronize());
    return out->read();
  }

  std::vector<float> expected() const {
    const Buffer<SequenceRows> list(sequences);
    const Buffer<PrefillTile> none(1);
    Buffer<float> to(static_cast<size_t>(rows * num_heads * kHeadDim));
    to.poison();
    int64_t longest = 0;
    int64_t keys = 0;
    for (const SequenceRows& s : sequences) {
      longest = std::max(longest, s.rows);
      keys = std::max(keys, s.start + s.rows);
    }
    const dim3 grid(static_cast<unsigned>(longest), static_cast<unsigned>(num_heads),
                    static_cast<unsigned>(sequences.size()));
    reference::prefill<<<grid, reference::kThreads, static_cast<size_t>(keys) * sizeof(double)>>>(
        args(list, none, 0, kFlashTileRows), to.data());
    check(cudaGetLastError());
    check(cudaDeviceSynchronize());
    return to.read();
  }

  /// The same rows in chunks of at most `chunk`.
  static std::vector<SequenceRows> chunks(const std::vector<SequenceRows>& list, int64_t chunk) {
    std::vector<SequenceRows> cut;
    for (const SequenceRows& s : list) {
      for (int64_t i = 0; i < s.rows; i += chunk) {
        cut.push_back({.first_row = s.first_row + i,
                       .rows = std::min(chunk, s.rows - i),
                       .start = s.start + i,
                       .role = s.role,
                       .block_table = s.block_table});
      }
    }
    return cut;
  }

  Shape shape() const { return {rows, num_heads, kHeadDim, out_stride}; }

  static std::string row_name(const void* of, int64_t row) {
    for (const SequenceRows& s : static_cast<const Prompts*>(of)->sequences) {
      if (row < s.first_row + s.rows) {
        return text("row %lld of the sequence that starts at %lld with %lld rows",
                    static_cast<long long>(row - s.first_row), static_cast<long long>(s.start),
                    static_cast<long long>(s.rows));
      }
    }
    return "?";
  }

  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t page_bytes;
  int64_t rows = 0;
  int64_t query_stride = 0;
  int64_t out_stride = 0;
  std::vector<SequenceRows> sequences;
  std::unique_ptr<Buffer<int32_t>> tables;
  std::unique_ptr<Buffer<bf16>> cache;
  std::unique_ptr<Buffer<bf16>> query;
  std::unique_ptr<Buffer<bf16>> out;
};

void check_prefill(int64_t group, float query_scale) {
  std::vector<std::pair<int64_t, int64_t>> shapes;
  for (const int64_t start : {0, 1, 63, 64, 100, 1000}) {
    for (const int64_t rows : {1, 5, 64, 65, 130, 300}) shapes.emplace_back(start, rows);
  }
  const Prompts prompts(shapes, 2 * group, 2, query_scale);
  const std::vector<float> expected = prompts.expected();
  for (const Path& path : paths()) {
    const std::string name = text("%s prefill, group %lld, queries of deviation %g", path.name,
                                  static_cast<long long>(group), static_cast<double>(query_scale));
    const int64_t tile_rows = path.prefill_tile_rows.front();
    const std::vector<bf16> whole = prompts.run(path, prompts.sequences, tile_rows);
    compare(name, prompts.shape(), whole, expected, Prompts::row_name, &prompts);
    require_same(name + ", small tiles", prompts.shape(),
                 prompts.run(path, prompts.sequences, path.prefill_tile_rows.back()), whole, 0,
                 prompts.rows, Prompts::row_name, &prompts);
    for (const int64_t chunk : {7, 64, 100}) {
      require_same(name + text(", chunks of %lld", static_cast<long long>(chunk)), prompts.shape(),
                   prompts.run(path, Prompts::chunks(prompts.sequences, chunk), tile_rows), whole,
                   0, prompts.rows, Prompts::row_name, &prompts);
    }
    for (const SequenceRows& s : prompts.sequences) {
      require_same(name + ", alone", prompts.shape(), prompts.run(path, {s}, tile_rows), whole,
                   s.first_row, s.first_row + s.rows, Prompts::row_name, &prompts);
    }
  }
}

/// Segments of patches, one after the other.
struct Patches {
  Patches(std::vector<int32_t> sizes, int64_t num_heads, int64_t dim, float query_scale)
      : heads(num_heads), head_dim(dim) {
    int32_t at = 0;
    for (const int32_t size : sizes) {
      segments.push_back({.first = at, .last = at + size, .begin = at, .end = at + size});
      at += size;
    }
    patches = at;
    qkv_stride = 3 * heads * head_dim + 8;
    out_stride = heads * head_dim + 2;
    qkv = std::make_unique<Buffer<bf16>>(static_cast<size_t>(patches * qkv_stride));
    fill_normal(qkv->data(), patches * qkv_stride, 3, std::sqrt(query_scale));
    out = std::make_unique<Buffer<bf16>>(static_cast<size_t>(patches * out_stride));
  }

  VisionAttention args(int64_t tile_rows) const {
    return {.qkv = qkv->data(),
            .qkv_stride = qkv_stride,
            .patches = patches,
            .tile_rows = tile_rows,
            .heads = heads,
            .head_dim = head_dim,
            .out = out->data(),
            .out_stride = out_stride};
  }

  /// Rows that end with their segment, so that tiles start elsewhere; the first two may overlap.
  static std::vector<VisionRows> parts_from_the_end(const std::vector<VisionRows>& list,
                                                    int64_t most_rows) {
    const auto rows = static_cast<int32_t>(most_rows);
    std::vector<VisionRows> parts;
    for (const VisionRows& s : list) {
      for (int32_t last = s.end; last > s.begin; last -= rows) {
        const int32_t first = std::max(s.begin, last - rows);
        parts.push_back({first, std::min(first + rows, s.end), s.begin, s.end});
      }
    }
    return parts;
  }

  std::vector<bf16> run(const Path& path, const std::vector<VisionRows>& list,
                        int64_t tile_rows) const {
    out->poison();
    path.vision(path.cuda, args(tile_rows), list);
    check(cudaDeviceSynchronize());
    return out->read();
  }

  /// One segment, while the patches of all others are NaN.
  std::vector<bf16> run_among_nan(const Path& path, const VisionRows& segment,
                                  int64_t tile_rows) const {
    const std::vector<bf16> saved = qkv->read();
    const auto elements = static_cast<size_t>((segment.end - segment.begin) * qkv_stride);
    const auto first = static_cast<size_t>(segment.begin * qkv_stride);
    qkv->poison();
    check(cudaMemcpy(qkv->data() + first, saved.data() + first, elements * sizeof(bf16),
                     cudaMemcpyHostToDevice));
    std::vector<bf16> result = run(path, {segment}, tile_rows);
    check(
        cudaMemcpy(qkv->data(), saved.data(), saved.size() * sizeof(bf16), cudaMemcpyHostToDevice));
    return result;
  }

  std::vector<float> expected() const {
    const Buffer<VisionRows> list(segments);
    Buffer<float> to(static_cast<size_t>(patches * heads * head_dim));
    to.poison();
    int32_t longest = 0;
    for (const VisionRows& s : segments) longest = std::max(longest, s.end - s.begin);
    const dim3 grid(static_cast<unsigned>(longest), static_cast<unsigned>(heads),
                    static_cast<unsigned>(segments.size()));
    reference::vision<<<grid, reference::kThreads, static_cast<size_t>(longest) * sizeof(double)>>>(
        args(kFlashTileRows), list.data(), to.data());
    check(cudaGetLastError());
    check(cudaDeviceSynchronize());
    return to.read();
  }

  Shape shape() const { return {patches, heads, head_dim, out_stride}; }

  static std::string row_name(const void* of, int64_t row) {
    for (const VisionRows& s : static_cast<const Patches*>(of)->segments) {
      if (row < s.end) {
        return text("patch %lld of the segment of %d", static_cast<long long>(row - s.begin),
                    s.end - s.begin);
      }
    }
    return "?";
  }

  int64_t heads;
  int64_t head_dim;
  int64_t patches = 0;
  int64_t qkv_stride = 0;
  int64_t out_stride = 0;
  std::vector<VisionRows> segments;
  std::unique_ptr<Buffer<bf16>> qkv;
  std::unique_ptr<Buffer<bf16>> out;
};

void check_vision(int64_t heads, int64_t head_dim, float query_scale) {
  const Patches patches({4, 64, 100, 777, 3072}, heads, head_dim, query_scale);
  const std::vector<float> expected = patches.expected();
  for (const Path& path : paths()) {
    if (path.vision_tile_rows.empty()) continue;
    const std::string name =
        text("%s vision, %lld heads of %lld, scores of deviation %g", path.name,
             static_cast<long long>(heads), static_cast<long long>(head_dim),
             static_cast<double>(query_scale));
    const int64_t most_rows = path.vision_tile_rows.front();
    const std::vector<bf16> whole = patches.run(path, patches.segments, most_rows);
    compare(name, patches.shape(), whole, expected, Patches::row_name, &patches);
    for (const int64_t rows : path.vision_tile_rows) {
      const std::string tiles = name + text(", tiles of %lld", static_cast<long long>(rows));
      for (const int64_t part : {rows, int64_t{37}}) {  // those of 37 are more than a launch takes
        require_same(tiles + text(", parts of %lld from the end", static_cast<long long>(part)),
                     patches.shape(),
                     patches.run(path, Patches::parts_from_the_end(patches.segments, part), rows),
                     whole, 0, patches.patches, Patches::row_name, &patches);
      }
      for (const VisionRows& s : patches.segments) {
        require_same(tiles + ", alone among NaN", patches.shape(),
                     patches.run_among_nan(path, s, rows), whole, s.begin, s.end, Patches::row_name,
                     &patches);
      }
    }
  }
}

void check_rotation(int64_t heads, int64_t head_dim) {
  constexpr int64_t kRows = 77;
  const int64_t stride = 3 * heads * head_dim + 4;
  const int64_t pairs = head_dim / 2;
  const Buffer<bf16> qkv(static_cast<size_t>(kRows * stride));
  fill_normal(qkv.data(), kRows * stride, 4, 1.0F);
  std::vector<float> cos(static_cast<size_t>(kRows * pairs));
  std::vector<float> sin(cos.size());
  for (size_t i = 0; i < cos.size(); ++i) {
    cos[i] = std::cos(static_cast<float>(i) * 0.7F);
    sin[i] = std::sin(static_cast<float>(i) * 0.7F);
  }
  const Buffer<float> device_cos(cos);
  const Buffer<float> device_sin(sin);
  const std::vector<bf16> before = qkv.read();
  rotate_rows({.qkv = qkv.data(),
               .qkv_stride = stride,
               .cos = device_cos.data(),
               .sin = device_sin.data(),
               .rows = kRows,
               .heads = heads,
               .head_dim = head_dim},
              nullptr);
  check(cudaDeviceSynchronize());
  const std::vector<bf16> after = qkv.read();
  int64_t bad = 0;
  std::string where;
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t i = 0; i < stride; ++i) {
      const auto at = static_cast<size_t>(row * stride + i);
      double want = static_cast<float>(before[at]);
      double allowed = 0;
      if (i < 2 * heads * head_dim) {
        const bool second = i % head_dim >= pairs;
        const auto angle = static_cast<size_t>(row * pairs + i % pairs);
        const double other = static_cast<float>(
            before[second ? at - static_cast<size_t>(pairs) : at + static_cast<size_t>(pairs)]);
        want = want * cos[angle] + (second ? other : -other) * sin[angle];
        allowed = std::abs(want) * 0x1p-8 + 1e-6;
      }
      const double got = static_cast<float>(after[at]);
      if (std::abs(got - want) <= allowed) continue;
      if (bad++ == 0) {
        where = text("row %lld, column %lld: %g, expected %g", static_cast<long long>(row),
                     static_cast<long long>(i), got, want);
      }
    }
  }
  const std::string name = text("rotation, %lld heads of %lld", static_cast<long long>(heads),
                                static_cast<long long>(head_dim));
  if (bad != 0) {
    fail(name + text(": %lld elements differ, first ", static_cast<long long>(bad)) + where);
  } else {
    std::printf("%-58s as defined\n", name.c_str());
  }
}

/// Median of 20 measurements in milliseconds, of 8 launches each: as in a full stream, where the
/// host is ahead.
template <class Run>
double median_ms(const Run& run) {
  constexpr int kLaunches = 8;
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  check(cudaEventCreate(&begin));
  check(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < 23; ++i) {
    check(cudaEventRecord(begin));
    for (int launch = 0; launch < kLaunches; ++launch) run();
    check(cudaEventRecord(end));
    check(cudaEventSynchronize(end));
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 3) times.push_back(ms / kLaunches);
  }
  check(cudaEventDestroy(begin));
  check(cudaEventDestroy(end));
  std::nth_element(times.begin(), times.begin() + 10, times.end());
  return times[10];
}

/// The same matrix instruction from registers alone: the roof.
__global__ void roof_kernel(int rounds, float* out) {
  float c[8][4] = {};
  uint32_t a[4] = {threadIdx.x, threadIdx.x, threadIdx.x, threadIdx.x};
  for (int i = 0; i < rounds; ++i) {
#pragma unroll
    for (auto& sum : c) multiply_add(sum, a, a[0], a[1]);
  }
  float total = 0;
  for (const auto& sum : c) total += sum[0] + sum[1] + sum[2] + sum[3];
  if (total == 1.0F) *out = total;
}

double roof_tflops() {
  int processors = 0;
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
  const Buffer<float> out(1);
  constexpr int kRounds = 20000;
  const double ms = median_ms([&] { roof_kernel<<<processors * 2, 256>>>(kRounds, out.data()); });
  return 2.0 * 16 * 8 * 16 * 8 * 8 * kRounds * processors * 2 / ms * 1e-9;
}

void time_all() {
  const double roof = roof_tflops();
  std::printf("\nmma.sync from registers: %.0f TFLOP/s\n", roof);
  const auto line = [&](const std::string& what, double ms, double flops) {
    std::printf("%-60s %8.3f ms  %6.1f TFLOP/s  %5.1f %%\n", what.c_str(), ms, flops / ms * 1e-9,
                flops / ms * 1e-7 / roof);
  };
  for (const int64_t rows : {512, 1024, 2048, 4096, 16384}) {
    const Prompts prompts({{0, rows}}, 16, 8, 1.0F);
    const Buffer<SequenceRows> list(prompts.sequences);
    for (const int64_t tile_rows : {kFlashTileRows, kFlashSmallTileRows}) {
      const std::vector<PrefillTile> tiles = Prompts::tiles_of(prompts.sequences, tile_rows);
      const Buffer<PrefillTile> device_tiles(tiles);
      const PrefillAttention args = prompts.args(list, device_tiles, tiles.size(), tile_rows);
      for (const Path& path : paths()) {
        if (tile_rows > path.prefill_tile_rows.front()) continue;
        line(text("%s prefill, %lld rows, 16 / 8 heads, tiles of %lld", path.name,
                  static_cast<long long>(rows), static_cast<long long>(tile_rows)),
             median_ms([&] { path.prefill(path.cuda, args); }),
             2.0 * 128 * 16 * static_cast<double>(rows) * static_cast<double>(rows + 1));
      }
    }
  }
  for (const int64_t head_dim : {64, 72}) {
    for (const int32_t size : {1024, 3072, 16384}) {
      const Patches patches({size}, 16, head_dim, 1.0F);
      for (const Path& path : paths()) {
        for (const int64_t tile_rows : path.vision_tile_rows) {
          const VisionAttention args = patches.args(tile_rows);
          line(text("%s vision, %d patches, 16 heads of %lld, tiles of %lld", path.name, size,
                    static_cast<long long>(head_dim), static_cast<long long>(tile_rows)),
               median_ms([&] { path.vision(path.cuda, args, patches.segments); }),
               4.0 * 16 * static_cast<double>(head_dim) * size * size);
        }
      }
    }
  }
}

void check_all() {
  check_rotation(3, 64);
  check_rotation(16, 72);
  // Queries of zeros weigh all keys alike, so a failure there is in the values or the mask.
  for (const float scale : {0.0F, 1.0F, 4.0F}) check_prefill(2, scale);
  for (const int64_t group : {1, 4, 5}) check_prefill(group, 1.0F);
  for (const int64_t head_dim : {64, 72}) {
    for (const int64_t heads : {1, 3, 16}) check_vision(heads, head_dim, 1.0F);
    check_vision(3, head_dim, 4.0F);
  }
}

}  // namespace
}  // namespace qvl::device

int main() {
  try {
    qvl::device::check_all();
    qvl::device::time_all();
  } catch (const qvl::CudaError& error) {
    qvl::device::fail(error.what());
  }
  std::printf("%s\n", qvl::device::failures == 0 ? "all as expected" : "FAILED");
  return qvl::device::failures == 0 ? 0 : 1;
}
