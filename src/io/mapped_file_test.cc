#include "io/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "io/fd.h"
#include "io/test_folder.h"

namespace qvl {
namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// Whether this process has the page of `address` in memory; bit 63 of its entry says so.
bool is_resident(const std::byte* address) {
  const auto page =
      reinterpret_cast<uintptr_t>(address) / static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  uint64_t entry = 0;
  EXPECT_EQ(::pread(pagemap.get(), &entry, sizeof(entry), static_cast<off_t>(page * sizeof(entry))),
            sizeof(entry));
  return entry >> 63 != 0;
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

TEST(MappedFile, ReleaseGivesBackTheWholePagesInTheRange) {
  const TestFolder folder;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const std::string content(5 * page, 'x');
  const Result<MappedFile> file = MappedFile::open(folder.write("a", content));
  ASSERT_TRUE(file);
  const auto resident = [&] {
    std::string pages;
    for (size_t i = 0; i < 5; ++i) {
      pages += is_resident(file->bytes().data() + i * page) ? 'x' : '.';
    }
    return pages;
  };
  ASSERT_EQ(text_of(*file), content);
  ASSERT_EQ(resident(), "xxxxx");
  file->release(page + 1, page - 1);
  EXPECT_EQ(resident(), "xxxxx") << "not a whole page";
  file->release(1, 4 * page);
  EXPECT_EQ(resident(), "x...x");
  EXPECT_EQ(text_of(*file), content);
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
