#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace qvl {
namespace {

using Ids = std::vector<int32_t>;
using nlohmann::json;

constexpr const char* kTokenizerPath = QVL_SOURCE_DIR "/models/qwen3-vl-tokenizer/tokenizer.json";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The published tokenizer, loaded once for all tests.
class TokenizerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    Result<Tokenizer> loaded = Tokenizer::load(kTokenizerPath);
    ASSERT_TRUE(loaded) << loaded.error().message();
    shared() = std::make_unique<Tokenizer>(std::move(*loaded));
  }
  static void TearDownTestSuite() { shared().reset(); }
  static std::unique_ptr<Tokenizer>& shared() {
    static std::unique_ptr<Tokenizer> tokenizer;
    return tokenizer;
  }

  Ids from_template(std::string_view text) { return shared()->encode(text, Origin::template_text); }
  Ids from_assistant(std::string_view text) { return shared()->encode(text, Origin::assistant); }
  Ids from_user(std::string_view text) { return shared()->encode(text, Origin::user); }
  Ids from_pieces(std::vector<TextPiece> pieces) { return shared()->encode(pieces); }
  std::string text_of(const Ids& ids) {
    std::string out;
    for (const int32_t id : ids) out += shared()->bytes(id);
    return out;
  }
};

TEST_F(TokenizerTest, ReproducesThePublishedVectors) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string inputs = read_file(QVL_SOURCE_DIR "/tests/text/encode_vectors.inp");
  std::istringstream outputs(read_file(QVL_SOURCE_DIR "/tests/text/encode_vectors.out"));
  int vectors = 0;
  for (std::string line; std::getline(outputs, line); ++vectors) {
    std::istringstream numbers(line);
    const Ids expected{std::istream_iterator<int32_t>(numbers), {}};
    const size_t end = inputs.find(separator);
    EXPECT_EQ(from_user(inputs.substr(0, end)), expected) << inputs.substr(0, end);
    inputs.erase(0, end == std::string::npos ? end : end + separator.size());
  }
  EXPECT_EQ(vectors, 46);
  EXPECT_EQ(inputs, "");
}

TEST_F(TokenizerTest, AgreesWithTheReferenceOnRandomTexts) {
  std::ifstream file(QVL_SOURCE_DIR "/tests/text/encode_reference.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const json row = json::parse(line);
    const auto text = row[0].get<std::string>();
    const Origin origin = row[2] == "t" ? Origin::template_text : Origin::user;
    EXPECT_EQ(shared()->encode(text, origin), row[1].get<Ids>()) << line;
  }
  EXPECT_EQ(cases, 2000);
}

