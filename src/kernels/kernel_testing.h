#pragma once

/// What the operators' tests share: backends, matrices with room between the rows, comparisons.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/int4_row.h"
#include "core/threads.h"
#include "kernels/linear.h"

namespace qvl {

/// Every instruction set of this machine.
inline std::vector<Isa> supported_isas() {
  std::vector<Isa> out;
  const Result<Isa> best = detect_isa();
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (best && isa <= *best) out.push_back(isa);
  }
  return out;
}

/// A Cpu with what it points to. Scratch memory is as large as the plan for `shapes` says.
class TestCpu {
 public:
  TestCpu(Isa isa, int threads, const OperatorShapes& shapes) : threads_(threads) {
    Arena none;
    const int64_t bytes = scratch_bytes(make_cpu(threads_, none, isa), shapes);
    scratch_ = std::move(*Arena::create("scratch", bytes));
    cpu_ = make_cpu(threads_, scratch_, isa);
  }
  ~TestCpu() { EXPECT_EQ(scratch_.used(), 0); }
  TestCpu(const TestCpu&) = delete;
  TestCpu& operator=(const TestCpu&) = delete;

  Cpu& operator*() { return cpu_; }

 private:
  Threads threads_;
  Arena scratch_;
  Cpu cpu_;
};

/// Normal numbers of a fixed sequence.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float normal() { return distribution_(engine_); }
  int64_t below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> distribution_;
};

/// Rows of activations; between them lies NaN, which whoever reads beyond a row brings into sight.
class TestMat {
 public:
  TestMat(DType dtype, int64_t rows, int64_t cols, int64_t gap = 3)
      : dtype_(dtype), rows_(rows), cols_(cols), stride_(cols + gap) {
    const auto n = static_cast<size_t>(rows * stride_);
    if (dtype == DType::bf16) {
      half_.assign(n, bf16(std::numeric_limits<float>::quiet_NaN()));
    } else {
      full_.assign(n, std::numeric_limits<float>::quiet_NaN());
    }
  }
  static TestMat normal(DType dtype, int64_t rows, int64_t cols, uint32_t seed) {
    TestMat out(dtype, rows, cols);
    Random random(seed);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) out.set(r, c, random.normal());
    }
    return out;
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  ActMat act() {
    void* data = dtype_ == DType::bf16 ? static_cast<void*>(half_.data()) : full_.data();
    return {data, dtype_, rows_, cols_, stride_};
  }
  Mat<float> f32() { return act().as<float>(); }
  float at(int64_t r, int64_t c) const {
    const auto i = static_cast<size_t>(r * stride_ + c);
    return dtype_ == DType::bf16 ? static_cast<float>(half_[i]) : full_[i];
  }
  void set(int64_t r, int64_t c, float v) {
    const auto i = static_cast<size_t>(r * stride_ + c);
    if (dtype_ == DType::bf16) {
      half_[i] = bf16(v);
    } else {
      full_[i] = v;
    }
  }
  /// Rows `ids` of this one.
  TestMat pick(const std::vector<int64_t>& ids) const {
    TestMat out(dtype_, static_cast<int64_t>(ids.size()), cols_, stride_ - cols_);
    for (size_t i = 0; i < ids.size(); ++i) {
      for (int64_t c = 0; c < cols_; ++c) out.set(static_cast<int64_t>(i), c, at(ids[i], c));
    }
    return out;
  }

 private:
  DType dtype_;
  int64_t rows_;
  int64_t cols_;
  int64_t stride_;
  std::vector<float> full_;
  std::vector<bf16> half_;
};

