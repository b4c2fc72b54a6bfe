#include "cli/sampling_settings.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

std::string refusal(const std::string& name, const std::string& value) {
  SamplingFlags flags;
  const Status set = set_sampling(flags, name, value);
  return set ? "accepted" : set.error().message();
}

TEST(SamplingSettings, ANameSetsItsValue) {
  SamplingFlags flags;
  ASSERT_TRUE(set_sampling(flags, "temperature", "0.5"));
  ASSERT_TRUE(set_sampling(flags, "top-k", "7"));
  ASSERT_TRUE(set_sampling(flags, "seed", "18446744073709551615"));
  ASSERT_TRUE(set_sampling(flags, "ignore_eos", "on"));
  ASSERT_TRUE(set_sampling(flags, "repetition_guard", "off"));
  EXPECT_EQ(flags.temperature, 0.5F);
  EXPECT_EQ(flags.top_k, 7);
  EXPECT_EQ(flags.seed, 18446744073709551615U);
  EXPECT_TRUE(flags.ignore_eos);
  EXPECT_EQ(flags.repetition_guard, "off");
}

TEST(SamplingSettings, DefaultGoesBackToTheCheckpoint) {
  SamplingFlags flags;
  flags.temperature = 0.5F;
  flags.seed = 3;
  ASSERT_TRUE(set_sampling(flags, "temperature", "default"));
  ASSERT_TRUE(set_sampling(flags, "seed", "default"));
  EXPECT_EQ(flags.temperature, std::nullopt);
  EXPECT_EQ(flags.seed, 0U);
}

TEST(SamplingSettings, WhatIsNotAValueIsRefused) {
  EXPECT_NE(refusal("temperature", "hot").find("/set temperature"), std::string::npos);
  EXPECT_NE(refusal("temperature", "0.5x").find("a number or default"), std::string::npos);
  EXPECT_NE(refusal("top_k", "1.5").find("a whole number"), std::string::npos);
  EXPECT_NE(refusal("top_k", "").find("found ''"), std::string::npos);
  EXPECT_NE(refusal("ignore_eos", "maybe").find("on or off"), std::string::npos);
  EXPECT_NE(refusal("warmth", "1").find("expected one of temperature, top_k"), std::string::npos);
}

}  // namespace
}  // namespace qvl
