#include "model/weight_reader.h"

#include <gtest/gtest.h>

#include <limits>

#include "io/dummy.h"
#include "io/memory_tensors.h"

namespace qvl {
namespace {

TensorInfo info(DType dtype, std::string_view quantised = {}, int64_t group_size = 0) {
  TensorInfo tensor;
  tensor.dtype = dtype;
  tensor.shape = {2, 16};
  tensor.quantised = quantised;
  tensor.group_size = group_size;
  return tensor;
}

TEST(HeldFormat, PlainWeightsKeepTheirOwn) {
  const TensorInfo half = info(DType::f16);
  const TensorInfo brain = info(DType::bf16);
  for (const ActFormat act : {ActFormat::f32, ActFormat::bf16}) {
    EXPECT_EQ(held_format({&half, &half}, act, true), WeightFormat::f16);
    EXPECT_EQ(held_format({&brain}, act, true), WeightFormat::bf16);
    EXPECT_EQ(held_format({&brain, &half}, act, true), WeightFormat::f32) << "neither holds both";
  }
}

TEST(HeldFormat, FourBitsStayWhereTheyCanBeMultiplied) {
  const TensorInfo q = info(DType::i4, "INT4", 8);
  const TensorInfo other_groups = info(DType::i4, "INT4", 16);
  EXPECT_EQ(held_format({&q, &q}, ActFormat::bf16, true), WeightFormat::int4);
  EXPECT_EQ(held_format({&q, &q}, ActFormat::bf16, false), WeightFormat::bf16);
  EXPECT_EQ(held_format({&q, &q}, ActFormat::f32, false), WeightFormat::f32);
  EXPECT_EQ(held_format({&q, &other_groups}, ActFormat::bf16, true), WeightFormat::bf16);
}

TEST(HeldFormat, QuantisedWeightsTakeTheTypeOfActivationsUnlessAPlainOneNeedsMore) {
  const TensorInfo fp8 = info(DType::f32, "FP8");
  const TensorInfo brain = info(DType::bf16);
  const TensorInfo half = info(DType::f16);
  EXPECT_EQ(held_format({&fp8}, ActFormat::bf16, true), WeightFormat::bf16);
  EXPECT_EQ(held_format({&fp8}, ActFormat::f32, true), WeightFormat::f32);
  EXPECT_EQ(held_format({&fp8, &brain}, ActFormat::bf16, true), WeightFormat::bf16);
  EXPECT_EQ(held_format({&fp8, &half}, ActFormat::bf16, true), WeightFormat::f32);
}

class WeightReaderTest : public testing::Test {
 protected:
  WeightReaderTest() {
    tensors_.add<float>("a", DType::f32, {2, 2}, {1.0F, 2.0F, 3.0F, 4.0F});
    tensors_.add<float>("b", DType::f32, {3, 2}, {5.0F, 6.0F, 7.0F, 8.0F, 9.0F, 1.00390625F});
  }

  WeightParts parts() const { return {tensors_.find("a"), tensors_.find("b")}; }

