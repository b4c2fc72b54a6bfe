#include "kernels/moe.h"

#include "kernels/kernel_testing.h"

namespace qvl {
namespace {

struct Choice {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

Choice choose(const std::vector<float>& logits, size_t top_k) {
  Choice out{std::vector<int32_t>(top_k, -1), std::vector<float>(top_k, -1.0F)};
  const auto k = static_cast<int64_t>(top_k);
  choose_experts({logits.data(), static_cast<int64_t>(logits.size())}, {out.ids.data(), k},
                 {out.weights.data(), k});
  return out;
}

using Ids = std::vector<int32_t>;

TEST(ChooseExperts, TakesTheLargestLogitsInTheOrderOfTheirIds) {
  const float ln3 = std::log(3.0F);
  const Choice c = choose({-1.0F, 1.0F + ln3, 0.5F, 1.0F, -7.0F}, 2);
  EXPECT_EQ(c.ids, (Ids{1, 3}));
  EXPECT_FLOAT_EQ(c.weights[0], 0.75F);  // e^ln 3 to 1
  EXPECT_FLOAT_EQ(c.weights[1], 0.25F);
}

TEST(ChooseExperts, OfEqualLogitsTakesThoseWithSmallerIds) {
  EXPECT_EQ(choose({2, 2, 2, 2}, 2).ids, (Ids{0, 1}));
  EXPECT_EQ(choose({1, 2, 1, 2, 1, 3}, 4).ids, (Ids{0, 1, 3, 5}));
  EXPECT_EQ(choose({0.0F, -0.0F, 0.0F}, 1).ids, (Ids{0}));
}

TEST(ChooseExperts, MayTakeAllOfThem) {
  const Choice c = choose({5, 5, 5}, 3);
  EXPECT_EQ(c.ids, (Ids{0, 1, 2}));
  for (const float w : c.weights) EXPECT_FLOAT_EQ(w, 1.0F / 3.0F);
}

TEST(ChooseExperts, ALoneExpertHasWeightOne) {
  const Choice c = choose({-80, -90, -70}, 1);
  EXPECT_EQ(c.ids, (Ids{2}));
  EXPECT_EQ(c.weights[0], 1.0F);
}

TEST(ChooseExperts, LargeLogitsDoNotOverflow) {
  const Choice c = choose({1000, -1000, 999}, 2);
  EXPECT_EQ(c.ids, (Ids{0, 2}));
  EXPECT_FLOAT_EQ(c.weights[0] / c.weights[1], std::exp(1.0F));
}

TEST(ChooseExperts, AgreesWithTheSoftmaxOverAllDividedByTheSumOfTheChosen) {
  Random random(1);
  for (int n = 0; n < 100; ++n) {
    std::vector<float> logits(128);
    for (float& logit : logits) logit = 2.0F * random.normal();
    std::vector<int32_t> order(128);
    for (int e = 0; e < 128; ++e) order[static_cast<size_t>(e)] = e;
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
    });
    order.resize(8);
    std::sort(order.begin(), order.end());
    const Choice c = choose(logits, 8);
    ASSERT_EQ(c.ids, order);
    double all = 0.0;
    for (const float v : logits) all += std::exp(v);
    double chosen = 0.0;
    for (const int32_t e : order) chosen += std::exp(logits[static_cast<size_t>(e)]) / all;
    for (size_t i = 0; i < 8; ++i) {
      const double p = std::exp(logits[static_cast<size_t>(order[i])]) / all;
      ASSERT_NEAR(c.weights[i], p / chosen, 1e-6 * p / chosen);
    }
  }
}

TEST(ChooseExperts, GivesDistinctIdsWhateverTheLogitsAre) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(choose({nan, nan, nan, nan}, 3).ids, (Ids{0, 1, 2}));
  for (const std::vector<float>& logits :
       std::vector<std::vector<float>>{{nan, 1, 2, 3},
                                       {1, nan, 2, 3},
                                       {3, 2, nan, nan},
                                       {inf, inf, 0, -inf},
                                       {-inf, -inf, -inf, -inf}}) {
    const Ids ids = choose(logits, 3).ids;
    EXPECT_TRUE(ids[0] >= 0 && ids[0] < ids[1] && ids[1] < ids[2] && ids[2] < 4);
  }
  for (const float w : choose({nan, 1, 2}, 2).weights) EXPECT_TRUE(std::isnan(w));
}

/// The experts of a layer as a file would hold them.
struct TestExperts {
  MoeShape shape;
  LinearDesc router_desc;
  std::vector<LinearDesc> gate_up_desc;
  std::vector<LinearDesc> down_desc;
  TestWeight router;
  std::vector<TestWeight> gate_up;
  std::vector<TestWeight> down;
  std::vector<float> norm_weight;

