#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "text/template_runtime.h"
#include "text/unicode.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;
using Kind = Value::Kind;

class ContextReader {
 public:
  explicit ContextReader(TemplateRuntime& runtime) : runtime_(runtime) {}

  Value read(const Json& json, Origin origin, int depth = 0) {
    if (depth > runtime_.limits().max_depth) {
      return runtime_.fail(ErrorCode::template_limit,
                           fmt::format("the conversation is nested more than {} levels deep",
                                       runtime_.limits().max_depth));
    }
    switch (json.type()) {
      case Json::value_t::boolean:
        return Value::of(json.get<bool>());
      case Json::value_t::number_integer:
        return Value::of(json.get<int64_t>());
      case Json::value_t::number_unsigned:
        return Value::of(json.get<uint64_t>());
      case Json::value_t::number_float:
        return Value::of(json.get<double>());
      case Json::value_t::string:
        return text(json.get_ref<const std::string&>(), origin);
      case Json::value_t::array: {
        std::vector<Value> items;
        items.reserve(json.size());
        for (const Json& item : json) {
          items.push_back(read(item, origin, depth + 1));
          if (runtime_.failed()) return {};
        }
        return runtime_.list(std::move(items));
      }
      case Json::value_t::object:
        return object(json, origin, depth);
      default:
        return Value::none();
    }
  }

  Value messages(const Json& json) {
    if (!json.is_array()) return read(json, Origin::user, 1);
    std::vector<Value> items;
    for (const Json& message : json) {
      const auto role = message.is_object() ? message.find("role") : message.end();
      const bool assistant = message.is_object() && role != message.end() && *role == "assistant";
      const Origin origin = assistant ? Origin::assistant : Origin::user;
      items.push_back(message.is_object() ? this->message(message, origin)
                                          : read(message, origin, 2));
      if (runtime_.failed()) return {};
    }
    return runtime_.list(std::move(items));
  }

 private:
  Value text(const std::string& bytes, Origin origin) {
    if (is_valid_utf8(bytes)) return runtime_.heap().text(bytes, origin);
    return runtime_.heap().text(replace_invalid_utf8(bytes), origin);
  }

  Value object(const Json& json, Origin origin, int depth) {
    Dict dict;
    for (const auto& [key, item] : json.items()) {
      dict.set(text(key, origin), read(item, origin, depth + 1));
      if (runtime_.failed()) return {};
    }
    return runtime_.dict(std::move(dict));
  }

  /// Stock templates iterate over a content that is not a string; null stands for no text.
  Value message(const Json& json, Origin origin) {
    Dict dict;
    for (const auto& [key, item] : json.items()) {
      const bool no_content = key == "content" && item.is_null();
      dict.set(text(key, origin), no_content ? text("", origin) : read(item, origin, 3));
      if (runtime_.failed()) return {};
    }
    return runtime_.dict(std::move(dict));
  }

  TemplateRuntime& runtime_;
};

class JsonWriter {
 public:
  JsonWriter(TemplateRuntime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  std::string take() { return std::move(out_); }

  void write(const Value& value, int level = 0) {
    if (!runtime_.spend(1)) return;
    switch (value.kind) {
      case Kind::none:
        out_ += "null";
        return;
      case Kind::boolean:
        out_ += value.boolean ? "true" : "false";
        return;
      case Kind::integer:
        out_ += std::to_string(value.integer);
        return;
      case Kind::unsigned_integer:
        out_ += std::to_string(value.unsigned_integer);
        return;
      case Kind::real:
        real(value.real);
        return;
      case Kind::string:
        string(value.text());
        return;
      case Kind::list:
      case Kind::tuple: {
        bool first = true;
        out_ += '[';
        for (const Value& item : value.list->items) {
          if (runtime_.failed()) return;
          item_start(first, level + 1);
          write(item, level + 1);
        }
        close(first, level, ']');
        return;
      }
      case Kind::dict:
        dict(*value.dict, level);
        return;
      default:
        runtime_.wrong_type("write it as JSON", value);
    }
  }

 private:
  void real(double value) {
    if (std::isnan(value)) {
      out_ += "NaN";
    } else if (std::isinf(value)) {
      out_ += value < 0 ? "-Infinity" : "Infinity";
    } else {
      out_ += real_to_text(value);
    }
  }

  void item_start(bool& first, int level) {
    if (!first) out_ += style_.item_separator.bytes();
    first = false;
    new_line(level);
  }

  void close(bool empty, int level, char bracket) {
    if (!empty) new_line(level);
    out_ += bracket;
  }

  void new_line(int level) {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level && runtime_.spend_bytes(style_.indent->size()); ++i) {
      out_ += style_.indent->bytes();
    }
  }

