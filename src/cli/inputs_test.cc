#include "cli/inputs.h"

#include <gtest/gtest.h>

#include "model/tiny_processor.h"

namespace qvl {
namespace {

Result<UserMessage> read(const std::vector<std::string>& inputs,
                         const std::string& standard_input = "") {
  std::FILE* const file = std::tmpfile();
  std::fwrite(standard_input.data(), 1, standard_input.size(), file);
  std::rewind(file);
  Result<UserMessage> message = read_inputs(inputs, tiny_processor(), {.standard_input = file});
  std::fclose(file);
  return message;
}

/// The name of the error and its message.
std::string refusal(const std::vector<std::string>& inputs,
                    const std::string& standard_input = "") {
  const Result<UserMessage> message = read(inputs, standard_input);
  if (message) return "accepted";
  return std::string(error_info(message.error().code).name) + " " + message.error().message();
}

TEST(Inputs, MayComeInAnyOrder) {
  const Result<UserMessage> message =
      read({"Compare", kTinyMedia + "small.png", "-", kTinyMedia + "frames", "?"}, "with\nthis");
  ASSERT_TRUE(message) << message.error().message();
  const Json expected = {{{"type", "text"}, {"text", "Compare"}},
                         {{"type", "image"}, {"image", kTinyMedia + "small.png"}},
                         {{"type", "text"}, {"text", "with\nthis"}},
                         {{"type", "video"}, {"video", kTinyMedia + "frames"}},
                         {{"type", "text"}, {"text", "?"}}};
  EXPECT_EQ(message->content, expected);
  ASSERT_EQ(message->media.size(), 2U);
  EXPECT_EQ(message->media[0].kind, MediaKind::image);
  EXPECT_EQ(message->media[1].kind, MediaKind::video);
}

TEST(Inputs, AMediaItemRemembersItsSizeBeforeResizing) {
  const Result<UserMessage> message = read({kTinyMedia + "rotated.jpg"});
  ASSERT_TRUE(message);
  const Result<Image> image = load_image(kTinyMedia + "rotated.jpg");
  ASSERT_TRUE(image);
  EXPECT_EQ(message->media[0].source, image->size);
}

TEST(Inputs, TheStandardInputIsReadOnce) {
  EXPECT_EQ(refusal({"-", "x", "-"}).substr(0, 8), "bad_flag");
}

TEST(Inputs, TheStandardInputMustBeText) {
  EXPECT_EQ(refusal({"-"}, "ab\xff"),
            "bad_text standard input: the text is not valid UTF-8: found byte 0xff at offset 2; "
            "convert it to UTF-8, for instance with iconv");
  EXPECT_EQ(refusal({"-"}, "ab\xe4\xbd").substr(0, 8), "bad_text");
  EXPECT_EQ(refusal({"-"}, std::string((16U << 20U) + 1, 'x')).substr(0, 14), "file_too_large");
  EXPECT_EQ(refusal({"caf\xe9"}).substr(0, 8), "bad_text");
}

TEST(Inputs, AnAddressIsRefusedButAQuestionMayMentionOne) {
  EXPECT_EQ(refusal({"https://example.org/cat.png"}).substr(0, 12), "remote_input");
  EXPECT_EQ(refusal({"https://example.org"}).substr(0, 12), "remote_input");
  EXPECT_EQ(refusal({"What is https://example.org?"}), "accepted");
  EXPECT_EQ(refusal({"://x"}), "accepted");
}

TEST(Inputs, AMissingFileIsNotTakenForText) {
  EXPECT_EQ(refusal({"no-such.PNG"}).substr(0, 14), "file_not_found");
  EXPECT_EQ(refusal({"What is a .png"}), "accepted");
}

TEST(Inputs, AnAttachedPathMustExist) {
  UserMessage message;
  const Status attached = attach_file(message, "no such file", tiny_processor(), 24);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, ErrorCode::file_not_found);
  EXPECT_TRUE(message.empty());
}

TEST(Inputs, MessagesCanBeJoined) {
  UserMessage first = *read({kTinyMedia + "small.png"});
  first.append(*read({"What?"}));
  EXPECT_EQ(first.content.size(), 2U);
  EXPECT_EQ(first.media.size(), 1U);
  EXPECT_EQ(one_question("Be brief.", first)[0],
            Json::parse(R"({"role": "system", "content": "Be brief."})"));
  EXPECT_EQ(one_question("", first)[0]["role"], "user");
}

}  // namespace
}  // namespace qvl
