#include "cli/yaml_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

namespace qvl {
namespace {

/// "name@line = [values]" per setting, or the message.
std::string read(const std::string& text) {
  const auto settings = parse_yaml_settings(text, "serve.yaml");
  if (!settings) return settings.error().field + ": " + settings.error().detail;
  std::string out;
  for (const YamlSetting& s : *settings) {
    out += fmt::format("{}@{} = {}\n", s.name, s.line, s.values);
  }
  return out;
}

TEST(YamlConfig, SettingsKeepTheirOrderTheirLinesAndTheirSpelling) {
  EXPECT_EQ(read("# of a small server\n"
                 "model: Qwen/Qwen3-VL-2B-Instruct\n"
                 "\n"
                 "max_model_len: 32k\n"
                 "api-key: \"0123\"\n"
                 "port: 0080\n"
                 "enforce-eager: true\n"
                 "uds: ''\n"),
            "model@2 = [\"Qwen/Qwen3-VL-2B-Instruct\"]\n"
            "max_model_len@4 = [\"32k\"]\n"
            "api-key@5 = [\"0123\"]\n"
            "port@6 = [\"0080\"]\n"
            "enforce-eager@7 = [\"true\"]\n"
            "uds@8 = [\"\"]\n");
  EXPECT_EQ(read(""), "");
  EXPECT_EQ(read("{port: 1, host: b}"), "port@1 = [\"1\"]\nhost@1 = [\"b\"]\n");
}

TEST(YamlConfig, AListIsSeveralValuesAndAMapIsJson) {
  EXPECT_EQ(read("served-model-name:\n- a\n- b c\n"), "served-model-name@1 = [\"a\", \"b c\"]\n");
  EXPECT_EQ(read("a: [1.10, no, '']\n"), "a@1 = [\"1.10\", \"no\", \"\"]\n");
  EXPECT_EQ(read("a: [1, [x, 2], {y: null}]"), R"(a@1 = ["1", "[\"x\",2]", "{\"y\":null}"])"
                                               "\n");
  const auto map = parse_yaml_settings(
      "limit-mm-per-prompt:\n  image: 4\n  video: {count: '1', fast: true, ratio: 0.5}\n", "f");
  ASSERT_TRUE(map);
  EXPECT_EQ(map->at(0).values.at(0),
            R"({"image":4,"video":{"count":"1","fast":true,"ratio":0.5}})");
}

TEST(YamlConfig, ASettingWithoutAValueIsAbsent) {
  EXPECT_EQ(read("quantization: null\nport: 1\nuds:\nhost: ~\n"), "port@2 = [\"1\"]\n");
}

TEST(YamlConfig, WhatIsWrongIsNamedWithItsLine) {
  EXPECT_EQ(read("port: 1\nhost: a\nport: 2\n"), "serve.yaml:3: found 'port' twice");
  EXPECT_EQ(read("port: 1\nuds:\nuds: 2\n"), "serve.yaml:3: found 'uds' twice");
  EXPECT_EQ(read("a:\n  b: {c: 1,\n  c: 2, d: 3, c: 4}\n").substr(0, 12), "serve.yaml:3");
  EXPECT_EQ(read("- port\n"), "serve.yaml:1: found a list, expected settings such as port: 8000");
  EXPECT_EQ(read("\nport\n"), "serve.yaml:2: found a value, expected settings such as port: 8000");
  EXPECT_EQ(read("port: 1\n? [a]\n: 2\n"), "serve.yaml:2: found a list or a map, expected a name");
  EXPECT_EQ(read("a: &x 1\n"), "serve.yaml:1: found an anchor, expected plain settings");
  EXPECT_EQ(read("a: &x\n  b: 1\n"), "serve.yaml:1: found an anchor, expected plain settings");
  EXPECT_EQ(read("a: 1\n---\nb: 2\n"), "serve.yaml:2: found a second document, expected one");
  EXPECT_EQ(read("port: [1, 2\nhost: a\n").substr(0, 12), "serve.yaml:2");
  EXPECT_EQ(read("a: \xff"), "serve.yaml: found byte 0xff at offset 3");
}

TEST(YamlConfig, SizeDepthAndNumberOfValuesAreLimited) {
  const std::string deep(15, '[');
  EXPECT_EQ(read("a: " + deep + std::string(15, ']')).substr(0, 5), "a@1 =");
  EXPECT_EQ(read("a: [" + deep + std::string(16, ']')), "serve.yaml:1: found more than 16 levels");
  EXPECT_NE(read("a: " + std::string(60'000, '[')).find("serve.yaml:1: "), std::string::npos);
  std::string many = "a: [";
  for (int i = 0; i < 9'997; ++i) many += "1,";
  EXPECT_EQ(read(many + "1]").substr(0, 5), "serve");  // the map, the name and the list count, too
  EXPECT_EQ(read(many + "]").substr(0, 5), "a@1 =");
  const std::string comment = "#" + std::string((64 << 10) - 1, 'x');
  EXPECT_EQ(read(comment), "");
  EXPECT_EQ(read(comment + "x"), "serve.yaml: found 65537 bytes, expected at most 65536");
}

}  // namespace
}  // namespace qvl