  void dict(const Dict& dict, int level) {
    std::vector<const Dict::Entry*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    const bool sortable = std::all_of(entries.begin(), entries.end(),
                                      [](const auto* e) { return e->first.is_string(); });
    if (style_.sort_keys && !sortable) {
      runtime_.fail("cannot sort keys that are not all strings");
      return;
    }
    if (style_.sort_keys) {
      std::sort(entries.begin(), entries.end(),
                [](const auto* a, const auto* b) { return a->first.text() < b->first.text(); });
    }
    bool first = true;
    out_ += '{';
    for (const auto* entry : entries) {
      if (runtime_.failed()) return;
      item_start(first, level + 1);
      key(entry->first);
      out_ += style_.key_separator.bytes();
      write(entry->second, level + 1);
    }
    close(first, level, '}');
  }

  void key(const Value& key) {
    if (key.is_string()) {
      string(key.text());
      return;
    }
    out_ += '"';
    write(key);
    out_ += '"';
  }

  void string(std::string_view text) {
    if (!runtime_.spend_bytes(text.size())) return;
    out_ += '"';
    while (!text.empty()) {
      const CodePoint c = first_code_point(text);
      character(c, text.substr(0, c.size));
      text.remove_prefix(c.size);
    }
    out_ += '"';
  }

  void character(CodePoint c, std::string_view bytes) {
    constexpr std::string_view kNamed = "\b\t\n\f\r\"\\";
    constexpr std::string_view kLetters = "btnfr\"\\";
    const size_t named = c.size == 1 ? kNamed.find(bytes[0]) : std::string_view::npos;
    if (named != std::string_view::npos) {
      out_ += '\\';
      out_ += kLetters[named];
    } else if (c.value >= 0x20 && (c.value < 0x7F || !style_.ensure_ascii)) {
      out_ += bytes;
    } else if (c.value < 0x10000) {
      escape(c.value);
    } else {
      escape(0xD800 + ((c.value - 0x10000) >> 10));
      escape(0xDC00 + ((c.value - 0x10000) & 0x3FF));
    }
  }

  void escape(char32_t unit) { out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(unit)); }

  TemplateRuntime& runtime_;
  JsonStyle style_;
  std::string out_;
};

}  // namespace

Value context_from_json(TemplateRuntime& runtime, const Json& context) {
  if (!context.is_object()) return runtime.fail("the variables are not a JSON object");
  ContextReader reader(runtime);
  Dict variables;
  for (const auto& [name, json] : context.items()) {
    const Value value =
        name == "messages" ? reader.messages(json) : reader.read(json, Origin::user, 1);
    variables.set(runtime.heap().text(replace_invalid_utf8(name), Origin::user), value);
    if (runtime.failed()) return {};
  }
  // Its depth does not count: templates see the variables, not the object.
  return runtime.heap().dict(std::move(variables));
}

OriginText to_json(TemplateRuntime& runtime, const Value& value, const JsonStyle& style) {
  JsonWriter writer(runtime, style);
  writer.write(value);
  if (runtime.failed()) return {};
  Origin origin = summary_of(value).least_trusted;
  for (const OriginText* text : {&style.item_separator, &style.key_separator}) {
    origin = std::max(origin, summary_of(Value::of(text)).least_trusted);
  }
  if (style.indent) {
    origin = std::max(origin, summary_of(Value::of(&*style.indent)).least_trusted);
  }
  return {writer.take(), origin};
}

}  // namespace qvl
