#include "io/file_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "io/mapped_file.h"
#include "io/test_folder.h"

namespace qvl {
namespace {

/// As a full disk: no file of this process may grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(FileWriter, TheFileAppearsCompleteOnCommit) {
  const TestFolder folder;
  folder.write("a", "old");
  Result<FileWriter> writer = FileWriter::create(folder.path("a"));
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->write(std::as_bytes(std::span("new", 3))));
  EXPECT_EQ(*read_file(folder.path("a"), 10), "old");
  ASSERT_TRUE(writer->commit());
  EXPECT_EQ(*read_file(folder.path("a"), 10), "new");
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(FileWriter, NothingRemainsWithoutCommit) {
  const TestFolder folder;
  {
    Result<FileWriter> writer = FileWriter::create(folder.path("a"));
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write(std::as_bytes(std::span("new", 3))));
    EXPECT_EQ(folder.file_count(), 1);
  }
  EXPECT_EQ(folder.file_count(), 0);
}

TEST(FileWriter, AFullDiskIsAnErrorAndLeavesNothing) {
  const TestFolder folder;
  const FileSizeLimit limit(1000);
  const Status status = write_file(folder.path("a"), std::string(1001, 'x'));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::write_failed);
  EXPECT_EQ(status.error().field, folder.path("a"));
  EXPECT_EQ(status.error().detail, "File too large");
  EXPECT_EQ(folder.file_count(), 0);
  EXPECT_TRUE(write_file(folder.path("a"), std::string(1000, 'x')));
}

TEST(FileWriter, AFolderThatIsNotThereIsAnError) {
  const TestFolder folder;
  const Status status = write_file(folder.path("missing/a"), "x");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::write_failed);
  EXPECT_EQ(status.error().detail, "No such file or directory");
}

TEST(FileWriter, AFolderInTheWayIsAnError) {
  const TestFolder folder;
  std::filesystem::create_directory(folder.path("a"));
  const Status status = write_file(folder.path("a"), "x");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::write_failed);
  EXPECT_EQ(folder.file_count(), 1);
}

}  // namespace
}  // namespace qvl