  int64_t read_bytes_ = 0;
  MemoryTensors tensors_;
};

TEST_F(WeightReaderTest, RowsOfSeveralPartsFollowEachOther) {
  const auto progress = [&](int64_t bytes) { read_bytes_ = bytes; };
  WeightReader reader(tensors_, LoadProgress(progress));
  const auto* rows = static_cast<const float*>(reader.rows(parts(), WeightFormat::f32, 1, 3));
  EXPECT_EQ(std::vector<float>(rows, rows + 6), (std::vector<float>{3, 4, 5, 6, 7, 8}));
  reader.finish();
  EXPECT_EQ(read_bytes_, 24);
  EXPECT_EQ(tensors_.released, (std::set<std::string>{"a", "b"}));
}

TEST_F(WeightReaderTest, Bfloat16IsRoundedToNearestEven) {
  const auto progress = [](int64_t) {};
  WeightReader reader(tensors_, LoadProgress(progress));
  const auto* rows = static_cast<const bf16*>(reader.rows(parts(), WeightFormat::bf16, 4, 1));
  EXPECT_EQ(static_cast<float>(rows[0]), 9.0F);
  EXPECT_EQ(static_cast<float>(rows[1]), 1.0F);  // halfway between 1 and 1.0078125
}

TEST_F(WeightReaderTest, TheFirstWeightThatIsNoNumberIsNamed) {
  tensors_.add<float>("b", DType::f32, {1, 2}, {std::numeric_limits<float>::infinity(), 0.0F});
  const auto progress = [](int64_t) {};
  WeightReader reader(tensors_, LoadProgress(progress));
  reader.rows(parts(), WeightFormat::f32, 0, 2);
  EXPECT_FALSE(reader.error());
  reader.rows(parts(), WeightFormat::f32, 2, 1);
  ASSERT_TRUE(reader.error());
  EXPECT_EQ(reader.error()->detail, "b holds NaN or infinity in rows 0 to 0");
}

/// Tensors large enough to be shared by threads, with rows that do not divide evenly.
class SharedReadingTest : public testing::Test {
 protected:
  static constexpr int64_t kRows = 1031;
  static constexpr int64_t kCols = 257;

  SharedReadingTest() {
    add("a", 0.5F);
    add("b", 0.25F);
  }
  /// `special` is far from the beginning.
  void add(const char* name, float special) {
    std::vector<float> values(size_t{kRows * kCols});
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 10007) / 64.0F;
    values[size_t{700 * kCols + 3}] = special;
    tensors_.add<float>(name, DType::f32, {kRows, kCols}, values);
  }

  template <class T>
  std::vector<T> read(WeightFormat format, Threads* threads) {
    const auto progress = [](int64_t) {};
    WeightReader reader(tensors_, LoadProgress(progress), threads);
    const auto* const rows = static_cast<const T*>(
        reader.rows({tensors_.find("a"), tensors_.find("b")}, format, 5, 2 * kRows - 9));
    error_ = reader.error();
    return {rows, rows + (2 * kRows - 9) * kCols};
  }

  MemoryTensors tensors_;
  std::optional<Error> error_;
  Threads threads_{3};
};

TEST_F(SharedReadingTest, ThreadsReadWhatOneReads) {
  EXPECT_EQ(read<float>(WeightFormat::f32, &threads_), read<float>(WeightFormat::f32, nullptr));
  const auto bits = [](const std::vector<bf16>& values) {
    std::vector<uint16_t> out;
    out.reserve(values.size());
    for (const bf16 v : values) out.push_back(v.bits);
    return out;
  };
  EXPECT_EQ(bits(read<bf16>(WeightFormat::bf16, &threads_)),
            bits(read<bf16>(WeightFormat::bf16, nullptr)));
  EXPECT_FALSE(error_);
}

TEST(SharedMakingTest, ThreadsMakeWhatOneMakes) {
  const auto source = make_dummy_source(*preset_config("2b"));
  const TensorInfo* const tensor = source->find("model.language_model.layers.1.mlp.up_proj.weight");
  ASSERT_NE(tensor, nullptr);
  const int64_t count = 517;
  const auto read = [&](Threads* threads) {
    const auto progress = [](int64_t) {};
    WeightReader reader(*source, LoadProgress(progress), threads);
    const auto* const rows =
        static_cast<const uint16_t*>(reader.rows({tensor}, WeightFormat::bf16, 11, count));
    return std::vector<uint16_t>(rows, rows + count * tensor->cols());
  };
  Threads threads(3);
  EXPECT_EQ(read(&threads), read(nullptr));
}

TEST_F(SharedReadingTest, AnyThreadFindsAWeightThatIsNoNumber) {
  add("b", std::numeric_limits<float>::quiet_NaN());
  for (const WeightFormat format : {WeightFormat::f32, WeightFormat::bf16}) {
    read<std::byte>(format, &threads_);
    ASSERT_TRUE(error_);
    EXPECT_EQ(error_->detail, "b holds NaN or infinity in rows 0 to 1026");
  }
}

}  // namespace
}  // namespace qvl
