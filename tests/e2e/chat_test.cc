/// `qvl chat` as a user meets it: at a terminal, and with a pipe as its standard input.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "program.h"
#include "screen.h"

namespace qvl {
namespace {

const std::string kModel = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
const std::string kMedia = QVL_SOURCE_DIR "/tests/goldens/media/";

using Arguments = std::vector<std::string>;

/// Greedy, so that the noise of a random model is the same each time.
Arguments chat(const Arguments& more = {"--max-tokens", "6"}) {
  Arguments arguments{"chat", kModel, "--temperature", "0", "--dtype", "float32", "--plain"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Arguments program(Arguments arguments) {
  arguments.insert(arguments.begin(), QVL_PROGRAM);
  return arguments;
}

Outcome piped(const std::string& input, const Arguments& more = {"--max-tokens", "6"}) {
  return qvl_program(chat(more), {}, input);
}

class ChatAtATerminal : public testing::Test {
 protected:
  void start(const Arguments& more = {"--max-tokens", "6"}) {
    screen.emplace(program(chat(more)));
    ASSERT_TRUE(at_prompt()) << screen->text();
  }
  bool at_prompt() { return screen->ends_with("\n>"); }
  /// Types, and waits until it is seen.
  void type(const std::string& text) {
    screen->type(text);
    ASSERT_TRUE(screen->ends_with(text)) << screen->text();
  }
  /// Types an entry and waits until the next may be typed.
  void enter(const std::string& text) {
    type(text);
    screen->press("Enter");
    ASSERT_TRUE(at_prompt()) << screen->text();
  }
  /// The conversation, saved by the program.
  nlohmann::json saved() {
    const std::string path = screen->home() + "/saved.json";
    type("/save " + path);
    screen->press("Enter");
    EXPECT_TRUE(screen->ends_with("saved to " + path + "\n>")) << screen->text();
    return nlohmann::json::parse(read_all(path), nullptr, false);
  }

  std::optional<Screen> screen;
};

TEST_F(ChatAtATerminal, AnswersAsAPipeGetsThem) {
  start();
  enter("weather?");
  enter("and tomorrow?");
  const nlohmann::json messages = saved()["messages"];
  ASSERT_EQ(messages.size(), 4U);
  EXPECT_EQ(messages[2]["content"], "and tomorrow?");
  const Outcome outcome = piped("weather?\nand tomorrow?\n");
  EXPECT_EQ(outcome.out, messages[1]["content"].get<std::string>() + "\n" +
                             messages[3]["content"].get<std::string>() + "\n");
  EXPECT_TRUE(screen->shows("> weather?\n" + messages[1]["content"].get<std::string>()))
      << screen->text();
}

TEST_F(ChatAtATerminal, BackspaceTakesAWholeWideCharacter) {
  start();
  type("你好吗");
  screen->press("BSpace");
  screen->type("a世");
  screen->press("Left");
  screen->press("BSpace");
  EXPECT_TRUE(screen->ends_with("\n> 你好世")) << screen->text();
  screen->press("Enter");
  ASSERT_TRUE(at_prompt());
  EXPECT_EQ(saved()["messages"][0]["content"], "你好世");
}

TEST_F(ChatAtATerminal, APasteOfSeveralLinesIsOneMessageEvenWithCommandsInIt) {
  start();
  screen->paste("one\n/exit\n\"\"\"\nthree\\\n");
  ASSERT_TRUE(screen->ends_with("three\\")) << screen->text();
  enter(" end");
  EXPECT_EQ(saved()["messages"][0]["content"], "one\n/exit\n\"\"\"\nthree\\ end");
}

TEST_F(ChatAtATerminal, ABackslashAndABlockContinueAMessage) {
  start();
  screen->type("one\\");
  screen->press("Enter");
  ASSERT_TRUE(screen->ends_with("\n...")) << screen->text();
  enter("two");
  screen->type("\"\"\"/exit");
  screen->press("Enter");
  ASSERT_TRUE(screen->ends_with("\n...")) << screen->text();
  enter("three\"\"\"");
  const nlohmann::json messages = saved()["messages"];
  EXPECT_EQ(messages[0]["content"], "one\ntwo");
  EXPECT_EQ(messages[2]["content"], "/exit\nthree");
}

TEST_F(ChatAtATerminal, CtrlCStopsAnAnswerAndTheChatGoesOn) {
  start({"--max-tokens", "30000", "--ignore-eos", "--repetition-guard", "off"});
  screen->type("weather?");
  screen->press("Enter");
  ASSERT_TRUE(screen->shows("> weather?\n")) << screen->text();
  screen->press("C-c");
  ASSERT_TRUE(screen->ends_with("[stopped]\n\n>")) << screen->text();
  const nlohmann::json first = saved();
  EXPECT_EQ(first["messages"].size(), 2U) << "the answer so far is kept";
  EXPECT_EQ(first["metadata"]["interrupted"], "1");
  enter("/set max_tokens 3");
  enter("again");
  const nlohmann::json second = saved();
  EXPECT_EQ(second["messages"].size(), 4U);
  EXPECT_EQ(second["metadata"]["interrupted"], "1");
}

TEST_F(ChatAtATerminal, CtrlCClearsTheLineThenSaysHowToLeave) {
  start();
  type("half a 想");
  screen->press("C-c");
  ASSERT_TRUE(screen->ends_with("\n>")) << screen->text();
  screen->press("C-c");
  EXPECT_TRUE(screen->ends_with("Ctrl-D or /exit leaves the chat.\n>")) << screen->text();
  screen->press("C-d");
  EXPECT_TRUE(screen->ends_with("ended with 0")) << screen->text();
}

TEST_F(ChatAtATerminal, APictureIsSentWithTheNextMessage) {
  start();
  const std::string path = screen->home() + "/a picture.png";
  std::filesystem::copy_file(kMedia + "small.png", path);
  type("/image ~/'a picture.png'");
  screen->press("Enter");
  ASSERT_TRUE(screen->ends_with("90×61, 70 tokens\n[1 attached] >")) << screen->text();
  enter("What is this?");
  const nlohmann::json messages = saved()["messages"];
  EXPECT_EQ(messages[0]["content"][0]["type"], "image_url");
  EXPECT_EQ(messages[0]["content"][1]["text"], "What is this?");
  const Outcome alone = qvl_program({"run", kModel, path, "What is this?", "--temperature", "0",
                                     "--dtype", "float32", "--max-tokens", "6"});
  EXPECT_EQ(alone.out, messages[1]["content"].get<std::string>() + "\n");
  enter("/image no-such.png");
  EXPECT_TRUE(screen->ends_with("no-such.png: no such file or folder; check the path\n>"));
}

TEST_F(ChatAtATerminal, RegenAnswersTheLastQuestionWithAnotherSeed) {
  start({"--max-tokens", "12"});
  enter("/set temperature 1.5");
  enter("weather?");
  const nlohmann::json first = saved()["messages"];
  enter("/regen");
  const nlohmann::json second = saved()["messages"];
  ASSERT_EQ(second.size(), 2U);
  EXPECT_EQ(second[0], first[0]);
  EXPECT_NE(second[1], first[1]);
}

TEST_F(ChatAtATerminal, AFullContextLosesNothing) {
  start({"--max-tokens", "6", "--max-model-len", "256"});
  enter("weather?");
  const nlohmann::json before = saved();
  type("/image " + kMedia + "card.png");
  screen->press("Enter");
  ASSERT_TRUE(screen->ends_with("\n[1 attached] >")) << screen->text();
  type("What is this?");
  screen->press("Enter");
  ASSERT_TRUE(screen->shows("room for 256")) << screen->text();
  ASSERT_TRUE(screen->ends_with("\n[1 attached] >")) << screen->text();
  screen->press("Up");
  EXPECT_TRUE(screen->ends_with("> What is this?")) << screen->text();
  screen->press("C-c");
  ASSERT_TRUE(screen->ends_with("[1 attached] >"));
  type("/save " + screen->home() + "/after.json");
  screen->press("Enter");
  ASSERT_TRUE(screen->ends_with("after.json\n[1 attached] >")) << screen->text();
  EXPECT_EQ(nlohmann::json::parse(read_all(screen->home() + "/after.json")), before);
}

TEST_F(ChatAtATerminal, SurvivesAResize) {
  start();
  screen->type("weather in a place with a long name?");
  screen->resize({.columns = 30, .rows = 10});
  screen->type(" x");
  screen->resize({.columns = 100, .rows = 40});
  screen->press("Enter");
  ASSERT_TRUE(at_prompt()) << screen->text();
  EXPECT_EQ(saved()["messages"][0]["content"], "weather in a place with a long name? x");
}

TEST_F(ChatAtATerminal, ControlCharactersOfAFileNameAreHarmless) {
  start();
  std::filesystem::copy_file(kMedia + "small.png", screen->home() + "/a\x1b[2Jb.png");
  screen->type("/image ~/a");
  screen->press("C-v");
  screen->press("Escape");
  screen->type("[2Jb.png");
  screen->press("Enter");
  EXPECT_TRUE(screen->shows("a␛[2Jb.png: 90×61")) << screen->text();
}

TEST_F(ChatAtATerminal, TheHistoryIsThereNextTimeAndPrivate) {
  const std::string command = QVL_PROGRAM " chat '" + kModel + "' --temperature 0 --max-tokens 2";
  screen.emplace(Arguments{"sh", "-c", command + "; echo once more; " + command});
  ASSERT_TRUE(at_prompt()) << screen->text();
  enter("/stats");
  enter("weather?");
  type("/exit");
  screen->press("Enter");
  ASSERT_TRUE(screen->shows("once more"));
  ASSERT_TRUE(at_prompt()) << screen->text();
  screen->press("Up");
  ASSERT_TRUE(screen->ends_with("> /exit")) << screen->text();
  screen->press("Up");
  EXPECT_TRUE(screen->ends_with("> weather?")) << screen->text();
  const std::string history = screen->home() + "/.local/state/qvl/history";
  EXPECT_EQ(read_all(history), "\"/stats\"\n\"weather?\"\n\"/exit\"\n");
  EXPECT_EQ(std::filesystem::status(history).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST(ChatInAPipe, AnswersEachLineAndNothingElse) {
  const Outcome outcome = piped("weather?\n\n/stats\n/nonsense\nagain\n");
  EXPECT_EQ(outcome.status, 1) << "one command is unknown";
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 2) << outcome.out;
  EXPECT_NE(outcome.err.find("found /nonsense"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("tokens    "), std::string::npos) << outcome.err;
  EXPECT_EQ(piped("weather?\n").status, 0);
  EXPECT_EQ(piped("").status, 0);
}

TEST(ChatInAPipe, RemembersTheConversation) {
  EXPECT_NE(piped("weather?\nagain\n").out, piped("weather?\n/clear\nagain\n").out);
}

TEST(ChatInAPipe, ASavedConversationGoesOnWhereItWas) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/c.json";
  const std::string picture = kMedia + "small.png";
  const std::string once =
      piped("/system Be brief.\n/image " + picture + "\nWhat?\n/save " + file + "\nAnd now?\n").out;
  const std::string later = piped("/load " + file + "\nAnd now?\n").out;
  ASSERT_FALSE(later.empty());
  EXPECT_TRUE(once.ends_with(later)) << once << "\n" << later;
}

TEST(ChatInAPipe, TextThatIsNotUtf8IsRefused) {
  const Outcome outcome = piped("caf\xe9\nweather?\n");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.err.find("not valid UTF-8"), std::string::npos) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 1);
}

}  // namespace
}  // namespace qvl