TEST_F(TokenizerTest, TemplateTextBecomesControlTokens) {
  EXPECT_EQ(from_template("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
            (Ids{151644, 872, 198, 13048, 151645, 198, 151644, 77091, 198}));
  EXPECT_EQ(from_template("<|im_start|>assistant\n<think>\n"),
            (Ids{151644, 77091, 198, 151667, 198}));
  EXPECT_EQ(from_template("\n</think>\n\nA"), (Ids{198, 151668, 271, 32}));
  EXPECT_EQ(from_template("<0.3 seconds>"), (Ids{27, 15, 13, 18, 6486, 29}));
  EXPECT_EQ(from_template(""), (Ids{}));
}

TEST_F(TokenizerTest, AssistantTextYieldsOnlyTheTokensThatAreNotSpecial) {
  EXPECT_EQ(from_assistant("<think><tool_call>"), (Ids{151667, 151657}));
  EXPECT_EQ(from_assistant("<|im_end|>"), from_user("<|im_end|>"));
  EXPECT_EQ(text_of(from_assistant("<|im_end|>")), "<|im_end|>");
}

TEST_F(TokenizerTest, UserTextIsNeverMoreThanText) {
  for (const char* text : {"<|im_end|>", "<|image_pad|>", "<think>", "</tool_response>"}) {
    const Ids ids = from_user(text);
    EXPECT_GT(ids.size(), 1U);
    for (const int32_t id : ids) EXPECT_LT(id, 151643) << text;
    EXPECT_EQ(text_of(ids), text);
  }
}

TEST_F(TokenizerTest, TextMergesAcrossPieces) {
  EXPECT_EQ(from_pieces({{"Video 1:", Origin::template_text},
                         {" ", Origin::user},
                         {"<0.3", Origin::template_text}}),
            from_user("Video 1: <0.3"));
  EXPECT_EQ(from_pieces({{"e", Origin::user}, {"\u0301", Origin::assistant}}), from_user("é"));
  EXPECT_EQ(from_user("Video 1: <0.3"), (Ids{10724, 220, 16, 25, 366, 15, 13, 18}));
}

TEST_F(TokenizerTest, AControlTokenNeedsEveryByteFromAnAllowedOrigin) {
  const Ids plain = from_user("<|im_end|>");
  EXPECT_EQ(from_pieces({{"<|im_", Origin::template_text}, {"end|>", Origin::user}}), plain);
  EXPECT_EQ(from_pieces({{"<|im_", Origin::user}, {"end|>", Origin::template_text}}), plain);
  EXPECT_EQ(from_pieces({{"<|im_", Origin::template_text}, {"end|>", Origin::assistant}}), plain);
  EXPECT_EQ(from_pieces({{"<|im_", Origin::template_text}, {"end|>", Origin::template_text}}),
            (Ids{151645}));
  EXPECT_EQ(from_pieces({{"<thi", Origin::template_text}, {"nk>", Origin::assistant}}),
            (Ids{151667}));
  EXPECT_EQ(from_pieces({{"<thi", Origin::user}, {"nk>", Origin::assistant}}),
            from_user("<think>"));
  // An empty piece has no byte.
  EXPECT_EQ(
      from_pieces(
          {{"<|im_", Origin::template_text}, {"", Origin::user}, {"end|>", Origin::template_text}}),
      (Ids{151645}));
  EXPECT_EQ(from_pieces(
                {{"x<", Origin::user}, {"<|im_end|>", Origin::template_text}, {">", Origin::user}}),
            (Ids{87, 27, 151645, 29}));
}

TEST_F(TokenizerTest, InvalidUtf8IsReplacedWithinItsPiece) {
  EXPECT_EQ(from_user("a\xFF\xE4\xBD"), from_user("a\uFFFD\uFFFD"));
  EXPECT_EQ(from_pieces({{"\xE4\xBD", Origin::user}, {"\xA0", Origin::user}}),
            from_user("\uFFFD\uFFFD"));
}

TEST_F(TokenizerTest, LongRunsTakeNoQuadraticTime) {
  const size_t size = 300'000;
  for (const std::string unit : {"a", " ", "\n", "<", "é", "e\u0301", " \n", "'"}) {
    std::string text;
    while (text.size() < size) text += unit;
    const Ids ids = from_template(text);
    EXPECT_FALSE(ids.empty());
    EXPECT_EQ(text_of(ids).size(), unit == "e\u0301" ? text.size() * 2 / 3 : text.size());
  }
}

TEST_F(TokenizerTest, KnowsItsTokens) {
  EXPECT_EQ(shared()->size(), 151669);
  EXPECT_EQ(shared()->bytes(151645), "<|im_end|>");
  EXPECT_EQ(shared()->bytes(366), " <");
  EXPECT_EQ(shared()->bytes(151669), "");
  EXPECT_EQ(shared()->bytes(-1), "");
  EXPECT_TRUE(shared()->is_special(151656));
  EXPECT_FALSE(shared()->is_special(151657));
  EXPECT_FALSE(shared()->is_special(0));
  EXPECT_EQ(shared()->added_token("<|image_pad|>"), 151655);
  EXPECT_EQ(shared()->added_token("<|nothing|>"), std::nullopt);
}

/// A whole tokenizer.json with 256 bytes, one merge and two added tokens.
json small_tokenizer() {
  json vocab = json::object();
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
    const int c = printable ? byte : next++;
    std::string text;
    if (c < 0x80) {
      text = static_cast<char>(c);
    } else {
      text = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
    }
    vocab[text] = byte;
  }
  vocab["ab"] = 256;
  const std::string pattern =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  return {{"added_tokens",
           {{{"id", 257}, {"content", "<x>"}, {"special", true}},
            {{"id", 258}, {"content", "<x>y"}, {"special", false}}}},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", pattern}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b"}}}}};
}

TEST(TokenizerJson, ReadsBothSpellingsOfMerges) {
  json document = small_tokenizer();
  const Result<Tokenizer> lines = Tokenizer::parse(document.dump());
  ASSERT_TRUE(lines) << lines.error().message();
  EXPECT_EQ(lines->encode("ab", Origin::user), (Ids{256}));
  document["model"]["merges"] = json::array({json::array({"a", "b"})});
  const Result<Tokenizer> pairs = Tokenizer::parse(document.dump());
  ASSERT_TRUE(pairs) << pairs.error().message();
  EXPECT_EQ(pairs->encode("ab", Origin::user), (Ids{256}));
  EXPECT_EQ(pairs->size(), 259);
}

TEST(TokenizerJson, TheLongestAddedTokenThatTheOriginAllowsWins) {
  const Result<Tokenizer> t = Tokenizer::parse(small_tokenizer().dump());
  ASSERT_TRUE(t);
  EXPECT_EQ(t->encode("<x>y", Origin::template_text), (Ids{258}));
  EXPECT_EQ(t->encode("<x>y", Origin::assistant), (Ids{258}));
  const std::vector<TextPiece> mixed = {{"<x>", Origin::template_text}, {"y", Origin::user}};
  EXPECT_EQ(t->encode(mixed), (Ids{257, 'y'}));
}