  /// The weights of experts and projections take turns with `weights`; the router has the first.
  TestExperts(const MoeShape& s, const std::vector<WeightFormat>& weights, ActFormat act,
              uint32_t seed)
      : shape(s),
        router_desc{.out = s.num_experts,
                    .in = s.hidden_size,
                    .weight = weights[0],
                    .activation = ActFormat::f32},
        router(router_desc, seed) {
    size_t turn = 0;
    const auto desc = [&](int64_t out, int64_t in, LinearKind kind) {
      const WeightFormat weight = weights[turn++ % weights.size()];
      return LinearDesc{out, in, weight, act, kind, weight == WeightFormat::int4 ? 8 : 0};
    };
    for (int64_t e = 0; e < s.num_experts; ++e) {
      gate_up_desc.push_back(desc(2 * s.moe_intermediate_size, s.hidden_size, LinearKind::gate_up));
      down_desc.push_back(desc(s.hidden_size, s.moe_intermediate_size, LinearKind::plain));
      gate_up.emplace_back(gate_up_desc.back(), ++seed);
      down.emplace_back(down_desc.back(), ++seed);
    }
    Random random(++seed);
    for (int64_t i = 0; i < s.hidden_size; ++i) norm_weight.push_back(1 + 0.3F * random.normal());
  }

  RmsNorm norm() const { return {{norm_weight.data(), shape.hidden_size}, 1e-6F}; }
};

/// Packed experts with their memory.
struct PackedExperts {
  std::vector<TestLinear> memory;
  Experts experts;
};

template <class Backend>
PackedExperts pack(Backend& backend, const TestExperts& from) {
  PackedExperts out;
  const auto add = [&](const LinearDesc& desc, const TestWeight& weight) {
    out.memory.push_back(pack(backend, desc, weight));
    return out.memory.back().linear;
  };
  out.experts.top_k = from.shape.top_k;
  out.experts.router = add(from.router_desc, from.router);
  for (size_t e = 0; e < from.gate_up.size(); ++e) {
    out.experts.gate_up.push_back(add(from.gate_up_desc[e], from.gate_up[e]));
    out.experts.down.push_back(add(from.down_desc[e], from.down[e]));
  }
  return out;
}

/// A small residual stream: what the experts add is not lost in it.
TestMat stream(int64_t rows, int64_t cols, uint32_t seed) {
  TestMat x(DType::f32, rows, cols);
  Random random(seed);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      x.set(r, c, (random.normal() + 0.3F) * 0.01F * static_cast<float>(1 + r % 5));
    }
  }
  return x;
}

/// float32 differs in the order of sums. With bf16, a value near the middle of two neighbours may
/// round to the other one: one unit is 2^-8.
double tolerance(ActFormat act) { return act == ActFormat::bf16 ? 0x1p-8 : 2e-6; }

TEST(RmsNormMoe, AgreesWithTheReference) {
  const MoeShape shapes[] = {
      {.rows = 99, .hidden_size = 99, .moe_intermediate_size = 19, .num_experts = 8, .top_k = 2},
      {.rows = 99, .hidden_size = 64, .moe_intermediate_size = 48, .num_experts = 128, .top_k = 8},
      {.rows = 99, .hidden_size = 131, .moe_intermediate_size = 70, .num_experts = 3, .top_k = 3},
  };
  for_all_formats([&](Isa isa, WeightFormat weight, ActFormat act) {
    for (const MoeShape& shape : shapes) {
      const TestExperts from(shape, {weight}, act, 1);
      Ref ref;
      TestCpu cpu(isa, 2, {.moe = shape});
      const PackedExperts reference = pack(ref, from);
      const PackedExperts packed = pack(*cpu, from);
      for (const int64_t rows : {1, 19, 99}) {
        TestMat expected = stream(rows, shape.hidden_size, 2);
        TestMat found = expected;
        rms_norm_moe(ref, {.prompt = rows}, from.norm(), reference.experts, expected.f32());
        rms_norm_moe(*cpu, {.prompt = rows}, from.norm(), packed.experts, found.f32());
        ASSERT_TRUE(close(found, expected, tolerance(act)))
            << rows << " rows, " << shape.num_experts << " experts";
      }
    }
  });
}

