// Every operator of the Cuda backend against the reference backend, at awkward sizes, and its rows
// alone against its rows among others.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "gpu_testing.h"
#include "kernels/attention.h"
#include "kernels/features.h"
#include "kernels/moe.h"
#include "kernels/norm_linear.h"
#include "kernels/patch_embed.h"
#include "kernels/rope.h"
#include "kernels/vision_attention.h"

namespace qvl {
namespace {

constexpr double kHalfTolerance = 4e-3;  // results rounded to bfloat16 in another order of sums
constexpr double kSumTolerance = 2e-3;   // float32 results of inputs rounded to bfloat16

/// Of RMS-normed rows that are rounded before the norm's scale, where the reference rounds after
/// it: two roundings of every input instead of one.
constexpr double kNormedHalfTolerance = 6e-3;
constexpr double kNormedSumTolerance = 4e-3;

struct Shape {
  int64_t out;
  int64_t in;
};
constexpr Shape kShapes[] = {{128, 64}, {704, 128},   {192, 96},
                             {70, 192}, {1152, 1536}, {2048, 256}};
constexpr int64_t kRows[] = {1, 3, 8, 9, 17, 33, 65, 130};

LinearDesc desc_of(const Shape& s, LinearKind kind = LinearKind::plain) {
  return {.out = s.out,
          .in = s.in,
          .weight = WeightFormat::bf16,
          .activation = ActFormat::bf16,
          .kind = kind};
}

/// Roles to try for a number of rows.
std::vector<RowRoles> roles_of(int64_t rows) {
  std::vector<RowRoles> out{{.prompt = rows}, {.generated = rows}};
  if (rows > 2) out.push_back({.prompt = rows / 3, .generated = rows - rows / 3});
  return out;
}

std::vector<float> norm_weights(int64_t n) {
  Random random(5);
  std::vector<float> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(1.0F + 0.3F * random.normal());
  return out;
}

TEST(GpuLinear, IsTheReferencesForEveryRoleAndNumberOfRows) {
  for (const Shape& s : kShapes) {
    TestGpu gpu;
    Ref ref;
    const TestWeight weight(desc_of(s), 1);
    const Linear w = gpu.put_linear(desc_of(s), weight, true);
    const TestLinear expected_w = pack(ref, desc_of(s), weight, weight.bias.data());
    for (const int64_t rows : kRows) {
      for (const RowRoles roles : roles_of(rows)) {
        SCOPED_TRACE(testing::Message() << s.out << " × " << s.in << ", " << roles.prompt << " + "
                                        << roles.generated << " rows");
        TestMat x = TestMat::normal(DType::bf16, rows, s.in, 2);
        const ActMat dx = gpu.put(x);
        for (const DType type : {DType::bf16, DType::f32}) {
          TestMat y(type, rows, s.out);
          linear(ref, roles, x.act(), expected_w.linear, y.act());
          const ActMat dy = gpu.room(type, rows, s.out);
          linear(*gpu, roles, dx, w, dy);
          EXPECT_TRUE(close(gpu.get(dy), y, type == DType::f32 ? 1e-5 : kHalfTolerance));
        }
        TestMat sum = TestMat::normal(DType::f32, rows, s.out, 3);
        const Mat<float> dsum = gpu.put_floats(sum);
        linear_residual(ref, roles, x.act(), expected_w.linear, sum.f32());
        linear_residual(*gpu, roles, dx, w, dsum);
        EXPECT_TRUE(close(gpu.get(dsum), sum, 1e-5));
      }
    }
  }
}

TEST(GpuLinear, TakesRowsThatEndInsideAPieceOf16Bytes) {
  constexpr Shape kOdd{72, 134};
  TestGpu gpu;
  Ref ref;
  const TestWeight weight(desc_of(kOdd), 1);
  const Linear w = gpu.put_linear(desc_of(kOdd), weight, true);
  const TestLinear expected_w = pack(ref, desc_of(kOdd), weight, weight.bias.data());
  TestMat wide = TestMat::normal(DType::bf16, 33, 216, 2);  // with something beyond the columns
  const ActMat x = wide.act().slice_cols(0, kOdd.in);
  const ActMat dx = gpu.put(wide).slice_cols(0, kOdd.in);
  for (const RowRoles roles : roles_of(33)) {
    TestMat y(DType::f32, 33, kOdd.out);
    linear(ref, roles, x, expected_w.linear, y.act());
    const ActMat dy = gpu.room(DType::f32, 33, kOdd.out);
    linear(*gpu, roles, dx, w, dy);
    EXPECT_TRUE(close(gpu.get(dy), y, 1e-5)) << roles.prompt << " + " << roles.generated;
  }
}

TEST(GpuLinear, ARowHasTheSameBitsAloneAndAmongOthers) {
  for (const Shape& s : kShapes) {
    TestGpu gpu;
    const TestWeight weight(desc_of(s), 1);
    const Linear w = gpu.put_linear(desc_of(s), weight, true);
    TestMat x = TestMat::normal(DType::bf16, 260, s.in, 2);
    const ActMat dx = gpu.put(x);
    for (const bool prompt : {true, false}) {
      const auto product = [&](int64_t first, int64_t rows) {
        const ActMat y = gpu.room(DType::f32, rows, s.out);
        const RowRoles roles = prompt ? RowRoles{.prompt = rows} : RowRoles{.generated = rows};
        linear(*gpu, roles, dx.slice_rows(first, rows), w, y);
        return gpu.get(y);
      };
      const TestMat all = product(0, 260);
      for (const int64_t rows : {1, 7, 8, 16, 30, 64, 65, 129}) {
        for (const int64_t first : {int64_t{0}, int64_t{5}, 260 - rows}) {
          const TestMat some = product(first, rows);
          for (int64_t r = 0; r < rows; ++r) {
            ASSERT_TRUE(same_bits(some, r, all, first + r))
                << s.out << " × " << s.in << ", rows " << first << " + " << rows
                << (prompt ? " prompt" : " generated");
          }
        }
      }
    }
  }
}

TEST(GpuNorms, AndTheirProductsAreTheReferences) {
  for (const Shape& s : kShapes) {
    TestGpu gpu;
    Ref ref;
    const LinearDesc gated = desc_of(s, LinearKind::gate_up);
    const TestWeight weight(desc_of(s), 1);
    const Linear w = gpu.put_linear(desc_of(s), weight, true);
    const Linear pairs = gpu.put_linear(gated, weight, false);
    const TestLinear ref_w = pack(ref, desc_of(s), weight, weight.bias.data());
    const TestLinear ref_pairs = pack(ref, gated, weight);
    const std::vector<float> scale = norm_weights(s.in);
    const std::vector<float> shift = norm_weights(s.in);
    const RmsNorm rms{{scale.data(), s.in}, 1e-6F};
    const RmsNorm gpu_rms{gpu.put_vector(scale), 1e-6F};
    const LayerNorm layer{{scale.data(), s.in}, {shift.data(), s.in}, 1e-6F};
    const LayerNorm gpu_layer{gpu.put_vector(scale), gpu.put_vector(shift), 1e-6F};
    for (const int64_t rows : {1, 9, 70}) {
      for (const RowRoles roles : roles_of(rows)) {
        SCOPED_TRACE(testing::Message() << s.out << " × " << s.in << ", " << roles.prompt << " + "
                                        << roles.generated << " rows");
        TestMat x = TestMat::normal(DType::f32, rows, s.in, 2);
        const Mat<float> dx = gpu.put_floats(x);
        TestMat y(DType::bf16, rows, s.out);
        const ActMat dy = gpu.room(DType::bf16, rows, s.out);
        rms_norm_linear(ref, roles, x.f32(), rms, ref_w.linear, y.act());
        rms_norm_linear(*gpu, roles, dx, gpu_rms, w, dy);
        const double tolerance = roles.generated > 0 ? kNormedHalfTolerance : kHalfTolerance;
        EXPECT_TRUE(close(gpu.get(dy), y, tolerance));

        TestMat half(DType::bf16, rows, s.out / 2);
        const ActMat dhalf = gpu.room(DType::bf16, rows, s.out / 2);
        rms_norm_gate_up_silu(ref, roles, x.f32(), rms, ref_pairs.linear, half.act());
        rms_norm_gate_up_silu(*gpu, roles, dx, gpu_rms, pairs, dhalf);
        EXPECT_TRUE(close(gpu.get(dhalf), half, tolerance));
      }
      TestMat x = TestMat::normal(DType::f32, rows, s.in, 2);
      const Mat<float> dx = gpu.put_floats(x);
      TestMat y(DType::bf16, rows, s.out);
      const ActMat dy = gpu.room(DType::bf16, rows, s.out);
      layer_norm_linear(ref, x.f32(), layer, ref_w.linear, y.act());
      layer_norm_linear(*gpu, dx, gpu_layer, w, dy);
      EXPECT_TRUE(close(gpu.get(dy), y, kHalfTolerance));
      for (const Gelu gelu : {Gelu::tanh, Gelu::erf}) {
        layer_norm_linear_gelu(ref, x.f32(), layer, ref_w.linear, gelu, y.act());
        layer_norm_linear_gelu(*gpu, dx, gpu_layer, w, gelu, dy);
        EXPECT_TRUE(close(gpu.get(dy), y, kHalfTolerance));
      }
      std::vector<int32_t> picked;
      for (int64_t r = rows - 1; r >= 0; r -= 2) picked.push_back(static_cast<int32_t>(r));
      const auto n = static_cast<int64_t>(picked.size());
      TestMat logits(DType::f32, n, s.out);
      const ActMat dlogits = gpu.room(DType::f32, n, s.out);
      const Linear plain{w.desc, w.data, nullptr};
      const Linear ref_plain{ref_w.linear.desc, ref_w.linear.data, nullptr};
      rms_norm_head(ref, {.prompt = n}, x.f32(), {picked.data(), n}, rms, ref_plain, logits.f32());
      rms_norm_head(*gpu, {.prompt = n}, dx, {gpu.put_list(picked), n}, gpu_rms, plain,
                    dlogits.as<float>());
      EXPECT_TRUE(close(gpu.get(dlogits), logits, kNormedSumTolerance));
    }
  }
}

TEST(GpuNorms, MergeRowsBeforeOrAfterTheNorm) {
  Ref ref;
  for (const int64_t dim : {64, 532, 1048}) {
    TestGpu gpu;
    const int64_t wide = 4 * dim;
    const LinearDesc desc = desc_of({192, wide});
    const TestWeight weight(desc, 1);
    const Linear w = gpu.put_linear(desc, weight, true);
    const TestLinear ref_w = pack(ref, desc, weight, weight.bias.data());
    for (const int64_t size : {dim, wide}) {
      const std::vector<float> scale = norm_weights(size);
      TestMat x = TestMat::normal(DType::f32, 36, dim, 2);
      TestMat y(DType::bf16, 9, 192);
      const LayerNorm layer{{scale.data(), size}, {scale.data(), size}, 1e-6F};
      layer_norm_linear_gelu(ref, x.f32(), layer, ref_w.linear, Gelu::erf, y.act());
      const ActMat dy = gpu.room(DType::bf16, 9, 192);
      const LayerNorm gpu_layer{gpu.put_vector(scale), gpu.put_vector(scale), 1e-6F};
      layer_norm_linear_gelu(*gpu, gpu.put_floats(x), gpu_layer, w, Gelu::erf, dy);
      EXPECT_TRUE(close(gpu.get(dy), y, kHalfTolerance)) << dim << ", " << size;
    }
  }
}

TEST(GpuRows, AreGatheredSetAddedAndEmbedded) {
  TestGpu gpu;
  Ref ref;
  const LinearDesc desc = desc_of({100, 192});
  const TestWeight weight(desc, 1);
  const Linear w = gpu.put_linear(desc, weight, false);
  const TestLinear ref_w = pack(ref, desc, weight);
  const std::vector<int32_t> ids{99, 0, 7, 7, 50};
  TestMat x(DType::f32, 5, 192);
  gather_rows(ref, {ids.data(), 5}, ref_w.linear, x.f32());
  const Mat<float> dx = gpu.room(DType::f32, 5, 192).as<float>();
  gather_rows(*gpu, {gpu.put_list(ids), 5}, w, dx);
  EXPECT_TRUE(close(gpu.get(dx), x, 0));
  TestMat features = TestMat::normal(DType::bf16, 5, 192, 3);
  const ActMat dfeatures = gpu.put(features);
  add_features(ref, features.act(), x.f32());
  add_features(*gpu, dfeatures, dx);
  EXPECT_TRUE(close(gpu.get(dx), x, 1e-7));
  set_features(ref, features.act(), x.f32());
  set_features(*gpu, dfeatures, dx);
  EXPECT_TRUE(close(gpu.get(dx), x, 0));

  std::vector<uint8_t> bytes(static_cast<size_t>(10 * 192));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 % 256);
  const PixelNorm norm{{1 / 127.5F, 1 / 130.0F, 1 / 120.0F}, {-1.0F, -0.9F, -1.1F}};
  const std::vector<float> bias(100, 0.5F);
  const Mat<const uint8_t> patches{bytes.data(), 10, 192, 192};
  TestMat y(DType::f32, 10, 100);
  const Linear biased{ref_w.linear.desc, ref_w.linear.data, bias.data()};
  patch_embed(ref, patches, norm, biased, y.f32());
  const Mat<float> dy = gpu.room(DType::f32, 10, 100).as<float>();
  const Linear gpu_biased{w.desc, w.data, gpu.put_list(bias)};
  patch_embed(*gpu, patches, norm, gpu_biased, dy);
  EXPECT_TRUE(close(gpu.get(dy), y, kSumTolerance));

