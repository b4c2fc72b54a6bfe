#include "cli/yaml_config.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/inputs.h"

namespace qvl {
namespace {

constexpr size_t kMaxBytes = 64 << 10;
constexpr size_t kMaxValues = 10'000;
constexpr size_t kMaxDepth = 16;

/// Ends the parsing from inside an event.
struct Refusal {
  int line;
  std::string detail;
};

/// A value inside a list or a map: what YAML calls a plain scalar may be a number or a truth value.
Json typed(const std::string& text, bool is_plain) {
  if (!is_plain) return text;
  Json value = Json::parse(text, nullptr, false);
  return value.is_primitive() && !value.is_string() && !value.is_discarded() ? value : Json(text);
}

std::string as_text(const Json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Takes the events of the parser, so that no document is built that could be larger than its text.
class SettingsReader : public YAML::EventHandler {
 public:
  std::vector<YamlSetting> take() { return std::move(settings_); }
  int first_line() const { return first_line_; }

  void OnDocumentStart(const YAML::Mark& mark) override { first_line_ = mark.line + 1; }
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    refuse(mark, "found an anchor, expected plain settings");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "found an alias, expected plain settings");
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    take_scalar(mark, anchor, "null", true);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    take_scalar(mark, anchor, value, tag == "?" || tag.empty());
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, Json::array());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, Json::object());
  }
  void OnMapEnd() override { close(); }

 private:
  /// A list or a map that is being read.
  struct Open {
    Json value;
    std::string key;  ///< of a map: whose value comes next
    bool has_key = false;
  };

  [[noreturn]] static void refuse(const YAML::Mark& mark, std::string detail) {
    throw Refusal{mark.line + 1, std::move(detail)};
  }

  void check(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) refuse(mark, "found an anchor, expected plain settings");
    if (++values_ > kMaxValues) {
      refuse(mark, fmt::format("found more than {} values", kMaxValues));
    }
  }

  void take_scalar(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& text,
                   bool is_plain) {
    check(mark, anchor);
    if (open_.empty()) refuse(mark, "found a value, expected settings such as port: 8000");
    Open& top = open_.back();
    if (top.value.is_object() && !top.has_key) {
      if (top.value.contains(text)) refuse(mark, fmt::format("found '{}' twice", text));
      top.key = text;
      top.has_key = true;
      if (open_.size() == 1) {
        line_ = mark.line + 1;
        top.value[text] = nullptr;
      }
      return;
    }
    const bool is_absent =
        is_plain && (text.empty() || text == "~" || text == "null" || text == "Null");
    if (open_.size() == 1) {
      if (is_absent) {
        top.has_key = false;
      } else {
        finish(text);
      }
      return;
    }
    if (open_.size() == 2 && top.value.is_array()) {
      put(text);  // an element of a setting's list: as it is written
      return;
    }
    put(is_absent ? Json() : typed(text, is_plain));
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, Json empty) {
    check(mark, anchor);
    if (open_.empty() && !empty.is_object()) {
      refuse(mark, "found a list, expected settings such as port: 8000");
    }
    if (!open_.empty() && open_.back().value.is_object() && !open_.back().has_key) {
      refuse(mark, "found a list or a map, expected a name");
    }
    if (open_.size() == kMaxDepth)
      refuse(mark, fmt::format("found more than {} levels", kMaxDepth));
    open_.push_back({std::move(empty), "", false});
  }

  void close() {
    Json value = std::move(open_.back().value);
    open_.pop_back();
    if (open_.empty()) return;
    if (open_.size() == 1) {
      finish(value);
    } else {
      put(std::move(value));
    }
  }

  /// Into the innermost list or map.
  void put(Json value) {
    Open& top = open_.back();
    if (top.value.is_array()) {
      top.value.push_back(std::move(value));
      return;
    }
    top.value[top.key] = std::move(value);
    top.has_key = false;
  }

  /// The value of a setting is complete.
  void finish(const Json& value) {
    Open& top = open_.back();
    YamlSetting setting{.name = top.key, .values = {}, .line = line_};
    if (value.is_array()) {
      for (const Json& element : value) setting.values.push_back(as_text(element));
    } else {
      setting.values.push_back(as_text(value));
    }
    settings_.push_back(std::move(setting));
    top.has_key = false;
  }

  std::vector<Open> open_;
  std::vector<YamlSetting> settings_;
  size_t values_ = 0;
  int first_line_ = 1;
  int line_ = 0;  ///< of the setting that is being read
};

}  // namespace

Result<std::vector<YamlSetting>> parse_yaml_settings(std::string_view text,
                                                     const std::string& file) {
  if (text.size() > kMaxBytes) {
    return Error{ErrorCode::file_too_large,
                 fmt::format("found {} bytes, expected at most {}", text.size(), kMaxBytes), file};
  }
  if (const Status utf8 = check_utf8(text, file); !utf8) return utf8.error();
  const auto bad = [&](int line, const std::string& detail) {
    return Error{ErrorCode::bad_settings, detail, fmt::format("{}:{}", file, line)};
  };
  std::istringstream stream{std::string(text)};
  SettingsReader reader;
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(reader)) return reader.take();
    SettingsReader second;
    if (parser.HandleNextDocument(second)) {
      return bad(second.first_line(), "found a second document, expected one");
    }
  } catch (const Refusal& refusal) {
    return bad(refusal.line, refusal.detail);
  } catch (const YAML::Exception& e) {
    return bad(e.mark.line + 1, e.msg);
  }
  return reader.take();
}

}  // namespace qvl
