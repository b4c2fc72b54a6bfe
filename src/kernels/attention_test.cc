#include "kernels/attention.h"

#include <algorithm>
#include <numeric>

#include "kernels/kernel_testing.h"
#include "kernels/rope.h"

namespace qvl {
namespace {

struct Case {
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
};
constexpr Case kCases[] = {{4, 2, 16}, {6, 2, 36}, {3, 1, 72}, {2, 2, 128}, {5, 1, 8}};

/// Tokens of one sequence with what their rows need.
struct Tokens {
  TestMat qkv;
  TestMat cos;
  TestMat sin;

  Tokens(const Case& c, DType act, int64_t count, uint32_t seed)
      : qkv(TestMat::normal(act, count, (c.heads + 2 * c.kv_heads) * c.head_dim, seed)),
        cos(DType::f32, count, c.head_dim / 2),
        sin(DType::f32, count, c.head_dim / 2) {
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = 0; i < c.head_dim / 2; ++i) {
        const double angle = static_cast<double>(r) * std::pow(1e4, -2.0 * i / c.head_dim);
        cos.set(r, i, static_cast<float>(std::cos(angle)));
        sin.set(r, i, static_cast<float>(std::sin(angle)));
      }
    }
  }
};

template <class Backend>
class Attention {
 public:
  Attention(Backend& backend, const Case& c, DType cache_type, int64_t pages)
      : backend_(backend), case_(c) {
    const KvShape shape{c.kv_heads, c.head_dim, cache_type};
    const int64_t bytes = kv_page_bytes(backend, shape);
    pages_ = std::move(*Arena::create("pages", bytes * pages));
    // What other sequences left behind: any finite numbers.
    auto* words = pages_.take<uint16_t>(bytes * pages / 2);
    for (int64_t i = 0; i < bytes * pages / 2; ++i) {
      words[i] = static_cast<uint16_t>(0x4200 + i % 97);
    }
    cache_ = {reinterpret_cast<std::byte*>(words), bytes, shape};
    Random random(99);
    for (int64_t i = 0; i < c.head_dim; ++i) {
      q_weight_.push_back(1.0F + 0.3F * random.normal());
      k_weight_.push_back(1.0F + 0.3F * random.normal());
    }
  }

  struct Piece {
    Tokens* tokens;
    int64_t first;
    int64_t rows;
    const std::vector<int32_t>* block_table;
    Role role = Role::prompt;
  };

  /// One step over rows of several sequences; row i of piece p comes from token first + i.
  TestMat step(const std::vector<Piece>& pieces) {
    int64_t rows = 0;
    for (const Piece& p : pieces) rows += p.rows;
    const int64_t d = case_.head_dim;
    const DType act = pieces[0].tokens->qkv.act().dtype;
    TestMat qkv(act, rows, pieces[0].tokens->qkv.cols());
    TestMat cos(DType::f32, rows, d / 2);
    TestMat sin(DType::f32, rows, d / 2);
    std::vector<SequenceRows> sequences;
    int64_t row = 0;
    for (const Piece& p : pieces) {
      sequences.push_back({row, p.rows, p.first, p.role, p.block_table->data()});
      for (int64_t i = 0; i < p.rows; ++i, ++row) {
        copy_row(p.tokens->qkv, p.first + i, qkv, row);
        copy_row(p.tokens->cos, p.first + i, cos, row);
        copy_row(p.tokens->sin, p.first + i, sin, row);
      }
    }
    TestMat out(act, rows, case_.heads * d);
    const AttentionLayer layer{
        case_.heads, {{q_weight_.data(), d}, 1e-6F}, {{k_weight_.data(), d}, 1e-6F}};
    attention(backend_, qkv.act(), layer, {cos.f32(), sin.f32()}, sequences, cache_, out.act());
    return out;
  }

  /// All tokens of a sequence: `head` of them at once, the others in chunks.
  TestMat chunked(Tokens& tokens, int64_t chunk, const std::vector<int32_t>& table,
                  int64_t head = 0) {
    const int64_t count = tokens.qkv.rows();
    TestMat all(tokens.qkv.act().dtype, count, case_.heads * case_.head_dim);
    for (int64_t first = 0; first < count;) {
      const int64_t rows = first < head ? head : std::min(chunk, count - first);
      const TestMat out = step({{&tokens, first, rows, &table}});
      for (int64_t i = 0; i < rows; ++i) copy_row(out, i, all, first + i);
      first += rows;
    }
    return all;
  }

  static void copy_row(const TestMat& from, int64_t r, TestMat& to, int64_t s) {
    for (int64_t c = 0; c < from.cols(); ++c) to.set(s, c, from.at(r, c));
  }

 private:
  Backend& backend_;
  Case case_;
  Arena pages_;
  KvLayer cache_;
  std::vector<float> q_weight_;
  std::vector<float> k_weight_;
};

OperatorShapes shapes_of(const Case& c, int64_t rows) {
  return {.max_rows = rows, .max_heads = c.heads, .max_head_dim = c.head_dim};
}

/// Pages in no order.
std::vector<int32_t> table_of(int32_t pages) {
  std::vector<int32_t> out(static_cast<size_t>(pages));
  std::iota(out.begin(), out.end(), 0);
  std::reverse(out.begin(), out.end());
  std::swap(out[0], out[static_cast<size_t>(pages) / 2]);
  return out;
}