  TestMat table = TestMat::normal(DType::f32, 16, 100, 8);
  std::vector<PositionCorners> corners;
  corners.reserve(10);
  for (int32_t i = 0; i < 10; ++i) {
    corners.push_back({{i, i + 1, i + 4, i + 5}, {0.1F, 0.2F, 0.3F, 0.4F}});
  }
  const Mat<float> table_view = table.f32();
  add_position_embedding(ref, {corners.data(), 10}, table_view, y.f32());
  add_position_embedding(*gpu, {gpu.put_list(corners), 10}, gpu.put_floats(table), dy);
  EXPECT_TRUE(close(gpu.get(dy), y, kSumTolerance));
}

TEST(GpuRope, AnglesAreTheReferences) {
  TestGpu gpu;
  Ref ref;
  std::vector<int32_t> positions;
  positions.reserve(27);
  for (int32_t i = 0; i < 3 * 9; ++i) positions.push_back(i * 4099 % 262144);
  std::vector<uint8_t> axes;
  std::vector<float> frequencies;
  for (int i = 0; i < 64; ++i) {
    axes.push_back(static_cast<uint8_t>(i % 3));
    frequencies.push_back(static_cast<float>(std::pow(5e6, -i / 64.0)));
  }
  TestMat cosine(DType::f32, 9, 64);
  TestMat sine(DType::f32, 9, 64);
  rope_table(ref, make_mat<const int32_t>(positions.data(), 3, 9), axes, frequencies,
             {cosine.f32(), sine.f32()});
  const RopeTable table{gpu.room(DType::f32, 9, 64).as<float>(),
                        gpu.room(DType::f32, 9, 64).as<float>()};
  rope_table(*gpu, make_mat<const int32_t>(gpu.put_list(positions), 3, 9), axes, frequencies,
             table);
  EXPECT_TRUE(close(gpu.get(table.cos), cosine, 1e-6));
  EXPECT_TRUE(close(gpu.get(table.sin), sine, 1e-6));
}

/// A block of experts on both backends, hidden_size 128, moe_intermediate_size 96.
class ExpertsOf {
 public:
  static constexpr int64_t kHidden = 128;

