#include "cli/batch_files.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "io/test_folder.h"
#include "openai/batch_line.h"

namespace qvl {
namespace {

class BatchFilesTest : public testing::Test {
 protected:
  void write(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }
  std::string read() {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  /// "number:text" of every line; "!" for one that is too long, "~" for one that is not whole.
  std::string lines(size_t max_bytes = 1000) {
    Result<LineReader> reader = LineReader::open(path_, max_bytes);
    EXPECT_TRUE(reader);
    std::string out;
    while (true) {
      const auto line = reader->next();
      EXPECT_TRUE(line);
      if (!line->has_value()) return out;
      out += std::to_string((*line)->number) + ":" + (*line)->text;
      out += (*line)->is_too_long ? "!" : "";
      out += (*line)->is_whole ? "|" : "~";
    }
  }

  const TestFolder folder_;
  const std::string path_ = folder_.path() + "/file";
};

TEST_F(BatchFilesTest, LinesEndAsOnAnySystem) {
  write("a\r\n\nb\n");
  EXPECT_EQ(lines(), "1:a|2:|3:b|");
  write("a\nb");
  EXPECT_EQ(lines(), "1:a|2:b~");
  write("");
  EXPECT_EQ(lines(), "");
}

TEST_F(BatchFilesTest, OfALineThatIsTooLongNothingIsKept) {
  write("abc\nabcd\nx\nabcde");
  EXPECT_EQ(lines(3), "1:abc|2:!|3:x|4:!~");
  const std::string huge(5 << 20, 'x');  // more than a block of the reader
  write("a\n" + huge + "\nb\n" + huge);
  EXPECT_EQ(lines(3), "1:a|2:!|3:b|4:!~");
  EXPECT_EQ(lines(huge.size() - 1), "1:a|2:!|3:b|4:!~");
  EXPECT_EQ(lines(huge.size()), "1:a|2:" + huge + "|3:b|4:" + huge + "~");
}

TEST_F(BatchFilesTest, LineOffsetsAreThoseOfTheFile) {
  write("ab\n" + std::string(2 << 20, 'x') + "\ncd\nef");
  Result<LineReader> reader = LineReader::open(path_, 10);
  ASSERT_TRUE(reader);
  for (const int64_t begin : {0, 3, 3 + (2 << 20) + 1, 3 + (2 << 20) + 4}) {
    EXPECT_EQ((*reader->next())->begin, begin);
  }
}

TEST_F(BatchFilesTest, BlankLinesAreNoRequests) {
  write("a\n\n  \nb");
  const auto count = count_requests(path_);
  ASSERT_TRUE(count);
  EXPECT_EQ(*count, 2);
}

TEST_F(BatchFilesTest, WhatIsMissingIsNamed) {
  const auto reader = LineReader::open(folder_.path() + "/none", 10);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, ErrorCode::file_not_found);
  EXPECT_FALSE(LineReader::open(folder_.path(), 10));
}

TEST_F(BatchFilesTest, AnOutputKnowsWhatIsDone) {
  {
    auto output = BatchOutput::open(path_);
    ASSERT_TRUE(output) << output.error().message();
    EXPECT_TRUE(output->append(batch_response_line("a", 200, "{}")));
    EXPECT_TRUE(output->append(batch_error_line("b", {ErrorCode::bad_request, "", ""}, 5)));
  }
  const auto output = BatchOutput::open(path_);
  ASSERT_TRUE(output) << output.error().message();
  EXPECT_TRUE(output->is_answered("a"));
  EXPECT_FALSE(output->is_answered("b"));
  EXPECT_TRUE(output->is_bad(5));
  EXPECT_FALSE(output->is_bad(1));
  EXPECT_EQ(output->kept_lines(), 2);
}

TEST_F(BatchFilesTest, ATornLastLineIsDroppedWhereverItIsTorn) {
  const std::string first = batch_response_line("a", 200, "{}") + "\n";
  const std::string second = batch_response_line("b", 200, R"({"text":"é"})");
  for (size_t torn = 0; torn <= second.size(); torn += 7) {
    write(first + second.substr(0, torn));
    const auto output = BatchOutput::open(path_);
    ASSERT_TRUE(output) << output.error().message();
    EXPECT_TRUE(output->is_answered("a"));
    EXPECT_FALSE(output->is_answered("b"));
    EXPECT_EQ(read(), first);
  }
}

TEST_F(BatchFilesTest, AnotherFileIsNotTouched) {
  for (const char* text : {"my notes", "my notes\n", "{}\n", "{\"id\":\"batch_req_x\"}\n"}) {
    write(text);
    const auto output = BatchOutput::open(path_);
    ASSERT_FALSE(output) << text;
    EXPECT_EQ(output.error().detail, "line 1 is not the output of a batch");
    EXPECT_EQ(read(), text);
  }
}

TEST_F(BatchFilesTest, TwoRunsDoNotWriteOneOutput) {
  const auto first = BatchOutput::open(path_);
  ASSERT_TRUE(first);
  const auto second = BatchOutput::open(path_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().detail, "another run is writing it");
}

}  // namespace
}  // namespace qvl
