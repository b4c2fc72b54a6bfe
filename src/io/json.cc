#include "io/json.h"

#include <fmt/format.h>

#include <limits>

namespace qvl {
namespace {

using nlohmann::json;

/// Builds the document while it counts values, depth and names, so that a hostile text is refused
/// before it has cost memory. The parser that drives it is not recursive.
class DocumentBuilder final : public nlohmann::json_sax<json> {
 public:
  explicit DocumentBuilder(const JsonLimits& limits) : limits_(limits) {}

  json& document() { return document_; }
  const std::string& problem() const { return problem_; }

  bool null() override { return put(nullptr) != nullptr; }
  bool boolean(bool value) override { return put(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return put(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return put(value) != nullptr; }
  bool number_float(number_float_t value, const string_t& /*digits*/) override {
    return put(value) != nullptr;
  }
  bool string(string_t& value) override { return put(std::move(value)) != nullptr; }
  bool binary(binary_t& /*value*/) override { return false; }
  bool start_object(size_t /*size*/) override { return open(json::object()); }
  bool end_object() override { return close(); }
  bool start_array(size_t /*size*/) override { return open(json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [member, is_new] = open_.back()->emplace(name, nullptr);
    if (!is_new) {
      problem_ = fmt::format("the name {} appears twice in one object", in_quotes(name));
      return false;
    }
    member_ = &*member;
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    // The parser's own words stop where it begins to quote the text.
    std::string_view what = error.what();
    what = what.substr(0, what.find("; last read"));
    const char* const reason = what.find("surrogate") != what.npos ? ": a lone surrogate"
                               : what.find("UTF-8") != what.npos   ? ": a byte that is not UTF-8"
                                                                   : "";
    problem_ = fmt::format("syntax error near byte {}{}", position, reason);
    return false;
  }

 private:
  /// Places a value where the text has it; null if there are too many.
  json* put(json&& value) {
    if (++values_ > limits_.max_values) {
      problem_ = fmt::format("found more than {} values", limits_.max_values);
      return nullptr;
    }
    if (open_.empty()) {
      document_ = std::move(value);
      return &document_;
    }
    json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    *member_ = std::move(value);
    return member_;
  }

  bool open(json&& container) {
    if (open_.size() >= limits_.max_depth) {
      problem_ = fmt::format("found values nested deeper than {} levels", limits_.max_depth);
      return false;
    }
    json* const placed = put(std::move(container));
    if (placed == nullptr) return false;
    open_.push_back(placed);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const JsonLimits limits_;
  json document_;
  std::vector<json*> open_;  ///< from the document to the container being read
  json* member_ = nullptr;   ///< where the value of the last key goes
  size_t values_ = 0;
  std::string problem_;
};

std::optional<int64_t> whole_number(const json& value) {
  // Asked first: a pointer to the signed kind is also given for unsigned values.
  if (const auto* natural = value.get_ptr<const json::number_unsigned_t*>()) {
    if (*natural > uint64_t{std::numeric_limits<int64_t>::max()}) return {};
    return static_cast<int64_t>(*natural);
  }
  if (const auto* integer = value.get_ptr<const json::number_integer_t*>()) return *integer;
  return {};
}

std::optional<int64_t> whole_number(const json& value, IntRange range) {
  const std::optional<int64_t> found = whole_number(value);
  if (!found || *found < range.min || *found > range.max) return {};
  return found;
}

std::optional<double> real_number(const json& value, NumberRange range) {
  if (!value.is_number()) return {};
  const auto found = value.get<double>();
  if (!(found >= range.min && found <= range.max)) return {};
  return found;
}

std::string expected_text(IntRange range) {
  return fmt::format("a whole number from {} to {}", range.min, range.max);
}

std::string expected_text(NumberRange range) {
  return fmt::format("a number from {} to {}", range.min, range.max);
}

}  // namespace

Result<json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return Error{ErrorCode::bad_json,
                 fmt::format("found {} bytes, expected at most {}", text.size(), limits.max_bytes),
                 {}};
  }
  DocumentBuilder builder(limits);
  if (!json::sax_parse(text, &builder)) return Error{ErrorCode::bad_json, builder.problem(), {}};
  return std::move(builder.document());
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kMaxBytes = 60;
  if (text.size() <= kMaxBytes) return fmt::format("\"{}\"", text);
  size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return fmt::format("\"{}…\"", text.substr(0, end));
}

std::string describe(const json& value) {
  if (const auto* text = value.get_ptr<const json::string_t*>()) return in_quotes(*text);
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  if (value.is_object()) return "an object";
  return value.dump();
}

JsonReader::JsonReader(const json& document, std::string file, std::optional<Error>& error)
    : object_(document.is_object() ? &document : nullptr), file_(std::move(file)), error_(&error) {
  if (object_ == nullptr && !error) {
    error = Error{ErrorCode::bad_config,
                  fmt::format("found {}, expected an object", describe(document)), file_};
  }
}

JsonReader::JsonReader(const json* value, std::string path, const JsonReader& parent)
    : object_(value), path_(std::move(path)), file_(parent.file_), error_(parent.error_) {}

const json* JsonReader::find(std::string_view name) const {
  if (object_ == nullptr) return nullptr;
  const auto member = object_->find(name);
  return member == object_->end() || member->is_null() ? nullptr : &*member;
}

int64_t JsonReader::integer(std::string_view name, IntRange range,
                            std::optional<int64_t> fallback) {
  const json* const value = find(name);
  if (value == nullptr && fallback) return *fallback;
  const auto found = value ? whole_number(*value, range) : std::nullopt;
  if (!found) fail(name, expected_text(range));
  return found.value_or(0);
}

double JsonReader::number(std::string_view name, NumberRange range,
                          std::optional<double> fallback) {
  const json* const value = find(name);
  if (value == nullptr && fallback) return *fallback;
  const auto found = value ? real_number(*value, range) : std::nullopt;
  if (!found) fail(name, expected_text(range));
  return found.value_or(0);
}

bool JsonReader::boolean(std::string_view name, bool fallback) {
  const json* const value = find(name);
  if (value == nullptr) return fallback;
  if (const auto* found = value->get_ptr<const json::boolean_t*>()) return *found;
  fail(name, "true or false");
  return fallback;
}

std::string JsonReader::text(std::string_view name, std::string_view fallback) {
  const json* const value = find(name);
  if (value == nullptr) return std::string(fallback);
  if (const auto* found = value->get_ptr<const json::string_t*>()) return *found;
  fail(name, "a string");
  return std::string(fallback);
}

std::vector<int64_t> JsonReader::integers(std::string_view name, IntRange range, size_t max_count) {
  const json* const value = find(name);
  if (value == nullptr || !value->is_array() || value->size() > max_count) {
    fail(name, fmt::format("a list of at most {} whole numbers", max_count));
    return {};
  }
  std::vector<int64_t> result;
  for (const json& item : *value) {
    const auto found = whole_number(item, range);
    if (!found) {
      fail(name, fmt::format("only whole numbers from {} to {} in it, not {}", range.min, range.max,
                             describe(item)));
      return {};
    }
    result.push_back(*found);
  }
  return result;
}

std::vector<double> JsonReader::numbers(std::string_view name, NumberRange range, size_t count,
                                        std::vector<double> fallback) {
  const json* const value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_array() || value->size() != count) {
    fail(name, fmt::format("a list of {} numbers", count));
    return fallback;
  }
  std::vector<double> result;
  for (const json& item : *value) {
    const auto found = real_number(item, range);
    if (!found) {
      fail(name, fmt::format("only numbers from {} to {} in it, not {}", range.min, range.max,
                             describe(item)));
      return fallback;
    }
    result.push_back(*found);
  }
  return result;
}

std::vector<std::string> JsonReader::names(size_t max_count) const {
  std::vector<std::string> result;
  if (object_ == nullptr) return result;
  for (auto it = object_->begin(); it != object_->end() && result.size() < max_count; ++it) {
    result.push_back(it.key());
  }
  return result;
}

JsonReader JsonReader::object(std::string_view name) {
  if (!has(name)) fail(name, "an object");
  return optional_object(name);
}

JsonReader JsonReader::optional_object(std::string_view name) {
  const json* value = find(name);
  if (value != nullptr && !value->is_object()) {
    fail(name, "an object");
    value = nullptr;
  }
  return {value, fmt::format("{}{}.", path_, name), *this};
}

void JsonReader::fail(std::string_view name, std::string_view expected, ErrorCode code) {
  if (*error_) return;
  const json* const value = find(name);
  *error_ = Error{code,
                  fmt::format("{}{}: found {}, expected {}", path_, name,
                              value ? describe(*value) : "nothing", expected),
                  file_};
}

}  // namespace qvl