  ExpertsOf(int64_t count, int64_t top_k) : scale_(norm_weights(kHidden)) {
    constexpr int64_t kWidth = 96;
    LinearDesc router = desc_of({count, kHidden});
    router.activation = ActFormat::f32;
    add(router, 7, experts_.router, expected_.router);
    for (int64_t e = 0; e < count; ++e) {
      const auto seed = static_cast<uint32_t>(100 + 2 * e);
      add(desc_of({2 * kWidth, kHidden}, LinearKind::gate_up), seed,
          experts_.gate_up.emplace_back(), expected_.gate_up.emplace_back());
      add(desc_of({kHidden, kWidth}), seed + 1, experts_.down.emplace_back(),
          expected_.down.emplace_back());
    }
    experts_.top_k = expected_.top_k = top_k;
    gpu_norm_ = {gpu_.put_vector(scale_), 1e-6F};
  }

  TestMat on_gpu(RowRoles roles, TestMat x) {
    const Mat<float> on_device = gpu_.put_floats(x);
    rms_norm_moe(*gpu_, roles, gpu_norm_, experts_, on_device);
    return gpu_.get(on_device);
  }
  TestMat reference(const TestMat& x) {
    TestMat y = x;
    rms_norm_moe(ref_, {.prompt = x.rows()}, {{scale_.data(), kHidden}, 1e-6F}, expected_, y.f32());
    return y;
  }

