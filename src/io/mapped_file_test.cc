#include "io/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "io/test_folder.h"

namespace qvl {
namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// Bytes of file mappings that are in memory, in pages.
int64_t resident_file_pages() {
  std::ifstream statm("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  int64_t shared = 0;
  statm >> size >> resident >> shared;
  return shared;
}

TEST(MappedFile, HoldsTheBytesOfTheFile) {
  const TestFolder folder;
  const Result<MappedFile> file = MappedFile::open(folder.write("a", "hello"));
  ASSERT_TRUE(file);
  EXPECT_EQ(text_of(*file), "hello");
  EXPECT_EQ(file->path(), folder.path("a"));
}

TEST(MappedFile, AnEmptyFileIsNoBytes) {
  const TestFolder folder;
  const Result<MappedFile> file = MappedFile::open(folder.write("a", ""));
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->bytes().empty());
  file->release(0, 0);
}

TEST(MappedFile, MovesWithItsBytes) {
  const TestFolder folder;
  Result<MappedFile> a = MappedFile::open(folder.write("a", "first"));
  Result<MappedFile> b = MappedFile::open(folder.write("b", "second"));
  ASSERT_TRUE(a && b);
  MappedFile c = *std::move(a);
  EXPECT_EQ(text_of(c), "first");
  c = *std::move(b);
  EXPECT_EQ(text_of(c), "second");
  EXPECT_EQ(c.path(), folder.path("b"));
}

TEST(MappedFile, OpensRegularFilesOnly) {
  const TestFolder folder;
  const auto code = [](const std::string& path) {
    const Result<MappedFile> file = MappedFile::open(path);
    EXPECT_FALSE(file);
    EXPECT_EQ(file.error().field, path);
    return file.error().code;
  };
  EXPECT_EQ(code(folder.path("missing")), ErrorCode::file_not_found);
  EXPECT_EQ(code(folder.write("file", "x") + "/below"), ErrorCode::file_not_found);
  EXPECT_EQ(code(folder.path()), ErrorCode::file_unreadable);
  EXPECT_EQ(code("/dev/zero"), ErrorCode::file_unreadable);
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(code(folder.path("pipe")), ErrorCode::file_unreadable);
}

TEST(MappedFile, FollowsLinks) {
  const TestFolder folder;
  ASSERT_EQ(::symlink(folder.write("a", "hello").c_str(), folder.path("link").c_str()), 0);
  const Result<MappedFile> file = MappedFile::open(folder.path("link"));
  ASSERT_TRUE(file);
  EXPECT_EQ(text_of(*file), "hello");
}

TEST(MappedFile, ReleasedPagesLeaveMemoryAndCanBeReadAgain) {
  const TestFolder folder;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const std::string content(1000 * page, 'x');
  const Result<MappedFile> file = MappedFile::open(folder.write("a", content));
  ASSERT_TRUE(file);
  ASSERT_EQ(std::count(file->bytes().begin(), file->bytes().end(), std::byte{'x'}), 1000 * page);
  const int64_t before = resident_file_pages();
  file->release(1, 1000 * page - 2);  // all but the first and the last page
  EXPECT_NEAR(before - resident_file_pages(), 998, 100);
  EXPECT_EQ(std::count(file->bytes().begin(), file->bytes().end(), std::byte{'x'}), 1000 * page);
}

TEST(ReadFile, GivesAllBytesUpToTheLimit) {
  const TestFolder folder;
  const std::string path = folder.write("a", std::string("x\0y\n", 4));
  for (const size_t limit : {size_t{4}, size_t{5}, size_t{1} << 40}) {
    const Result<std::string> text = read_file(path, limit);
    ASSERT_TRUE(text);
    EXPECT_EQ(*text, std::string("x\0y\n", 4));
  }
  const Result<std::string> too_large = read_file(path, 3);
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().code, ErrorCode::file_too_large);
  EXPECT_EQ(too_large.error().detail, "found 4 bytes, expected at most 3");
}

TEST(ReadFile, ReadsFilesThatHideTheirSize) {
  const Result<std::string> text = read_file("/proc/self/status", 1 << 20);
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("VmRSS"), std::string::npos);
  const Result<std::string> too_large = read_file("/proc/self/status", 100);
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().code, ErrorCode::file_too_large);
}

TEST(ReadFile, SaysWhatIsMissing) {
  const Result<std::string> text = read_file("/nowhere/at/all", 10);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().message(),
            "/nowhere/at/all: no such file or folder: No such file or directory; check the path");
}

}  // namespace
}  // namespace qvl
