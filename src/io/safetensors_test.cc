#include "io/safetensors.h"

#include <gtest/gtest.h>

#include "io/test_folder.h"

namespace qvl {
namespace {

using Entries = std::vector<SafetensorsEntry>;

Result<Entries> parse_file(std::string_view file, const SafetensorsLimits& limits = {}) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), limits);
}

Result<Entries> parse(std::string_view header, size_t data_bytes,
                      const SafetensorsLimits& limits = {}) {
  return parse_file(safetensors_bytes(header, std::string(data_bytes, 'x')), limits);
}

std::string problem(const Result<Entries>& entries, ErrorCode code = ErrorCode::bad_checkpoint) {
  if (entries) return "none";
  EXPECT_EQ(entries.error().code, code);
  return entries.error().detail;
}

/// The problem of a file with one tensor "w" of these fields and 24 bytes of data.
std::string tensor_problem(std::string_view fields) {
  return problem(parse(R"({"w": )" + std::string(fields) + "}", 24));
}

TEST(SafetensorsHeader, GivesTheTensorsByOffset) {
  const std::string header =
      R"({"__metadata__": {"format": "pt"},)"
      R"( "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [4, 16]},)"
      R"( "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},)"
      R"( "c": {"dtype": "F8_E4M3", "shape": [1, 0, 5], "data_offsets": [16, 16]}})";
  const Result<Entries> entries = parse(header, 16);
  ASSERT_TRUE(entries) << entries.error().message();
  ASSERT_EQ(entries->size(), 3);
  const uint64_t data = 8 + header.size();
  const SafetensorsEntry& a = (*entries)[0];
  EXPECT_EQ(a.info.name, "a");
  EXPECT_EQ(a.info.dtype, DType::f32);
  EXPECT_EQ(a.info.shape, std::vector<int64_t>{});
  EXPECT_EQ(a.begin, data);
  EXPECT_EQ(a.end, data + 4);
  const SafetensorsEntry& b = (*entries)[1];
  EXPECT_EQ(b.info.name, "b");
  EXPECT_EQ(b.info.dtype, DType::bf16);
  EXPECT_EQ(b.info.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(b.begin, data + 4);
  EXPECT_EQ(b.end, data + 16);
  const SafetensorsEntry& c = (*entries)[2];
  EXPECT_EQ(c.info.dtype, DType::f8_e4m3);
  EXPECT_EQ(c.info.shape, (std::vector<int64_t>{1, 0, 5}));
  EXPECT_EQ(c.begin, c.end);
}

TEST(SafetensorsHeader, ReadsEveryTypeThatTheEngineNames) {
  const auto bytes_of = [](std::string_view type, size_t bytes) {
    const Result<Entries> entries =
        parse(R"({"w": {"dtype": ")" + std::string(type) +
                  R"(", "shape": [3], "data_offsets": [0, )" + std::to_string(bytes) + "]}}",
              bytes);
    return entries && dtype_name((*entries)[0].info.dtype) == type;
  };
  EXPECT_TRUE(bytes_of("I64", 24));
  EXPECT_TRUE(bytes_of("F32", 12));
  EXPECT_TRUE(bytes_of("I32", 12));
  EXPECT_TRUE(bytes_of("F16", 6));
  EXPECT_TRUE(bytes_of("BF16", 6));
  EXPECT_TRUE(bytes_of("I16", 6));
  EXPECT_TRUE(bytes_of("F8_E4M3", 3));
  EXPECT_TRUE(bytes_of("I8", 3));
  EXPECT_TRUE(bytes_of("U8", 3));
  EXPECT_TRUE(bytes_of("BOOL", 3));
}

TEST(SafetensorsHeader, AFileWithoutTensorsIsEmpty) {
  const Result<Entries> entries = parse("{}", 0);
  ASSERT_TRUE(entries);
  EXPECT_TRUE(entries->empty());
  EXPECT_TRUE(parse("{}      ", 0)) << "padded with spaces, as writers do";
}

TEST(SafetensorsHeader, NeedsTheLengthOfTheHeader) {
  EXPECT_EQ(problem(parse_file("")), "the file has 0 bytes, expected at least 10");
  EXPECT_EQ(problem(parse_file("1234567")), "the file has 7 bytes, expected at least 10");
  EXPECT_EQ(problem(parse_file(std::string(8, '\0'))), "the header does not start with \"{\"");
}

