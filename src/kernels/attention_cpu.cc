#include <algorithm>

#include "kernels/attention.h"
#include "kernels/multiply_cpu.h"
#include "kernels/softmax_cpu.h"

namespace qvl {
namespace {

/// Keys are met in runs of this many, each with a softmax of its own, and the runs are joined in
/// order: a long context can so be shared out over threads without a change of the result.
constexpr int64_t kRunKeys = 512;
constexpr int64_t kRunBlocks = kRunKeys / kBlockKeys;
/// Rows of runs that may wait for their join; a longer context is not shared out.
constexpr int64_t kWaitingRows = 8192;

static_assert(kPageTokens == kBlockKeys, "a page of a head is a block");

/// Query rows of one item: `tokens` tokens of a sequence, all heads of one kv head.
struct Item {
  const SequenceRows* sequence = nullptr;
  int64_t kv_head = 0;
  int64_t first = 0;  ///< token, from the sequence's first row
  int64_t tokens = 0;

  int64_t runs() const { return (sequence->start + first + tokens - 1) / kRunKeys + 1; }
};

struct Problem {
  const Cpu& cpu;
  const ActMat& qkv;
  const ActMat& out;
  const AttentionLayer& layer;
  const RopeTable& rope;
  std::span<const SequenceRows> sequences;
  const KvLayer& cache;
  KeyValueBlock shape;
  int64_t group;              ///< query heads of a kv head
  int64_t item_tokens;        ///< at most
  const int64_t* first_row;   ///< [sequences + 1], running sum of rows
  const int64_t* first_item;  ///< [sequences + 1], running sum of items