TEST(RmsNormMoe, ExpertsOfALayerMayDifferInFormat) {
  const MoeShape shape{
      .rows = 19, .hidden_size = 96, .moe_intermediate_size = 40, .num_experts = 9, .top_k = 4};
  const std::vector<WeightFormat> formats = {WeightFormat::bf16, WeightFormat::f32,
                                             WeightFormat::int4, WeightFormat::f16,
                                             WeightFormat::bf16};
  for (const Isa isa : supported_isas()) {
    for (const ActFormat act : kActFormats) {
      SCOPED_TRACE(testing::Message()
                   << isa_name(isa) << ", activation format " << static_cast<int>(act));
      const TestExperts from(shape, formats, act, 13);
      Ref ref;
      TestCpu cpu(isa, 2, {.moe = shape});
      const PackedExperts reference = pack(ref, from);
      const PackedExperts packed = pack(*cpu, from);
      TestMat expected = stream(19, 96, 14);
      TestMat found = expected;
      rms_norm_moe(ref, {.prompt = 19}, from.norm(), reference.experts, expected.f32());
      rms_norm_moe(*cpu, {.prompt = 19}, from.norm(), packed.experts, found.f32());
      ASSERT_TRUE(close(found, expected, tolerance(act)));
    }
  }
}

/// One row of ones through three experts of one hidden element, two of them chosen.
template <class Backend>
void expect_the_sum_by_hand(Backend& backend) {
  Arena arena = std::move(*Arena::create("weights", 4096));
  const auto packed = [&](int64_t out, int64_t in, LinearKind kind, std::vector<float> values) {
    const LinearDesc desc{out, in, WeightFormat::f32, ActFormat::f32, kind};
    const auto read = [&](int64_t first, int64_t) { return values.data() + first * in; };
    return pack_linear(backend, desc, read, nullptr, arena);
  };
  const auto gate_up = [&](std::vector<float> v) { return packed(2, 2, LinearKind::gate_up, v); };
  const auto down = [&](std::vector<float> v) { return packed(2, 1, LinearKind::plain, v); };
  Experts experts;
  experts.top_k = 2;
  // Logits ln 3, -10 and 0: weights ¾ and ¼ for the first and the last.
  experts.router = packed(3, 2, LinearKind::plain, {std::log(3.0F), 0, -5, -5, 0, 0});
  experts.gate_up = {gate_up({1, 0, 0, 2}), gate_up({9, 9, 9, 9}), gate_up({0, 2, -1, 0})};
  experts.down = {down({4, 8}), down({99, 99}), down({4, 0})};
  const std::vector<float> ones = {1.0F, 1.0F};
  TestMat x(DType::f32, 1, 2);
  x.set(0, 0, 1.0F);
  x.set(0, 1, 1.0F);
  rms_norm_moe(backend, {.generated = 1}, {{ones.data(), 2}, 0.0F}, experts, x.f32());
  // silu(1)·2 = 1.4621172 and silu(2)·(-1) = -1.7615942
  EXPECT_NEAR(x.at(0, 0), 1 + 0.75 * 4 * 1.4621172 - 0.25 * 4 * 1.7615942, 2e-6);
  EXPECT_NEAR(x.at(0, 1), 1 + 0.75 * 8 * 1.4621172, 2e-6);
}

TEST(RmsNormMoe, AddsTheWeightedResultsOfTheChosenExperts) {
  Ref ref;
  expect_the_sum_by_hand(ref);
  for (const Isa isa : supported_isas()) {
    TestCpu cpu(isa, 1,
                {.moe = {.rows = 1,
                         .hidden_size = 2,
                         .moe_intermediate_size = 1,
                         .num_experts = 3,
                         .top_k = 2}});
    expect_the_sum_by_hand(*cpu);
  }
}

TestMat run_moe(Cpu& cpu, const TestExperts& from, const PackedExperts& packed, const TestMat& x) {
  TestMat y = x;
  rms_norm_moe(cpu, {.generated = x.rows()}, from.norm(), packed.experts, y.f32());
  return y;
}

TEST(RmsNormMoe, OneExpertOfWeightOneIsADenseLayer) {
  // More rows than one block of sums holds, all of them at one expert.
  const MoeShape shape{
      .rows = 450, .hidden_size = 67, .moe_intermediate_size = 38, .num_experts = 1, .top_k = 1};
  for_all_formats([&](Isa isa, WeightFormat weight, ActFormat act) {
    const TestExperts from(shape, {weight}, act, 3);
    TestCpu cpu(isa, 2, {.max_rows = 450, .max_in = 67, .max_out = 76, .moe = shape});
    const PackedExperts packed = pack(*cpu, from);
    const TestMat x = stream(450, 67, 4);
    const TestMat found = run_moe(*cpu, from, packed, x);
    TestMat expected = x;
    TestMat mid(act_dtype(act), 450, 38);
    rms_norm_gate_up_silu(*cpu, {.prompt = 450}, expected.f32(), from.norm(),
                          packed.experts.gate_up[0], mid.act());
    linear_residual(*cpu, {.prompt = 450}, mid.act(), packed.experts.down[0], expected.f32());
    for (int64_t r = 0; r < 450; ++r) ASSERT_TRUE(same_bits(found, r, expected, r));
  });
}