/// Relative L2 error at most `tolerance`; the message names the worst element.
inline testing::AssertionResult close(const TestMat& found, const TestMat& expected,
                                      double tolerance) {
  double error = 0.0;
  double norm = 0.0;
  double worst = -1.0;
  int64_t worst_row = 0;
  int64_t worst_col = 0;
  for (int64_t r = 0; r < expected.rows(); ++r) {
    for (int64_t c = 0; c < expected.cols(); ++c) {
      const double e = expected.at(r, c);
      const double d = std::abs(found.at(r, c) - e);
      error += d * d;
      norm += e * e;
      if (!(d <= worst)) {
        worst = d;
        worst_row = r;
        worst_col = c;
      }
    }
  }
  const double relative = std::sqrt(error / norm);
  if (relative <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "relative error " << relative << " > " << tolerance << ", worst at (" << worst_row
         << ", " << worst_col << "): found " << found.at(worst_row, worst_col) << ", expected "
         << expected.at(worst_row, worst_col);
}

/// Row `r` of `found` has the bits of row `s` of `expected`.
inline testing::AssertionResult same_bits(const TestMat& found, int64_t r, const TestMat& expected,
                                          int64_t s) {
  for (int64_t c = 0; c < expected.cols(); ++c) {
    const float a = found.at(r, c);
    const float b = expected.at(s, c);
    if (std::bit_cast<uint32_t>(a) != std::bit_cast<uint32_t>(b)) {
      return testing::AssertionFailure() << "row " << s << ", column " << c << ": found " << a
                                         << ", expected " << b << " to the bit";
    }
  }
  return testing::AssertionSuccess();
}

/// A weight matrix as a file would hold it.
class TestWeight {
 public:
  TestWeight(const LinearDesc& desc, uint32_t seed) : desc_(desc) {
    Random random(seed);
    const double scale = 1.0 / std::sqrt(static_cast<double>(desc.in));
    if (desc.weight == WeightFormat::int4) fill_int4(random, scale);
    for (int64_t i = 0; i < desc.out * desc.in; ++i) {
      const auto v = static_cast<float>(random.normal() * scale);
      if (desc.weight == WeightFormat::f32) full_.push_back(v);
      if (desc.weight == WeightFormat::bf16) half_.push_back(bf16(v).bits);
      // 0x2c00 is 2^-4: a random half between 2^-4 and 2^-3 in size.
      if (desc.weight == WeightFormat::f16) {
        half_.push_back(static_cast<uint16_t>(0x2c00 + random.below(0x400) +
                                              (random.below(2) == 0 ? 0x8000 : 0)));
      }
    }
    for (int64_t i = 0; i < desc.out; ++i) bias.push_back(random.normal());
  }

  const void* rows(int64_t first) const {
    if (desc_.weight == WeightFormat::int4) {
      return int4_.data() + first * Int4Row{desc_.in, desc_.group_size}.bytes();
    }
    const auto at = static_cast<size_t>(first * desc_.in);
    return desc_.weight == WeightFormat::f32 ? static_cast<const void*>(full_.data() + at)
                                             : half_.data() + at;
  }
  float at(int64_t n, int64_t k) const {
    const auto i = static_cast<size_t>(n * desc_.in + k);
    if (desc_.weight == WeightFormat::f32 || desc_.weight == WeightFormat::int4) return full_[i];
    return desc_.weight == WeightFormat::f16 ? static_cast<float>(f16{half_[i]})
                                             : std::bit_cast<float>(uint32_t{half_[i]} << 16);
  }

  std::vector<float> bias;

 private:
  /// All values and zero points, 0 to 15 and 0 to 16.
  void fill_int4(Random& random, double scale) {
    const Int4Row layout{desc_.in, desc_.group_size};
    int4_.resize(static_cast<size_t>(desc_.out * layout.bytes()));
    full_.resize(static_cast<size_t>(desc_.out * desc_.in));
    for (int64_t n = 0; n < desc_.out; ++n) {
      std::byte* const row = int4_.data() + n * layout.bytes();
      for (int64_t g = 0; g < layout.groups(); ++g) {
        layout.scales(row)[g] = static_cast<float>(scale * (0.1 + 0.01 * random.below(10)));
        layout.zeros(row)[g] = static_cast<uint8_t>(random.below(17));
      }
      for (int64_t i = 0; i < desc_.in / 2; ++i) {
        layout.values(row)[i] = static_cast<uint8_t>(random.below(256));
      }
      dequantise(layout, row, full_.data() + n * desc_.in);
    }
  }

  LinearDesc desc_;
  std::vector<std::byte> int4_;
  std::vector<float> full_;
  std::vector<uint16_t> half_;
};

/// A packed Linear with its memory.
struct TestLinear {
  Arena arena;
  Linear linear;
};

template <class Backend>
TestLinear pack(Backend& backend, const LinearDesc& desc, const TestWeight& weight,
                const float* bias = nullptr) {
  TestLinear out;
  out.arena = std::move(*Arena::create("weights", packed_bytes(backend, desc)));
  const int64_t bytes = out.arena.capacity();
  std::memset(out.arena.take_bytes(bytes), 0xff, static_cast<size_t>(bytes));  // NaN if it is used
  out.arena.rewind(0);
  const auto read = [&](int64_t first, int64_t) { return weight.rows(first); };
  out.linear = pack_linear(backend, desc, read, bias, out.arena);
  EXPECT_EQ(out.arena.used(), out.arena.capacity());
  return out;
}

constexpr WeightFormat kWeightFormats[] = {WeightFormat::f32, WeightFormat::f16,
                                           WeightFormat::bf16};
constexpr ActFormat kActFormats[] = {ActFormat::f32, ActFormat::bf16};

/// Calls body(isa, weight format, activation format) for all of them.
template <class Body>
void for_all_formats(const Body& body) {
  for (const Isa isa : supported_isas()) {
    for (const WeightFormat weight : kWeightFormats) {
      for (const ActFormat act : kActFormats) {
        SCOPED_TRACE(testing::Message()
                     << isa_name(isa) << ", weight format " << static_cast<int>(weight)
                     << ", activation format " << static_cast<int>(act));
        body(isa, weight, act);
      }
    }
  }
}

/// `run(cpu, x, y)` computes y from x row by row. All rows of x together, by threads 1, 2 and 3,
/// and in groups of 1, 2, 3, 7, 16 and 33 taken from the back, must give the same bits.
template <class Run>
void expect_rows_independent(Isa isa, const OperatorShapes& shapes, TestMat& x, DType y_type,
                             int64_t y_cols, const Run& run) {
  TestMat expected(y_type, x.rows(), y_cols);
  {
    TestCpu cpu(isa, 1, shapes);
    run(*cpu, x, expected);
  }
  for (const int threads : {1, 2, 3}) {
    TestCpu cpu(isa, threads, shapes);
    for (const int64_t count : {1, 2, 3, 7, 16, 33}) {
      SCOPED_TRACE(testing::Message() << count << " rows, " << threads << " threads");
      for (int64_t last = x.rows(); last > 0; last -= count) {
        std::vector<int64_t> ids;
        for (int64_t r = last - 1; r >= std::max<int64_t>(0, last - count); --r) ids.push_back(r);
        TestMat some = x.pick(ids);
        TestMat y(y_type, some.rows(), y_cols);
        run(*cpu, some, y);
        for (size_t i = 0; i < ids.size(); ++i) {
          ASSERT_TRUE(same_bits(y, static_cast<int64_t>(i), expected, ids[i]));
        }
      }
    }
  }
}

}  // namespace qvl
