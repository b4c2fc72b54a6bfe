#include "cli/serve_flag_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "cli/serve_flags_testing.h"

namespace qvl {
namespace {

/// The value of a row's field as text.
std::string field_text(const ServeFlags& flags, const ServeFlag& flag) {
  return std::visit(
      [&]<class T>(T field) -> std::string {
        if constexpr (std::is_same_v<T, std::string EngineFlags::*>) {
          return flags.engine.*field;
        } else if constexpr (std::is_member_object_pointer_v<T>) {
          return fmt::format("{}", flags.*field);
        } else {
          return "";
        }
      },
      flag.field);
}

TEST(ServeFlagTable, EveryFieldIsSetByItsFlag) {
  int fields = 0;
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment != Treatment::honour) continue;
    if (std::holds_alternative<std::monostate>(flag.field) ||
        std::holds_alternative<Status (*)(ServeFlags&, const std::string&)>(flag.field)) {
      continue;
    }
    ++fields;
    Lines samples;
    switch (flag.kind) {
      case FlagKind::boolean:
        samples = {"true", "false"};
        break;
      case FlagKind::integer:
      case FlagKind::count:
      case FlagKind::number:
        samples = {fmt::format("{}", flag.min), fmt::format("{}", std::min(flag.max, 1e12))};
        break;
      case FlagKind::size:
        samples = {"4096", "5"};
        break;
      case FlagKind::choice:
        samples = {flag.values.substr(0, flag.values.find('|')),
                   flag.values.substr(flag.values.rfind('|') + 1)};
        break;
      default:
        samples = {"a b", "-1"};
    }
    for (const std::string& sample : samples) {
      const std::string expected =
          flag.kind == FlagKind::list ? fmt::format("[\"{}\"]", sample) : sample;
      const Outcome o = serve(flag.name == "--model" ? Lines{"--model=" + sample}
                                                     : Lines{"m", flag.name + "=" + sample});
      EXPECT_EQ(o.error, "") << flag.name << " " << sample;
      EXPECT_EQ(o.warnings, Lines()) << flag.name;
      if (!o.error.empty()) continue;
      EXPECT_EQ(field_text(o.flags, flag), expected) << flag.name;
    }
  }
  EXPECT_GE(fields, 30);
}

TEST(ServeFlagTable, EveryFlagHasTheFieldOfItsName) {
  const Outcome o = serve(
      "m --served-model-name a --generation-config vllm --max-logprobs 5 "
      "--enable-force-include-usage --gpu-memory-utilization 0.25 --kv-cache-memory-bytes 1000 "
      "--max-num-seqs 6 --max-num-batched-tokens 77 --scheduling-policy priority "
      "--vision-slice-ms 8.5 --max-num-queued-reqs 9 --max-num-queued-tokens 10 "
      "--max-media-bytes 11 --request-timeout 12 --shutdown-timeout 13 --host h --port 14 --uds u "
      "--api-key k --allowed-origins o --allowed-hosts p --max-connections 15 "
      "--max-connections-per-address 20 "
      "--max-body-bytes 16 --seed 17 --uvicorn-log-level debug");
  ASSERT_EQ(o.error, "");
  const ServeFlags& f = o.flags;
  EXPECT_EQ(f.served_model_names, Lines({"a"}));
  EXPECT_EQ(f.generation_config, "vllm");
  EXPECT_EQ(f.max_logprobs, 5);
  EXPECT_TRUE(f.enable_force_include_usage);
  EXPECT_EQ(f.gpu_memory_utilization, 0.25);
  EXPECT_EQ(f.kv_cache_memory_bytes, 1000);
  EXPECT_EQ(f.max_num_seqs, 6);
  EXPECT_EQ(f.max_num_batched_tokens, 77);
  EXPECT_EQ(f.scheduling_policy, "priority");
  EXPECT_EQ(f.vision_slice_ms, 8.5);
  EXPECT_EQ(f.max_num_queued_reqs, 9);
  EXPECT_EQ(f.max_num_queued_tokens, 10);
  EXPECT_EQ(f.max_media_bytes, 11);
  EXPECT_EQ(f.request_timeout_s, 12);
  EXPECT_EQ(f.shutdown_timeout_s, 13);
  EXPECT_EQ(f.host, "h");
  EXPECT_EQ(f.port, 14);
  EXPECT_EQ(f.uds, "u");
  EXPECT_EQ(f.api_keys, Lines({"k"}));
  EXPECT_EQ(f.allowed_origins, Lines({"o"}));
  EXPECT_EQ(f.allowed_hosts, Lines({"p"}));
  EXPECT_EQ(f.max_connections, 15);
  EXPECT_EQ(f.max_connections_per_address, 20);
  EXPECT_EQ(f.max_body_bytes, 16);
  EXPECT_EQ(f.seed, 17);
  EXPECT_EQ(f.log_level, "debug");
  EXPECT_FALSE(f.return_tokens_as_token_ids || f.strict_params || f.strict_args ||
               f.open_without_key || f.enable_log_requests || f.disable_access_log);
  EXPECT_TRUE(serve("m --return-tokens-as-token-ids").flags.return_tokens_as_token_ids);
  EXPECT_TRUE(serve("m --strict-params").flags.strict_params);
  EXPECT_TRUE(serve("m --strict-args").flags.strict_args);
  EXPECT_TRUE(serve("m --open-without-key").flags.open_without_key);
  EXPECT_TRUE(serve("m --enable-log-requests").flags.enable_log_requests);
  EXPECT_TRUE(serve("m --disable-uvicorn-access-log").flags.disable_access_log);
}