TEST(Attention, AgreesWithTheReference) {
  for (const Isa isa : supported_isas()) {
    for (const Case& c : kCases) {
      for (const DType act : {DType::f32, DType::bf16}) {
        for (const DType cache : {DType::f32, DType::bf16}) {
          for (const int64_t count : {1, 19, 99, 200}) {
            Tokens tokens(c, act, count, 1);
            const std::vector<int32_t> table = table_of(4);
            Ref ref;
            TestCpu cpu(isa, 2, shapes_of(c, count));
            Attention<Ref> expected(ref, c, cache, 4);
            Attention<Cpu> found(*cpu, c, cache, 4);
            // bf16 keys near the middle of two neighbours may round to the other one.
            const double tolerance = act == DType::bf16 || cache == DType::bf16 ? 1e-3 : 2e-6;
            ASSERT_TRUE(close(found.chunked(tokens, count, table),
                              expected.chunked(tokens, count, table), tolerance))
                << isa_name(isa) << ", " << count << " tokens, head_dim " << c.head_dim;
          }
        }
      }
    }
  }
}

TEST(Attention, LongContextsAgreeWithTheReference) {
  const Case c{2, 1, 16};
  Tokens tokens(c, DType::f32, 1200, 2);  // three runs of 512 keys
  const std::vector<int32_t> table = table_of(19);
  Ref ref;
  Attention<Ref> reference(ref, c, DType::f32, 19);
  const TestMat expected = reference.chunked(tokens, 1200, table);
  for (const Isa isa : supported_isas()) {
    TestCpu cpu(isa, 2, shapes_of(c, 1200));
    Attention<Cpu> found(*cpu, c, DType::f32, 19);
    EXPECT_TRUE(close(found.chunked(tokens, 1200, table), expected, 2e-6)) << isa_name(isa);
  }
}

TEST(Attention, ARowHasTheSameBitsInChunksOfAnySizeOnAnyNumberOfThreads) {
  const Case c{4, 2, 20};
  const int64_t count = 590;
  const std::vector<int32_t> table = table_of(10);
  for (const Isa isa : supported_isas()) {
    for (const DType cache : {DType::f32, DType::bf16}) {
      Tokens tokens(c, DType::f32, count, 3);
      TestCpu one(isa, 1, shapes_of(c, count));
      Attention<Cpu> at_once(*one, c, cache, 10);
      const TestMat expected = at_once.chunked(tokens, count, table);
      for (const int threads : {1, 2, 3}) {
        for (const int64_t chunk : {1, 7, 64, 300}) {
          // Single rows after key 512 are shared out by runs of keys.
          const int64_t head = chunk == 1 ? 500 : 0;
          TestCpu cpu(isa, threads, shapes_of(c, count));
          Attention<Cpu> attention(*cpu, c, cache, 10);
          const TestMat found = attention.chunked(tokens, chunk, table, head);
          for (int64_t r = 0; r < count; ++r) {
            ASSERT_TRUE(same_bits(found, r, expected, r))
                << isa_name(isa) << ", chunks of " << chunk << ", " << threads << " threads";
          }
        }
      }
    }
  }
}

TEST(Attention, ARowHasTheSameBitsAmongOtherSequencesInAnyOrderAndRole) {
  const Case c{4, 2, 16};
  for (const Isa isa : supported_isas()) {
    Tokens a(c, DType::bf16, 150, 4);
    Tokens b(c, DType::bf16, 70, 5);
    Tokens d(c, DType::bf16, 33, 6);
    const std::vector<int32_t> of_a = {7, 2, 4};
    const std::vector<int32_t> of_b = {0, 5};
    const std::vector<int32_t> of_d = {6};
    TestCpu cpu(isa, 3, shapes_of(c, 253));
    Attention<Cpu> alone(*cpu, c, DType::bf16, 8);
    const TestMat only_a = alone.chunked(a, 150, of_a);
    const TestMat only_b = alone.chunked(b, 70, of_b);
    const TestMat only_d = alone.chunked(d, 33, of_d);

    Attention<Cpu> together(*cpu, c, DType::bf16, 8);
    together.step({{&a, 0, 149, &of_a}});
    together.step({{&b, 0, 20, &of_b}});
    const TestMat first = together.step(
        {{&d, 0, 33, &of_d}, {&a, 149, 1, &of_a, Role::generated}, {&b, 20, 50, &of_b}});
    for (int64_t r = 0; r < 33; ++r) ASSERT_TRUE(same_bits(first, r, only_d, r));
    ASSERT_TRUE(same_bits(first, 33, only_a, 149));
    for (int64_t r = 0; r < 50; ++r) ASSERT_TRUE(same_bits(first, 34 + r, only_b, 20 + r));
  }
}

TEST(Attention, OneTokenAttendsToItselfOnly) {
  const Case c{2, 1, 8};
  for (const Isa isa : supported_isas()) {
    Tokens tokens(c, DType::f32, 1, 7);
    const std::vector<int32_t> table = {0};
    TestCpu cpu(isa, 1, shapes_of(c, 1));
    Attention<Cpu> attention(*cpu, c, DType::f32, 1);
    const TestMat out = attention.chunked(tokens, 1, table);
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t i = 0; i < 8; ++i) {
        EXPECT_EQ(out.at(0, h * 8 + i), tokens.qkv.at(0, 24 + i));  // v stands after 2 q and 1 k
      }
    }
  }
}

}  // namespace
}  // namespace qvl