  std::byte* block(const SequenceRows& sequence, int64_t index, int64_t kv_head) const {
    return cache.base + sequence.block_table[index] * cache.page_bytes + kv_head * shape.bytes();
  }
  int64_t sequence_of(const int64_t* firsts, int64_t i) const {
    return std::upper_bound(firsts, firsts + sequences.size() + 1, i) - firsts - 1;
  }
  Item item(int64_t i) const {
    const int64_t s = sequence_of(first_item, i);
    const SequenceRows& sequence = sequences[static_cast<size_t>(s)];
    const int64_t pieces = (sequence.rows + item_tokens - 1) / item_tokens;
    const int64_t within = i - first_item[s];
    // The last pieces see the most keys; they are handed out first.
    const int64_t first = (pieces - 1 - within % pieces) * item_tokens;
    return {&sequence, within / pieces, first, std::min(item_tokens, sequence.rows - first)};
  }
};

void prepare_head(const Problem& p, int64_t row, int64_t column, const RmsNorm* norm, float scale,
                  float* y) {
  const int64_t d = p.shape.head_dim;
  HeadJob job{
      .x = p.qkv.slice_rows(row, 1).slice_cols(column * d, d).data,
      .x_type = value_type(p.qkv.dtype),
      .head_dim = d,
      .scale = scale,
      .y = y,
  };
  if (norm != nullptr) {
    job.norm_weight = norm->weight.data;
    job.eps = norm->eps;
    job.cos = p.rope.cos.row(row);
    job.sin = p.rope.sin.row(row);
  }
  p.cpu.kernels->head(job);
}

void write_cache(const Problem& p, int64_t kv_head, int64_t i, float* head) {
  const int64_t s = p.sequence_of(p.first_row, i);
  const SequenceRows& sequence = p.sequences[static_cast<size_t>(s)];
  const int64_t row = sequence.first_row + i - p.first_row[s];
  const int64_t index = sequence.start + i - p.first_row[s];
  std::byte* block = p.block(sequence, index / kBlockKeys, kv_head);
  const int64_t key = p.layer.num_heads + kv_head;
  prepare_head(p, row, key, &p.layer.k_norm, 1.0F, head);
  p.shape.put_key(block, index % kBlockKeys, head);
  prepare_head(p, row, key + p.cache.shape.num_kv_heads, nullptr, 1.0F, head);
  p.shape.put_value(block, index % kBlockKeys, head);
}

/// Rows of an item are (token, head of the group), tokens in order.
void prepare_queries(const Problem& p, const Item& item, float* q) {
  const int64_t d = p.shape.head_dim;
  for (int64_t t = 0; t < item.tokens; ++t) {
    for (int64_t h = 0; h < p.group; ++h) {
      prepare_head(p, item.sequence->first_row + item.first + t, item.kv_head * p.group + h,
                   &p.layer.q_norm, query_scale(d), q + (t * p.group + h) * d);
    }
  }
}

/// The item's rows that see a key of the run meet its blocks. Returns the first of them.
int64_t meet_run(const Problem& p, const Item& item, int64_t run, const float* q, float* scores,
                 const SoftmaxState& state) {
  const int64_t position = item.sequence->start + item.first;  // of the first token
  const int64_t rows = item.tokens * p.group;
  const auto first_to_see = [&](int64_t key) {
    return std::max<int64_t>(0, key - position) * p.group;
  };
  const int64_t first_of_run = first_to_see(run * kRunKeys);
  state.from_row(first_of_run).reset(rows - first_of_run);
  const int64_t last_block = (position + item.tokens - 1) / kBlockKeys;
  for (int64_t b = run * kRunBlocks; b <= std::min(last_block, (run + 1) * kRunBlocks - 1); ++b) {
    const int64_t first = first_to_see(b * kBlockKeys);
    const QueryRows queries{
        .q = q + first * p.shape.head_dim,
        .rows = rows - first,
        .valid = position + first / p.group + 1 - b * kBlockKeys,
        .rows_per_key = p.group,
    };
    const std::byte* block = p.block(*item.sequence, b, item.kv_head);
    const std::byte* next = p.block(*item.sequence, std::min(b + 1, last_block), item.kv_head);
    meet_block(*p.cpu.kernels, p.shape, block, next, queries, scores, state.from_row(first));
  }
  return first_of_run;
}

void join(const Problem& p, const SoftmaxState& total, const SoftmaxState& run, int64_t rows) {
  p.cpu.kernels->join({
      .rows = rows,
      .head_dim = p.shape.head_dim,
      .values_stride = total.values_stride,
      .max = total.max,
      .sums = total.sums,
      .values = total.values,
      .other_max = run.max,
      .other_sums = run.sums,
      .other_values = run.values,
  });
}

void write_out(const Problem& p, const Item& item, const SoftmaxState& total) {
  const int64_t d = p.shape.head_dim;
  for (int64_t r = 0; r < item.tokens * p.group; ++r) {
    const int64_t row = item.sequence->first_row + item.first + r / p.group;
    const int64_t head = item.kv_head * p.group + r % p.group;
    const ActMat to = p.out.slice_rows(row, 1).slice_cols(head * d, d);
    p.cpu.kernels->divide({
        .values = total.values + r * total.values_stride,
        .sums = total.sums + r * 16,
        .head_dim = d,
        .y = to.data,
        .y_type = value_type(to.dtype),
    });
  }
}

void run_items(const Problem& p, std::span<const AttentionScratch> threads) {
  p.cpu.threads->parallel_dynamic(
      p.first_item[p.sequences.size()], 1, [&](int64_t first, int64_t last, int thread) {
        const AttentionScratch& mine = threads[static_cast<size_t>(thread)];
        for (int64_t i = first; i < last; ++i) {
          const Item item = p.item(i);
          const int64_t rows = item.tokens * p.group;
          prepare_queries(p, item, mine.q);
          mine.total.reset(rows);
          for (int64_t run = 0; run < item.runs(); ++run) {
            const int64_t seen = meet_run(p, item, run, mine.q, mine.scores, mine.run);
            join(p, mine.total.from_row(seen), mine.run.from_row(seen), rows - seen);
          }
          write_out(p, item, mine.total);
        }
      });
}

/// The same, each run of an item by itself; `waiting` holds their states, first_run[i] those of
/// item i.
void run_items_by_runs(const Problem& p, std::span<const AttentionScratch> threads,
                       const int64_t* first_run, const SoftmaxState& waiting) {
  const int64_t items = p.first_item[p.sequences.size()];
  const int64_t item_rows = p.item_tokens * p.group;
  p.cpu.threads->parallel_dynamic(
      first_run[items], 1, [&](int64_t first, int64_t last, int thread) {
        const AttentionScratch& mine = threads[static_cast<size_t>(thread)];
        for (int64_t run = first; run < last; ++run) {
          const int64_t i = std::upper_bound(first_run, first_run + items + 1, run) - first_run - 1;
          const Item item = p.item(i);
          prepare_queries(p, item, mine.q);
          meet_run(p, item, run - first_run[i], mine.q, mine.scores,
                   waiting.from_row(run * item_rows));
        }
      });
  p.cpu.threads->parallel_for(items, [&](int64_t first, int64_t last, int thread) {
    const AttentionScratch& mine = threads[static_cast<size_t>(thread)];
    for (int64_t i = first; i < last; ++i) {
      const Item item = p.item(i);
      const int64_t rows = item.tokens * p.group;
      mine.total.reset(rows);
      for (int64_t run = 0; run < item.runs(); ++run) {
        const int64_t position = item.sequence->start + item.first;
        const int64_t seen = std::max<int64_t>(0, run * kRunKeys - position) * p.group;
        join(p, mine.total.from_row(seen),
             waiting.from_row((first_run[i] + run) * item_rows + seen), rows - seen);
      }
      write_out(p, item, mine.total);
    }
  });
}

/// Running sums over the sequences: of their rows, and of their items.
void count_items(std::span<const SequenceRows> sequences, int64_t item_tokens, int64_t kv_heads,
                 int64_t* first_row, int64_t* first_item) {
  first_row[0] = first_item[0] = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const int64_t pieces = (sequences[s].rows + item_tokens - 1) / item_tokens;
    first_row[s + 1] = first_row[s] + sequences[s].rows;
    first_item[s + 1] = first_item[s] + pieces * kv_heads;
  }
}

int64_t query_rows(int64_t group) { return std::max(kQueryRows, group); }

/// Fewer items than this leave threads idle at the end.
int64_t enough_items(const Cpu& cpu) { return int64_t{4} * cpu.threads->count(); }

}  // namespace