TEST(ServeFlagTable, ValuesOutsideTheRangeAreRefused) {
  for (const ServeFlag& flag : serve_flags()) {
    const bool is_number = std::holds_alternative<int64_t ServeFlags::*>(flag.field) ||
                           std::holds_alternative<double ServeFlags::*>(flag.field);
    if (!is_number || flag.kind == FlagKind::size) continue;
    for (const double value : {flag.min - 1, flag.max + 1}) {
      const Outcome o = serve(Lines{"m", fmt::format("{}={}", flag.name, value)});
      EXPECT_NE(o.error.find(flag.name + ": found '"), std::string::npos) << flag.name << value;
    }
    EXPECT_NE(serve(Lines{"m", flag.name, "abc"}).error, "") << flag.name;
  }
}

/// A value that is not among those which ask for nothing.
std::string unusual_value(const ServeFlag& flag) {
  switch (flag.kind) {
    case FlagKind::boolean:
      return flag.values == "true" ? "false" : "true";
    case FlagKind::integer:
    case FlagKind::size:
    case FlagKind::count:
      return "17";
    case FlagKind::number:
      return "17.5";
    case FlagKind::json:
      return R"({"a": 1})";
    default:
      return "unusual";
  }
}

TEST(ServeFlagTable, EveryOtherFlagGivesItsLineAndNothingElse) {
  int warned = 0;
  int refused = 0;
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment == Treatment::honour) continue;
    const Outcome o = serve(Lines{"m", flag.name + "=" + unusual_value(flag)});
    switch (flag.treatment) {
      case Treatment::warn:
        ++warned;
        EXPECT_EQ(o.error, "");
        EXPECT_EQ(o.warnings, Lines({flag.name + " has no effect: " + flag.text}));
        break;
      case Treatment::refuse:
        ++refused;
        EXPECT_EQ(o.error, flag.name + ": " + flag.text);
        break;
      default:
        EXPECT_EQ(o.error, "");
        EXPECT_EQ(o.warnings, Lines()) << flag.name;
    }
    if (flag.treatment == Treatment::accept) continue;
    std::istringstream harmless(flag.values);
    for (std::string value; std::getline(harmless, value, '|');) {
      const Outcome quiet = serve(Lines{"m", flag.name + "=" + value});
      EXPECT_EQ(quiet.error, "") << flag.name;
      EXPECT_EQ(quiet.warnings, Lines()) << flag.name;
    }
  }
  EXPECT_GE(warned, 50);
  EXPECT_GE(refused, 40);
}

TEST(ServeFlagTable, NamesAreUniqueAndAliasesLeadSomewhere) {
  std::set<std::string_view> names;
  for (const ServeFlag& flag : serve_flags()) {
    EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
    const bool is_engines = flag.treatment == Treatment::honour && flag.text.empty();
    EXPECT_EQ(flag.text.empty(), is_engines || flag.treatment == Treatment::accept) << flag.name;
  }
  for (const ServeAlias& alias : serve_aliases()) {
    EXPECT_TRUE(names.insert(alias.name).second) << alias.name;
    EXPECT_NE(find_serve_flag(alias.flag), nullptr) << alias.name;
  }
}

