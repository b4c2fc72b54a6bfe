#include "cli/history.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "io/test_folder.h"

namespace qvl {
namespace {

using Entries = std::vector<std::string>;

class HistoryTest : public testing::Test {
 protected:
  std::string path() const { return folder_.path() + "/state/qvl/history"; }
  TestFolder folder_;
};

TEST_F(HistoryTest, EntriesComeBackInOrderEvenWithNewlines) {
  const History history(path());
  EXPECT_EQ(history.load(), Entries{});
  ASSERT_TRUE(history.add("one"));
  ASSERT_TRUE(history.add("two\n  \"lines\" 你好"));
  EXPECT_EQ(History(path()).load(), (Entries{"one", "two\n  \"lines\" 你好"}));
}

TEST_F(HistoryTest, OnlyItsOwnerMayReadIt) {
  ASSERT_TRUE(History(path()).add("x"));
  struct stat info {};
  ASSERT_EQ(stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST_F(HistoryTest, AnEmptyPathKeepsNothing) {
  const History history("");
  EXPECT_TRUE(history.add("x"));
  EXPECT_EQ(history.load(), Entries{});
}

TEST_F(HistoryTest, LinesThatAreNoEntriesAreSkipped) {
  ASSERT_TRUE(History(path()).add("one"));
  std::ofstream(path(), std::ios::app) << "\x01garbage\n{\"a\": 1}\n\"two\"\n\"cut off";
  EXPECT_EQ(History(path()).load(), (Entries{"one", "two"}));
}

TEST_F(HistoryTest, TheLastThousandAreKept) {
  std::filesystem::create_directories(folder_.path() + "/state/qvl");
  {
    std::ofstream file(path());
    for (int i = 0; i < 1500; ++i) file << '"' << i << std::string(1000, 'x') << "\"\n";
  }
  const Entries entries = History(path()).load();
  ASSERT_EQ(entries.size(), 1000U);
  EXPECT_EQ(entries.front().substr(0, 3), "500");
  EXPECT_LT(std::filesystem::file_size(path()), 1'100'000U);
  EXPECT_EQ(History(path()).load(), entries);
}

TEST_F(HistoryTest, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(folder_.path() + "/state") << "a file";
  const Status added = History(path()).add("x");
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ErrorCode::write_failed);
}

TEST(HistoryPath, FollowsTheStateFolder) {
  setenv("XDG_STATE_HOME", "/x", 1);
  EXPECT_EQ(history_path(), "/x/qvl/history");
  setenv("XDG_STATE_HOME", "", 1);
  setenv("HOME", "/home/me", 1);
  EXPECT_EQ(history_path(), "/home/me/.local/state/qvl/history");
  unsetenv("HOME");
  EXPECT_EQ(history_path(), "");
}

}  // namespace
}  // namespace qvl