TEST(RmsNormMoe, OfEqualLogitsTheFirstExpertsAreTaken) {
  // A router of zeros: as if there were only the first two experts.
  const MoeShape shape{
      .rows = 19, .hidden_size = 36, .moe_intermediate_size = 20, .num_experts = 7, .top_k = 2};
  for (const Isa isa : supported_isas()) {
    const TestExperts from(shape, {WeightFormat::bf16}, ActFormat::bf16, 5);
    TestCpu cpu(isa, 2, {.moe = shape});
    PackedExperts all = pack(*cpu, from);
    LinearDesc desc = from.router_desc;
    desc.weight = WeightFormat::f32;
    const std::vector<float> zeros(static_cast<size_t>(7 * 36), 0.0F);
    const auto read = [&](int64_t first, int64_t) { return zeros.data() + first * 36; };
    Arena arena = std::move(*Arena::create("routers", 2 * packed_bytes(*cpu, desc)));
    all.experts.router = pack_linear(*cpu, desc, read, nullptr, arena);
    Experts two = all.experts;
    desc.out = 2;
    two.router = pack_linear(*cpu, desc, read, nullptr, arena);
    two.gate_up.resize(2);
    two.down.resize(2);
    const TestMat x = stream(19, 36, 6);
    TestMat expected = x;
    rms_norm_moe(*cpu, {.prompt = 19}, from.norm(), two, expected.f32());
    const TestMat found = run_moe(*cpu, from, all, x);
    for (int64_t r = 0; r < 19; ++r) ASSERT_TRUE(same_bits(found, r, expected, r));
  }
}

TEST(RmsNormMoe, RowsHaveTheSameBitsInAnyCompanyAndOnAnyNumberOfThreads) {
  const MoeShape shapes[] = {
      {.rows = 33, .hidden_size = 99, .moe_intermediate_size = 37, .num_experts = 8, .top_k = 2},
      {.rows = 33, .hidden_size = 40, .moe_intermediate_size = 24, .num_experts = 128, .top_k = 8},
  };
  for (const Isa isa : supported_isas()) {
    for (const ActFormat act : kActFormats) {
      for (const MoeShape& shape : shapes) {
        const TestExperts from(shape, {WeightFormat::bf16}, act, 7);
        TestCpu packer(isa, 1, {.moe = shape});
        const PackedExperts packed = pack(*packer, from);
        TestMat x = stream(33, shape.hidden_size, 8);
        expect_rows_independent(
            isa, {.moe = shape}, x, DType::f32, shape.hidden_size,
            [&](Cpu& cpu, TestMat& some, TestMat& y) { y = run_moe(cpu, from, packed, some); });
      }
    }
  }
}

TEST(RmsNormMoe, ALongStepGoesInPassesAndKeepsItsBits) {
  const int64_t rows = 4100;
  const MoeShape shape{
      .rows = rows, .hidden_size = 16, .moe_intermediate_size = 8, .num_experts = 5, .top_k = 2};
  const TestExperts from(shape, {WeightFormat::bf16}, ActFormat::bf16, 9);
  TestCpu cpu(supported_isas().back(), 2, {.moe = shape});
  const PackedExperts packed = pack(*cpu, from);
  const TestMat x = stream(rows, 16, 10);
  const TestMat all = run_moe(*cpu, from, packed, x);
  for (int64_t first = 0; first < rows; first += 82) {
    std::vector<int64_t> ids;
    for (int64_t r = first; r < first + 82; ++r) ids.push_back(r);
    const TestMat some = run_moe(*cpu, from, packed, x.pick(ids));
    for (int64_t i = 0; i < 82; ++i) ASSERT_TRUE(same_bits(some, i, all, first + i));
  }
}

TEST(RmsNormMoe, NotANumberReachesAllOfItsRowAndNoOther) {
  const MoeShape shape{
      .rows = 5, .hidden_size = 19, .moe_intermediate_size = 7, .num_experts = 4, .top_k = 2};
  for_all_formats([&](Isa isa, WeightFormat weight, ActFormat act) {
    const TestExperts from(shape, {weight}, act, 11);
    TestCpu cpu(isa, 2, {.moe = shape});
    const PackedExperts packed = pack(*cpu, from);
    TestMat x = stream(5, 19, 12);
    x.set(1, 7, std::numeric_limits<float>::quiet_NaN());
    x.set(3, 0, std::numeric_limits<float>::infinity());
    const TestMat y = run_moe(*cpu, from, packed, x);
    for (int64_t r = 0; r < 5; ++r) {
      for (int64_t c = 0; c < 19; ++c) ASSERT_EQ(std::isnan(y.at(r, c)), r == 1 || r == 3);
    }
  });
}

}  // namespace
}  // namespace qvl
