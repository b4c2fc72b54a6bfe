#include <algorithm>

#include "kernels/multiply_cpu.h"
#include "kernels/softmax_cpu.h"
#include "kernels/vision_attention.h"

namespace qvl {
namespace {

struct Problem {
  const Cpu& cpu;
  const ActMat& qkv;
  const ActMat& out;
  const RopeTable& rope;
  int64_t heads;
  KeyValueBlock shape;
};

/// One head of one segment. Its keys and values are packed into blocks of 64, then every 64 query
/// rows meet all blocks; both are counted in blocks.
struct Unit {
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t head = 0;
  int64_t first_block = 0;  ///< in the wave
};

int64_t blocks_of(int64_t rows) { return (rows + kBlockKeys - 1) / kBlockKeys; }

/// Head `column` of q, k or v, rotated and scaled unless it is v.
void prepare_head(const Problem& p, int64_t row, int64_t column, bool rotate, float scale,
                  float* y) {
  const int64_t d = p.shape.head_dim;
  p.cpu.kernels->head({
      .x = p.qkv.slice_rows(row, 1).slice_cols(column * d, d).data,
      .x_type = value_type(p.qkv.dtype),
      .cos = rotate ? p.rope.cos.row(row) : nullptr,
      .sin = rotate ? p.rope.sin.row(row) : nullptr,
      .head_dim = d,
      .scale = scale,
      .y = y,
  });
}

void pack_block(const Problem& p, const Unit& unit, int64_t block, float* head, std::byte* to) {
  const int64_t first = block * kBlockKeys;
  for (int64_t t = 0; t < kBlockKeys; ++t) {
    const int64_t row = unit.first_row + first + t;
    const bool exists = first + t < unit.rows;
    if (exists) {
      prepare_head(p, row, p.heads + unit.head, true, 1.0F, head);
    } else {
      std::fill_n(head, p.shape.head_dim, 0.0F);  // weighs nothing, but zero times garbage may not
    }
    p.shape.put_key(to, t, head);
    if (exists) prepare_head(p, row, 2 * p.heads + unit.head, false, 1.0F, head);
    p.shape.put_value(to, t, head);
  }
}

void attend_rows(const Problem& p, const Unit& unit, int64_t first, int64_t rows,
                 const std::byte* blocks, const AttentionScratch& mine) {
  const int64_t d = p.shape.head_dim;
  for (int64_t r = 0; r < rows; ++r) {
    prepare_head(p, unit.first_row + first + r, unit.head, true, query_scale(d), mine.q + r * d);
  }
  mine.run.reset(rows);
  for (int64_t b = 0; b < blocks_of(unit.rows); ++b) {
    const QueryRows queries{
        .q = mine.q,
        .rows = rows,
        .valid = std::min(kBlockKeys, unit.rows - b * kBlockKeys),
        .rows_per_key = rows,
    };
    const std::byte* block = blocks + b * p.shape.bytes();
    meet_block(*p.cpu.kernels, p.shape, block, block, queries, mine.scores, mine.run);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const ActMat to = p.out.slice_rows(unit.first_row + first + r, 1).slice_cols(unit.head * d, d);
    p.cpu.kernels->divide({
        .values = mine.run.values + r * mine.run.values_stride,
        .sums = mine.run.sums + r * 16,
        .head_dim = d,
        .y = to.data,
        .y_type = value_type(to.dtype),
    });
  }
}

/// Units whose blocks fit into scratch memory together.
struct Wave {
  Unit* units = nullptr;
  int64_t count = 0;
  int64_t blocks = 0;

  const Unit& unit_of(int64_t block) const {
    return *(std::upper_bound(units, units + count, block,
                              [](int64_t b, const Unit& u) { return b < u.first_block; }) -
             1);
  }
};

void run_wave(const Problem& p, const Wave& wave, std::byte* blocks,
              std::span<const AttentionScratch> threads) {
  p.cpu.threads->parallel_dynamic(wave.blocks, 1, [&](int64_t first, int64_t last, int thread) {
    for (int64_t b = first; b < last; ++b) {
      const Unit& unit = wave.unit_of(b);
      pack_block(p, unit, b - unit.first_block, threads[static_cast<size_t>(thread)].q,
                 blocks + b * p.shape.bytes());
    }
  });
  p.cpu.threads->parallel_dynamic(wave.blocks, 1, [&](int64_t first, int64_t last, int thread) {
    for (int64_t b = first; b < last; ++b) {
      const Unit& unit = wave.unit_of(b);
      const int64_t row = (b - unit.first_block) * kBlockKeys;
      attend_rows(p, unit, row, std::min(kBlockKeys, unit.rows - row),
                  blocks + unit.first_block * p.shape.bytes(),
                  threads[static_cast<size_t>(thread)]);
    }
  });
}

int64_t wave_blocks(const Cpu& cpu, int64_t heads, int64_t longest) {
  return std::min<int64_t>(heads, cpu.threads->count()) * blocks_of(longest);
}

}  // namespace

int64_t vision_attention_scratch_bytes(const Cpu& cpu, int64_t heads, int64_t head_dim,
                                       int64_t longest) {
  const int64_t blocks = wave_blocks(cpu, heads, longest);
  return AttentionScratch::bytes(cpu, kBlockKeys, head_dim) +
         Arena::padded(blocks * KeyValueBlock{head_dim}.bytes()) +
         Arena::padded(blocks * static_cast<int64_t>(sizeof(Unit)));
}

void vision_attention(Cpu& cpu, ActMat qkv, int64_t heads, const RopeTable& rope,
                      std::span<const int64_t> cu_seqlens, ActMat out) {
  const int64_t d = qkv.cols / (3 * heads);
  require_equal(d * heads * 3, qkv.cols, "vision attention: width of qkv");
  require_equal(d * heads, out.cols, "vision attention: width of out");
  require_equal(d % 2, 0, "vision attention: head_dim");
  int64_t longest = 0;
  for (size_t s = 1; s < cu_seqlens.size(); ++s) {
    longest = std::max(longest, cu_seqlens[s] - cu_seqlens[s - 1]);
  }
  if (longest == 0) return;
  const Problem problem{cpu, qkv, out, rope, heads, {d, DType::f32}};
  const int64_t capacity = wave_blocks(cpu, heads, longest);
  const int64_t mark = cpu.scratch->used();
  const std::span<const AttentionScratch> threads = AttentionScratch::take(cpu, kBlockKeys, d);
  auto* blocks = cpu.scratch->take<std::byte>(capacity * problem.shape.bytes());
  Wave wave{cpu.scratch->take<Unit>(capacity)};
  for (size_t s = 1; s < cu_seqlens.size(); ++s) {
    const int64_t rows = cu_seqlens[s] - cu_seqlens[s - 1];
    if (rows == 0) continue;
    for (int64_t h = 0; h < heads; ++h) {
      if (wave.blocks + blocks_of(rows) > capacity) {
        run_wave(problem, wave, blocks, threads);
        wave.count = wave.blocks = 0;
      }
      wave.units[wave.count++] = {cu_seqlens[s - 1], rows, h, wave.blocks};
      wave.blocks += blocks_of(rows);
    }
  }
  run_wave(problem, wave, blocks, threads);
  cpu.scratch->rewind(mark);
}

}  // namespace qvl