 private:
  void add(const LinearDesc& desc, uint32_t seed, Linear& to, Linear& expected) {
    const TestWeight weight(desc, seed);
    to = gpu_.put_linear(desc, weight, false);
    kept_.push_back(pack(ref_, desc, weight));
    expected = kept_.back().linear;
  }

  TestGpu gpu_;
  Ref ref_;
  Experts experts_;
  Experts expected_;
  std::vector<TestLinear> kept_;
  std::vector<float> scale_;
  RmsNorm gpu_norm_;
};

std::vector<int64_t> numbers(int64_t first, int64_t count) {
  std::vector<int64_t> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), first);
  return out;
}

// 700 rows: 175 for each of 8 experts, 44 for each of 128, 700 for each of 3.
class GpuExperts : public testing::TestWithParam<std::pair<int64_t, int64_t>> {
 protected:
  ExpertsOf experts_{GetParam().first, GetParam().second};
  TestMat x_ = TestMat::normal(DType::f32, 700, ExpertsOf::kHidden, 4);
};

TEST_P(GpuExperts, AreTheReferences) {
  const TestMat expected = experts_.reference(x_);
  EXPECT_TRUE(close(experts_.on_gpu({.prompt = 700}, x_), expected, kSumTolerance));
  for (const int64_t rows : {1, 7, 65, 130}) {
    const std::vector<int64_t> some = numbers(300, rows);
    const TestMat x = x_.pick(some);
    EXPECT_TRUE(close(experts_.on_gpu({.generated = rows}, x), expected.pick(some), kSumTolerance))
        << rows;
    EXPECT_TRUE(close(experts_.on_gpu({.prompt = rows}, x), expected.pick(some), kSumTolerance))
        << rows;
  }
}