TEST(SafetensorsHeader, ALengthThatLiesIsFound) {
  std::string file = safetensors_bytes("{}", "");
  file[0] = 3;
  EXPECT_EQ(problem(parse_file(file)),
            "the file has 10 bytes, its header promises 11: the end is missing");
  file[3] = 6;  // 3 + 6 · 2^24
  EXPECT_EQ(problem(parse_file(file)),
            "the header length is 100663299, expected at most 100000000");
  file[7] = '\xff';
  EXPECT_EQ(problem(parse_file(file)),
            "the header length is 18374686479772286979, expected at most 100000000");
  EXPECT_EQ(problem(parse("{}   ", 0, {.max_header_bytes = 4})),
            "the header length is 5, expected at most 4");
  const std::string whole = safetensors_bytes("{}  ", "");
  EXPECT_EQ(problem(parse_safetensors_header(std::as_bytes(std::span(whole)).first(10), 12)),
            "the header has 4 bytes, only 2 could be read");
}

TEST(SafetensorsHeader, MustBeAnObjectOfJson) {
  EXPECT_EQ(problem(parse("[1]", 0)), "the header does not start with \"{\"");
  EXPECT_EQ(problem(parse(" {}", 0)), "the header does not start with \"{\"");
  EXPECT_EQ(problem(parse(R"({"a": )", 0)), "the header: syntax error near byte 7");
  EXPECT_EQ(problem(parse(R"({"a": 1})", 0)), "tensor \"a\": found 1, expected an object");
}

TEST(SafetensorsHeader, TwoTensorsOfOneNameAreRefused) {
  EXPECT_EQ(problem(parse(R"({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},)"
                          R"( "w": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}})",
                          2)),
            "the header: the name \"w\" appears twice in one object");
}

TEST(SafetensorsHeader, MetadataIsTextOnly) {
  EXPECT_EQ(problem(parse(R"({"__metadata__": [1]})", 0)),
            "__metadata__: found a list of 1, expected an object");
  EXPECT_EQ(problem(parse(R"({"__metadata__": {"a": {"b": 1}}})", 0)),
            "__metadata__: \"a\" is an object, expected a string");
}

TEST(SafetensorsHeader, EveryFieldOfATensorIsChecked) {
  EXPECT_EQ(tensor_problem(R"({"shape": [24], "data_offsets": [0, 24]})"),
            "tensor \"w\": dtype: found nothing, expected a string");
  EXPECT_EQ(tensor_problem(R"({"dtype": 3, "shape": [24], "data_offsets": [0, 24]})"),
            "tensor \"w\": dtype: found 3, expected a string");
  const std::string shape_end = ", expected a list of whole numbers from 0 to 2^63 - 1";
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "data_offsets": [0, 24]})"),
            "tensor \"w\": shape: found nothing" + shape_end);
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "shape": 24, "data_offsets": [0, 24]})"),
            "tensor \"w\": shape: found 24" + shape_end);
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "shape": [-24], "data_offsets": [0, 24]})"),
            "tensor \"w\": shape: found a list of 1" + shape_end);
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "shape": [24.0], "data_offsets": [0, 24]})"),
            "tensor \"w\": shape: found a list of 1" + shape_end);
  EXPECT_EQ(
      tensor_problem(R"({"dtype": "U8", "shape": [9223372036854775808], "data_offsets": [0, 24]})"),
      "tensor \"w\": shape: found a list of 1" + shape_end);
  EXPECT_EQ(
      tensor_problem(R"({"dtype": "U8", "shape": [1,1,1,1,1,1,1,1,24], "data_offsets": [0, 24]})"),
      "tensor \"w\": found 9 dimensions, expected at most 8");
  const std::string range_end = ", expected a list of two whole numbers from 0 to 2^63 - 1";
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "shape": [24]})"),
            "tensor \"w\": data_offsets: found nothing" + range_end);
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "shape": [24], "data_offsets": [0, 12, 24]})"),
            "tensor \"w\": data_offsets: found a list of 3" + range_end);
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "shape": [24], "data_offsets": [0, 24.5]})"),
            "tensor \"w\": data_offsets: found a list of 2" + range_end);
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "shape": [24], "data_offsets": [24, 0]})"),
            "tensor \"w\": data_offsets: found the beginning 24 after the end 0");
  EXPECT_EQ(tensor_problem(R"({"dtype": "U8", "shape": [24], "data_offsets": [0, 24]})"), "none");
}

TEST(SafetensorsHeader, AnUnknownTypeIsNamed) {
  EXPECT_EQ(problem(parse(R"({"w": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]}})", 24),
                    ErrorCode::unsupported_model),
            "tensor \"w\": found the unknown dtype \"F64\", expected one such as \"BF16\"");
}

TEST(SafetensorsHeader, BytesMustBeShapeTimesType) {
  EXPECT_EQ(tensor_problem(R"({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 20]})"),
            "tensor \"w\": found 20 bytes of data, expected 24 for shape [2, 3] of F32");
  EXPECT_EQ(tensor_problem(R"({"dtype": "F32", "shape": [2, 0], "data_offsets": [0, 24]})"),
            "tensor \"w\": found 24 bytes of data, expected 0 for shape [2, 0] of F32");
}