int64_t kv_page_bytes(const Cpu&, const KvShape& shape) {
  return Arena::padded(shape.num_kv_heads * KeyValueBlock{shape.head_dim, shape.dtype}.bytes());
}

int64_t attention_scratch_bytes(const Cpu& cpu, int64_t rows, int64_t heads, int64_t head_dim) {
  return AttentionScratch::bytes(cpu, query_rows(heads), head_dim) +
         2 * Arena::padded((rows + 1) * 8) + Arena::padded(enough_items(cpu) * 8) +
         SoftmaxState::bytes(kWaitingRows, head_dim);
}

void attention(Cpu& cpu, ActMat qkv, const AttentionLayer& layer, const RopeTable& rope,
               std::span<const SequenceRows> sequences, const KvLayer& cache, ActMat out) {
  const int64_t d = cache.shape.head_dim;
  const int64_t kv_heads = cache.shape.num_kv_heads;
  const int64_t group = layer.num_heads / kv_heads;
  require_equal(group * kv_heads, layer.num_heads, "attention: heads");
  require_equal((layer.num_heads + 2 * kv_heads) * d, qkv.cols, "attention: width of qkv");
  require_equal(layer.num_heads * d, out.cols, "attention: width of out");
  require_equal(d % 2, 0, "attention: head_dim");
  require_equal(layer.q_norm.weight.size, d, "attention: q norm");
  require_equal(layer.k_norm.weight.size, d, "attention: k norm");
  int64_t longest = 1;
  for (const SequenceRows& sequence : sequences) longest = std::max(longest, sequence.rows);
  const int64_t item_tokens = std::clamp<int64_t>(kQueryRows / group, 1, longest);

  const int64_t mark = cpu.scratch->used();
  const std::span<const AttentionScratch> threads =
      AttentionScratch::take(cpu, query_rows(group), d);
  const auto count = static_cast<int64_t>(sequences.size());
  auto* first_row = cpu.scratch->take<int64_t>(count + 1);
  auto* first_item = cpu.scratch->take<int64_t>(count + 1);
  count_items(sequences, item_tokens, kv_heads, first_row, first_item);
  const Problem p{.cpu = cpu,
                  .qkv = qkv,
                  .out = out,
                  .layer = layer,
                  .rope = rope,
                  .sequences = sequences,
                  .cache = cache,
                  .shape = {d, cache.shape.dtype},
                  .group = group,
                  .item_tokens = item_tokens,
                  .first_row = first_row,
                  .first_item = first_item};

  const int64_t rows = first_row[count];
  cpu.threads->parallel_for(kv_heads * rows, [&](int64_t first, int64_t last, int thread) {
    float* head = threads[static_cast<size_t>(thread)].q;
    for (int64_t i = first; i < last; ++i) write_cache(p, i / rows, i % rows, head);
  });

  const int64_t items = first_item[count];
  if (items < enough_items(cpu)) {
    auto* first_run = cpu.scratch->take<int64_t>(items + 1);
    first_run[0] = 0;
    for (int64_t i = 0; i < items; ++i) first_run[i + 1] = first_run[i] + p.item(i).runs();
    if (first_run[items] > items && first_run[items] * item_tokens * group <= kWaitingRows) {
      run_items_by_runs(p, threads, first_run, SoftmaxState::take(*cpu.scratch, kWaitingRows, d));
      cpu.scratch->rewind(mark);
      return;
    }
  }
  run_items(p, threads);
  cpu.scratch->rewind(mark);
}

}  // namespace qvl