TEST(ServeFlagTable, HasTheFlagsThatEveryCommandHas) {
  CLI::App app;
  EngineFlags flags;
  add_engine_flags(app, flags);
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = "--" + option->get_lnames()[0];
    if (name == "--help") continue;
    EXPECT_NE(find_serve_flag(name), nullptr) << name;
  }
}

/// docs/serving-flags.md
std::string flags_page() {
  CLI::App app;
  ServeFlags flags;
  add_serve_flags(app, flags);
  const auto cell = [](std::string text) {
    for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) {
      text.insert(at, "\\");
    }
    return text;
  };
  std::string page =
      "# Flags of qvl serve\n\n"
      "vLLM's flags by their names. Underscores for dashes, `--flag=value`, `--no-flag`, lists of "
      "several words, JSON\nand its parts (`--limit-mm-per-prompt.image 4`) are read as vLLM reads "
      "them, so that what stands behind\n`vllm serve` or `python -m "
      "vllm.entrypoints.openai.api_server` can stand behind `qvl serve`. A flag that is not\n"
      "here gives a line, or an error with `--strict-args`.\n\n"
      "`--config FILE` reads flags from YAML, without their dashes:\n\n"
      "```yaml\nmodel: Qwen/Qwen3-VL-2B-Instruct\nmax-model-len: 32k\n"
      "served-model-name: [small, default]\nlimit-mm-per-prompt: {image: 4}\n```\n\n"
      "The command line goes before the file, the file before the environment (`QVL_<FLAG>`); "
      "lists "
      "are replaced, not\njoined.\n";
  std::string group;
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment != Treatment::honour) continue;
    if (flag.group != group) {
      group = flag.group;
      page += "\n## " + group + "\n\n| Flag | Default | |\n|---|---|---|\n";
    }
    const CLI::Option& option = *app.get_option(flag.name);
    std::string initial = option.get_default_str();
    if (initial == "\"\"") initial.clear();
    page += fmt::format("| `{}` | {} | {} |\n", flag.name, initial, cell(option.get_description()));
  }
  const auto rows = [&](Treatment treatment, const char* heading) {
    page += heading;
    for (const ServeFlag& flag : serve_flags()) {
      if (flag.treatment != treatment) continue;
      std::string values =
          flag.kind == FlagKind::boolean && flag.values == "false" ? "" : "`" + flag.values + "`";
      if (values == "``") values.clear();
      page += fmt::format("| `{}` | {} | {} |\n", flag.name, cell(values), cell(flag.text));
    }
  };
  rows(Treatment::warn,
       "\n## Without effect, with a line that says so\n\nThe values in the second column ask for "
       "nothing else and give no line.\n\n| Flag | No line for | Why |\n|---|---|---|\n");
  rows(Treatment::refuse, "\n## Refused\n\n| Flag | Taken with | Why |\n|---|---|---|\n");
  page +=
      "\n## Taken in silence\n\nWhat they ask for is so anyway, or makes no difference here.\n\n";
  std::string line;
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment != Treatment::accept) continue;
    const std::string word = fmt::format("`{}`", flag.name);
    if (line.size() + word.size() > 100) {
      page += line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  page += line + "\n\n## Other names\n\n| Name | Stands for |\n|---|---|\n";
  for (const ServeAlias& alias : serve_aliases()) {
    page += alias.value == nullptr
                ? fmt::format("| `{}` | `{}` |\n", alias.name, alias.flag)
                : fmt::format("| `{}` | `{}={}` |\n", alias.name, alias.flag, alias.value);
  }
  page +=
      "\nIn the environment `VLLM_API_KEY` stands for `QVL_API_KEY`, `QUANTIZE` for "
      "`QVL_QUANTIZATION`, `MAX_IMAGE_SIZE`\nfor `QVL_MAX_IMAGE_SIZE`, and "
      "`ENABLE_SLIDING_WINDOW` for `QVL_ENABLE_SLIDING_WINDOW`.\n";
  return page;
}

TEST(ServingFlagsPage, IsWhatTheTableSays) {
  std::stringstream text;
  text << std::ifstream(QVL_SOURCE_DIR "/docs/serving-flags.md").rdbuf();
  const std::string page = flags_page();
  if (text.str() == page) return;
  const std::string fresh = testing::TempDir() + "serving-flags.md";
  std::ofstream(fresh) << page;
  FAIL() << "docs/serving-flags.md is not what the table says; copy " << fresh << " there";
}

}  // namespace
}  // namespace qvl
