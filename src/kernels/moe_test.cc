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
    std::vector<float> logits;
    for (int e = 0; e < 128; ++e) logits.push_back(2.0F * random.normal());
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

}  // namespace
}  // namespace qvl