TEST_P(GpuExperts, ARowHasTheSameBitsAloneAndAmongOthers) {
  const TestMat all = experts_.on_gpu({.prompt = 500, .generated = 200}, x_);
  for (const int64_t rows : {1, 9, 16, 17, 64, 333}) {
    const TestMat x = x_.pick(numbers(100, rows));
    for (const RowRoles roles : {RowRoles{.prompt = rows}, RowRoles{.generated = rows}}) {
      const TestMat some = experts_.on_gpu(roles, x);
      for (int64_t r = 0; r < rows; ++r) {
        ASSERT_TRUE(same_bits(some, r, all, 100 + r)) << "row " << r << " of " << rows;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GpuExperts,
                         testing::Values(std::pair{8, 2}, std::pair{128, 8}, std::pair{3, 3},
                                         std::pair{1, 1}));

/// Text attention of both backends, each with its own cache.
class AttentionOf {
 public:
  AttentionOf(TestGpu& gpu, int64_t heads, int64_t kv_heads, int64_t pages)
      : gpu_(gpu), heads_(heads), kv_heads_(kv_heads) {
    const KvShape shape{kv_heads, 128, DType::bf16};
    const int64_t bytes = kv_page_bytes(ref_, shape);
    EXPECT_EQ(bytes, kv_page_bytes(*gpu, shape));
    ref_pages_ = std::move(*Arena::create("pages", bytes * pages));
    ref_cache_ = {ref_pages_.take<std::byte>(bytes * pages), bytes, shape};
    gpu_cache_ = {gpu.memory().take<std::byte>(bytes * pages), bytes, shape};
    weight_ = norm_weights(128);
    gpu_weight_ = gpu.put_vector(weight_);
    const StepCapacity capacity{.rows = 2048,
                                .sequences = 64,
                                .decode_rows = 16,
                                .max_model_len = 8192,
                                .num_heads = heads,
                                .num_kv_heads = kv_heads,
                                .head_dim = 128};
    list_memory_ = std::move(*make_device_arena("lists", StepLists::device_bytes(capacity)));
    lists_.emplace(capacity, list_memory_);
  }

  struct Found {
    TestMat gpu;
    TestMat ref;
  };
  /// One step; the rows of sequence s are those of `tokens[s]` from its start.
  Found step(const std::vector<TestMat*>& tokens, std::vector<SequenceRows> sequences,
             bool with_reference = true) {
    int64_t rows = 0;
    for (SequenceRows& s : sequences) {
      s.first_row = rows;
      rows += s.rows;
    }
    TestMat qkv(DType::bf16, rows, (heads_ + 2 * kv_heads_) * 128);
    TestMat cosine(DType::f32, rows, 64, 0);
    TestMat sine(DType::f32, rows, 64, 0);
    for (size_t s = 0; s < sequences.size(); ++s) {
      for (int64_t i = 0; i < sequences[s].rows; ++i) {
        const int64_t row = sequences[s].first_row + i;
        const int64_t position = sequences[s].start + i;
        for (int64_t c = 0; c < qkv.cols(); ++c) qkv.set(row, c, tokens[s]->at(position, c));
        for (int64_t c = 0; c < 64; ++c) {
          const double angle = static_cast<double>(position) * std::pow(1e4, -c / 64.0);
          cosine.set(row, c, static_cast<float>(std::cos(angle)));
          sine.set(row, c, static_cast<float>(std::sin(angle)));
        }
      }
    }
    const std::vector<int32_t> zeros(static_cast<size_t>(3 * rows), 0);
    lists_->place(*gpu_, {.tokens = {zeros.data(), rows},
                          .positions = make_mat<const int32_t>(zeros.data(), 3, rows),
                          .sequences = sequences});
    const int64_t mark = gpu_.memory().used();
    const ActMat out = gpu_.room(DType::bf16, rows, heads_ * 128);
    const RopeTable rope{gpu_.put_floats(cosine), gpu_.put_floats(sine)};
    attention(*gpu_, gpu_.put(qkv), {heads_, {gpu_weight_}, {gpu_weight_}}, rope, sequences,
              gpu_cache_, out);
    Found found{gpu_.get(out), TestMat(DType::bf16, rows, heads_ * 128)};
    gpu_.memory().rewind(mark);
    if (with_reference) {
      const Vec<const float> w{weight_.data(), 128};
      attention(ref_, qkv.act(), {heads_, {w}, {w}}, {cosine.f32(), sine.f32()}, sequences,
                ref_cache_, found.ref.act());
    }
    return found;
  }

 private:
  TestGpu& gpu_;
  Ref ref_;
  int64_t heads_;
  int64_t kv_heads_;
  Arena ref_pages_;
  KvLayer ref_cache_;
  KvLayer gpu_cache_;
  std::vector<float> weight_;
  Vec<const float> gpu_weight_;
  Arena list_memory_;
  std::optional<StepLists> lists_;
};

std::vector<int32_t> shuffled_pages(int32_t first, int32_t count) {
  std::vector<int32_t> out;
  out.reserve(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) out.push_back(first + (i * 7 + 3) % count);
  return out;
}

struct Heads {
  int64_t heads;
  int64_t kv_heads;
};

TEST(GpuAttention, IsTheReferencesForPromptsAnswersAndBothTogether) {
  for (const Heads h : {Heads{4, 2}, Heads{16, 8}, Heads{4, 1}, Heads{8, 1}, Heads{3, 3}}) {
    SCOPED_TRACE(testing::Message() << h.heads << " / " << h.kv_heads << " heads");
    TestGpu gpu;
    AttentionOf both(gpu, h.heads, h.kv_heads, 41);
    const int64_t cols = (h.heads + 2 * h.kv_heads) * 128;
    TestMat a = TestMat::normal(DType::bf16, 600, cols, 1);
    TestMat b = TestMat::normal(DType::bf16, 600, cols, 2);
    const std::vector<int32_t> pages_a = shuffled_pages(0, 10);
    const std::vector<int32_t> pages_b = shuffled_pages(10, 11);
    const auto rows = [](int64_t start, int64_t n, const std::vector<int32_t>& pages, Role role) {
      return SequenceRows{0, n, start, role, pages.data()};
    };
    const auto check = [&](const AttentionOf::Found& f) { EXPECT_TRUE(close(f.gpu, f.ref, 8e-3)); };
    check(both.step({&a}, {rows(0, 133, pages_a, Role::prompt)}));
    check(both.step({&b, &a},
                    {rows(0, 64, pages_b, Role::prompt), rows(133, 1, pages_a, Role::generated)}));
    check(both.step(
        {&b, &a}, {rows(64, 300, pages_b, Role::prompt), rows(134, 5, pages_a, Role::generated)}));
    check(both.step({&a, &b}, {rows(139, 40, pages_a, Role::generated),
                               rows(364, 1, pages_b, Role::generated)}));
    check(both.step({&a, &b}, {rows(179, 1, pages_a, Role::generated),
                               rows(365, 1, pages_b, Role::generated)}));
  }
}

TEST(GpuAttention, ARowHasTheSameBitsHoweverItsSequenceWasCut) {
  const int64_t heads = 4;
  const int64_t kv_heads = 2;
  TestMat a = TestMat::normal(DType::bf16, 700, (heads + 2 * kv_heads) * 128, 1);
  TestMat b = TestMat::normal(DType::bf16, 700, (heads + 2 * kv_heads) * 128, 2);
  const std::vector<int32_t> pages_a = shuffled_pages(0, 11);
  const std::vector<int32_t> pages_b = shuffled_pages(11, 11);
  for (const Role role : {Role::prompt, Role::generated}) {
    TestGpu gpu;
    AttentionOf one(gpu, heads, kv_heads, 22);
    const TestMat all =
        one.step({&a}, {{0, 700, 0, role, pages_a.data()}}, /*with_reference=*/false).gpu;
    for (const int64_t chunk : {1, 7, 64, 100}) {
      AttentionOf cut(gpu, heads, kv_heads, 22);
      const int64_t end = chunk == 1 ? 140 : 700;
      for (int64_t first = 0; first < end; first += chunk) {
        const int64_t rows = std::min(chunk, end - first);
        const TestMat some =
            cut.step({&a, &b},
                     {{0, rows, first, role, pages_a.data()}, {0, 1, first, role, pages_b.data()}},
                     /*with_reference=*/false)
                .gpu;
        for (int64_t i = 0; i < rows; ++i) {
          ASSERT_TRUE(same_bits(some, i, all, first + i))
              << "chunks of " << chunk << ", row " << first + i
              << (role == Role::prompt ? " prompt" : " generated");
        }
      }
    }
  }
}

TEST(GpuUpload, ArrivesWholeThoughItsSourceChangesAtOnce) {
  TestGpu gpu;
  struct Part {
    int64_t offset;
    int64_t count;
  };
  const std::vector<Part> parts{{0, 4},           {4, 512},        {516, 3},           {519, 516},
                                {1036, 4000},     {5036, 4004},    {9040, 1},          {9041, 4000},
                                {16384, 9 << 20}, {10 << 20, 700}, {11 << 20, 5 << 20}};
  const int64_t total = 16LL << 20;
  const ActMat room = gpu.memory().take_act(DType::bf16, 1, total / 2);
  std::vector<uint8_t> expected(static_cast<size_t>(total));
  std::vector<uint8_t> source;
  for (const Part& part : parts) {
    source.resize(static_cast<size_t>(part.count));
    for (size_t i = 0; i < source.size(); ++i) {
      source[i] = static_cast<uint8_t>(i * 31 + i / 251 + static_cast<size_t>(part.offset) % 97);
    }
    std::copy(source.begin(), source.end(), expected.begin() + part.offset);
    upload(*gpu, static_cast<uint8_t*>(room.data) + part.offset, source.data(), part.count);
    std::fill(source.begin(), source.end(), uint8_t{0xee});
  }
  const ActMat host = read_back(*gpu, room);
  EXPECT_EQ(std::memcmp(host.data, expected.data(), expected.size()), 0);
}

TEST(GpuVisionAttention, IsTheReferencesInEverySegment) {
  for (const int64_t head_dim : {64, 72}) {
    for (const int64_t heads : {1, 3}) {
      TestGpu gpu;
      Ref ref;
      const std::vector<int64_t> ends{0, 4, 68, 168, 945};
      const int64_t n = ends.back();
      TestMat qkv = TestMat::normal(DType::bf16, n, 3 * heads * head_dim, 1);
      TestMat cosine(DType::f32, n, head_dim / 2, 0);
      TestMat sine(DType::f32, n, head_dim / 2, 0);
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t c = 0; c < head_dim / 2; ++c) {
          const double angle = static_cast<double>(r % 40) * std::pow(1e4, -c / 36.0);
          cosine.set(r, c, static_cast<float>(std::cos(angle)));
          sine.set(r, c, static_cast<float>(std::sin(angle)));
        }
      }
      TestMat out(DType::bf16, n, heads * head_dim);
      const ActMat dqkv = gpu.put(qkv);
      const ActMat dout = gpu.room(DType::bf16, n, heads * head_dim);
      vision_attention(*gpu, dqkv, heads, {gpu.put_floats(cosine), gpu.put_floats(sine)}, ends,
                       dout);
      vision_attention(ref, qkv.act(), heads, {cosine.f32(), sine.f32()}, ends, out.act());
      EXPECT_TRUE(close(gpu.get(dout), out, 8e-3)) << head_dim << ", " << heads << " heads";
    }
  }
}

}  // namespace
}  // namespace qvl