TEST(SafetensorsHeader, ProductsOfDimensionsCannotOverflow) {
  const auto shape_problem = [](const std::string& type, const std::string& shape) {
    return tensor_problem(R"({"dtype": ")" + type + R"(", "shape": )" + shape +
                          R"(, "data_offsets": [0, 0]})");
  };
  const auto too_large = [](const std::string& shape) {
    return "tensor \"w\": the shape " + shape + " is too large to be real";
  };
  // 2^32 · 2^32 is 0 in 64 bits, 2^62 · 2 bytes no longer fit 63.
  const std::string square = "[4294967296, 4294967296]";
  EXPECT_EQ(shape_problem("U8", square), too_large(square));
  const std::string wide = "[4611686018427387904]";
  EXPECT_EQ(shape_problem("BF16", wide), too_large(wide));
  EXPECT_EQ(shape_problem("F32", wide), too_large(wide));
  // A dimension of zero does not excuse the others.
  const std::string zero_last = "[4611686018427387904, 4, 0]";
  EXPECT_EQ(shape_problem("U8", zero_last), too_large(zero_last));
  const std::string zero_first = "[0, 4611686018427387904, 4]";
  EXPECT_EQ(shape_problem("U8", zero_first), too_large(zero_first));
}

TEST(SafetensorsHeader, ATruncatedFileSaysHowMuchIsMissing) {
  const std::string header = R"({"w": {"dtype": "U8", "shape": [24], "data_offsets": [0, 24]}})";
  EXPECT_EQ(header.size(), 62);
  EXPECT_EQ(problem(parse(header, 23)),
            "the file has 93 bytes, its header promises 94: the end is missing");
  EXPECT_EQ(problem(parse(header, 25)), "the file has 95 bytes, its header accounts for 94");
}

TEST(SafetensorsHeader, RangesNeitherOverlapNorLeaveGaps) {
  const auto two = [](std::string_view a, std::string_view b) {
    return problem(parse(
        R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": )" + std::string(a) +
            R"(}, "b": {"dtype": "U8", "shape": [4], "data_offsets": )" + std::string(b) + "}}",
        8));
  };
  EXPECT_EQ(two("[0, 4]", "[4, 8]"), "none");
  EXPECT_EQ(two("[4, 8]", "[0, 4]"), "none");
  EXPECT_EQ(two("[0, 4]", "[3, 7]"),
            "tensor \"b\" begins at byte 3 of the data, expected 4, where tensor \"a\" ends");
  EXPECT_EQ(two("[0, 4]", "[0, 4]"),
            "tensor \"b\" begins at byte 0 of the data, expected 4, where tensor \"a\" ends");
  EXPECT_EQ(two("[0, 4]", "[5, 9]"),
            "tensor \"b\" begins at byte 5 of the data, expected 4, where tensor \"a\" ends");
  EXPECT_EQ(two("[1, 5]", "[5, 9]"),
            "tensor \"a\" begins at byte 1 of the data, expected 0, where the data begins");
  EXPECT_EQ(two("[0, 4]", "[9223372036854775800, 9223372036854775804]"),
            "tensor \"b\" begins at byte 9223372036854775800 of the data, expected 4, where tensor "
            "\"a\" ends");
}

TEST(SafetensorsHeader, AnEmptyTensorLiesAtTheSeamOfItsNeighbours) {
  const auto empty_at = [](std::string_view offset) {
    const std::string at(offset);
    return problem(parse(R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},)"
                         R"( "e": {"dtype": "U8", "shape": [0], "data_offsets": [)" +
                             at + "," + at + "]}}",
                         4));
  };
  EXPECT_EQ(empty_at("0"), "none");
  EXPECT_EQ(empty_at("4"), "none");
  EXPECT_EQ(empty_at("2"),
            "tensor \"e\" begins at byte 2 of the data, expected 4, where tensor \"a\" ends");
}

TEST(SafetensorsHeader, TheNumberOfTensorsIsBounded) {
  const std::string two = R"({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]},)"
                          R"( "b": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}})";
  EXPECT_EQ(problem(parse(two, 0, {.max_tensors = 2})), "none");
  EXPECT_EQ(problem(parse(two, 0, {.max_tensors = 1})),
            "the header names 2 tensors, expected at most 1");
}

TEST(SafetensorsHeader, ALongListCostsNoMemory) {
  std::string header = R"({"w": {"shape": [0)";
  for (int i = 0; i < 100'000; ++i) header += ",0";
  EXPECT_EQ(problem(parse(header + "]}}", 0, {.max_tensors = 100})),
            "the header: found more than 3800 values");
}

}  // namespace
}  // namespace qvl
