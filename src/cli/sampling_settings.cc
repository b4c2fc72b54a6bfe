#include "cli/sampling_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <vector>

namespace qvl {
namespace {

/// False: `text` is not such a value.
template <class T>
bool read_value(const std::string& text, T& value) {
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  return read.ec == std::errc() && read.ptr == end;
}

bool read_value(const std::string& text, bool& value) {
  value = text == "on" || text == "true";
  return value || text == "off" || text == "false";
}

bool read_value(const std::string& text, std::string& value) {
  value = text;
  return true;
}

template <class T>
bool read_value(const std::string& text, std::optional<T>& value) {
  return read_value(text, value.emplace());
}

template <class T>
bool assign(T& member, const T& initial, const std::string& text) {
  T value = initial;
  if (text != "default" && !read_value(text, value)) return false;
  member = value;
  return true;
}

template <auto Member>
bool set(SamplingFlags& flags, const std::string& text) {
  return assign(flags.*Member, SamplingFlags{}.*Member, text);
}

struct Setting {
  std::string_view name;
  std::string_view kind;
  bool (*set)(SamplingFlags& flags, const std::string& text);
};

constexpr std::array kSettings = {
    Setting{"temperature", "a number", set<&SamplingFlags::temperature>},
    Setting{"top_k", "a whole number", set<&SamplingFlags::top_k>},
    Setting{"top_p", "a number", set<&SamplingFlags::top_p>},
    Setting{"min_p", "a number", set<&SamplingFlags::min_p>},
    Setting{"repetition_penalty", "a number", set<&SamplingFlags::repetition_penalty>},
    Setting{"presence_penalty", "a number", set<&SamplingFlags::presence_penalty>},
    Setting{"frequency_penalty", "a number", set<&SamplingFlags::frequency_penalty>},
    Setting{"max_tokens", "a whole number", set<&SamplingFlags::max_tokens>},
    Setting{"min_tokens", "a whole number", set<&SamplingFlags::min_tokens>},
    Setting{"seed", "a whole number", set<&SamplingFlags::seed>},
    Setting{"ignore_eos", "on or off", set<&SamplingFlags::ignore_eos>},
    Setting{"repetition_guard", "auto, on or off", set<&SamplingFlags::repetition_guard>},
};

}  // namespace

Status set_sampling(SamplingFlags& flags, const std::string& name, const std::string& value) {
  std::string key = name;
  std::replace(key.begin(), key.end(), '-', '_');
  const auto* const setting = std::find_if(kSettings.begin(), kSettings.end(),
                                           [&](const Setting& s) { return s.name == key; });
  if (setting == kSettings.end()) {
    std::vector<std::string_view> names;
    for (const Setting& s : kSettings) names.push_back(s.name);
    return Error{ErrorCode::bad_command,
                 fmt::format("found '{}', expected one of {}", name, fmt::join(names, ", ")),
                 "/set"};
  }
  if (!setting->set(flags, value)) {
    return Error{ErrorCode::bad_command,
                 fmt::format("found '{}', expected {} or default", value, setting->kind),
                 fmt::format("/set {}", setting->name)};
  }
  return {};
}

}  // namespace qvl