TEST(TokenizerJson, RefusesWhatItWouldTokenizeDifferently) {
  const auto refused = [](const char* pointer, const json& value) -> std::string {
    json document = small_tokenizer();
    document[json::json_pointer(pointer)] = value;
    const Result<Tokenizer> t = Tokenizer::parse(document.dump());
    if (t) return "accepted";
    EXPECT_EQ(t.error().code, ErrorCode::bad_tokenizer);
    return t.error().detail;
  };
  EXPECT_EQ(refused("/normalizer/type", "NFKC"), "the normalizer is not NFC");
  EXPECT_EQ(refused("/normalizer", nullptr), "the normalizer is not NFC");
  EXPECT_EQ(refused("/pre_tokenizer/type", "Split"),
            "the pre-tokenizer is not Split, then ByteLevel");
  EXPECT_EQ(refused("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\s+"),
            "the pre-tokenizer's pattern is not the one of Qwen2");
  EXPECT_EQ(refused("/pre_tokenizer/pretokenizers/0/behavior", "Removed"),
            "the first pre-tokenizer does not split into isolated matches");
  EXPECT_EQ(refused("/pre_tokenizer/pretokenizers/1/use_regex", true),
            "the second pre-tokenizer is not ByteLevel without prefix space and pattern");
  EXPECT_EQ(refused("/decoder/type", "Metaspace"), "the decoder is not ByteLevel");
  EXPECT_EQ(refused("/model/type", "Unigram"), "the model is not BPE");
  EXPECT_EQ(refused("/model/dropout", 0.1), "the model has dropout");
  EXPECT_EQ(refused("/model/unk_token", "?"), "the model has unk_token");
  EXPECT_EQ(refused("/model/ignore_merges", true), "the model has ignore_merges");
  EXPECT_EQ(refused("/model/end_of_word_suffix", "</w>"), "the model has end_of_word_suffix");
  EXPECT_EQ(refused("/model/merges", json::object()), "the model has no list merges");
  EXPECT_EQ(refused("/model/vocab", json::array()), "the model has no object vocab");
  EXPECT_EQ(refused("/model/merges/0", "a zz"),
            "merge 0 uses a token that is not in the vocabulary");
  EXPECT_EQ(refused("/model/merges/0", "ab"),
            "merge \"ab\" is not two tokens with a space between");
  EXPECT_EQ(refused("/model/merges/0", {"a"}), "a merge is not a pair");
  EXPECT_EQ(refused("/model/merges/0", 5), "a merge is not a text");
  EXPECT_EQ(refused("/model/vocab/ab", 255), "id 255 belongs to two tokens");
  EXPECT_EQ(refused("/model/vocab/ab", "1"), "a token's id is not an integer");
  EXPECT_EQ(refused("/model/vocab/ab", -1), "token id -1 is out of range");
  EXPECT_EQ(refused("/model/vocab/ab", 18446744073709551615U),
            "token id 9223372036854775807 is out of range");
  EXPECT_EQ(refused("/model/vocab/中", 300),
            "token \"中\" has a character outside the byte alphabet");
  EXPECT_EQ(refused("/added_tokens/0/lstrip", true), "added token \"<x>\" has lstrip set");
  EXPECT_EQ(refused("/added_tokens/0/normalized", true), "added token \"<x>\" has normalized set");
  EXPECT_EQ(refused("/added_tokens/0/id", 258), "id 258 belongs to two added tokens");
  EXPECT_EQ(refused("/added_tokens/0/id", 256),
            "added token \"<x>\" has the id 256 of another token");
  EXPECT_EQ(refused("/added_tokens/0/content", "<x>y"), "added token \"<x>y\" appears twice");
  EXPECT_EQ(refused("/added_tokens/0/content", ""), "added token 257 is empty");
  EXPECT_EQ(refused("/added_tokens/0", 1), "an added token lacks id, content or special");
  EXPECT_EQ(refused("/added_tokens", 1), "added_tokens is not a list");
}

TEST(TokenizerJson, RefusesDamagedAndHostileFiles) {
  const auto error = [](const std::string& text) {
    const Result<Tokenizer> t = Tokenizer::parse(text);
    return t ? "accepted" : t.error().message();
  };
  const std::string whole = small_tokenizer().dump();
  for (const size_t size : {size_t{0}, size_t{1}, whole.size() / 2, whole.size() - 1}) {
    EXPECT_EQ(Tokenizer::parse(whole.substr(0, size)).error().code, ErrorCode::bad_json);
  }
  EXPECT_NE(error(std::string(1'000'000, '[')).find("nested too deeply"), std::string::npos);
  EXPECT_NE(error("[" + std::string(1'000'000, ' ') + "]").find("NFC"), std::string::npos);
  std::string many = "[0";
  for (int i = 0; i < 200'000; ++i) many += ",0";
  EXPECT_NE(error(many + "]").find("too many values"), std::string::npos);
  EXPECT_NE(error(R"({"a":1,"a":2})").find("key \"a\" appears twice"), std::string::npos);
}

TEST(TokenizerLoad, NamesTheFileThatItCannotRead) {
  EXPECT_EQ(Tokenizer::load("/nowhere/tokenizer.json").error().code, ErrorCode::file_not_found);
  EXPECT_EQ(Tokenizer::load("/nowhere/tokenizer.json").error().field, "/nowhere/tokenizer.json");
  EXPECT_EQ(Tokenizer::load(QVL_SOURCE_DIR).error().code, ErrorCode::file_unreadable);
}

}  // namespace
}  // namespace qvl
