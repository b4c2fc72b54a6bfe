#include "openai/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "io/json.h"
#include "openai/field_table.h"

namespace qvl {
namespace {

using nlohmann::json;

constexpr size_t kMaxWarnings = 16;

/// A whole number as JSON writes it: 3, not 3.0.
std::optional<int64_t> whole(const json& value) {
  if (const auto* natural = value.get_ptr<const json::number_unsigned_t*>()) {
    if (*natural > uint64_t{std::numeric_limits<int64_t>::max()}) return {};
    return static_cast<int64_t>(*natural);
  }
  if (const auto* integer = value.get_ptr<const json::number_integer_t*>()) return *integer;
  return {};
}

bool is_token(const json& value) {
  const std::optional<int64_t> id = whole(value);
  return id && *id >= 0 && *id <= std::numeric_limits<int32_t>::max();
}

bool has_kind(const json& value, FieldKind kind) {
  const auto all = [&](const auto& is_one) {
    return value.is_array() && std::all_of(value.begin(), value.end(), is_one);
  };
  switch (kind) {
    case FieldKind::boolean:
      return value.is_boolean();
    case FieldKind::integer:
      return whole(value).has_value();
    case FieldKind::number:
      return value.is_number();
    case FieldKind::text:
      return value.is_string();
    case FieldKind::text_or_texts:
      return value.is_string() || all([](const json& item) { return item.is_string(); });
    case FieldKind::tokens:
      return all(is_token);
    case FieldKind::list:
      return value.is_array();
    case FieldKind::object:
      return value.is_object();
    case FieldKind::text_or_object:
      return value.is_string() || value.is_object();
    case FieldKind::any:
      return true;
  }
  return false;
}

/// What the range of a field counts in its value.
double measure(const json& value, FieldKind kind) {
  switch (kind) {
    case FieldKind::integer:
      return static_cast<double>(whole(value).value_or(0));
    case FieldKind::number:
      return value.get<double>();
    case FieldKind::text:
      return static_cast<double>(value.get_ref<const std::string&>().size());
    case FieldKind::list:
    case FieldKind::tokens:
      return static_cast<double>(value.size());
    default:
      return 0;
  }
}

std::string_view kind_name(FieldKind kind) {
  switch (kind) {
    case FieldKind::boolean:
      return "true or false";
    case FieldKind::integer:
      return "a whole number";
    case FieldKind::number:
      return "a number";
    case FieldKind::text:
      return "a string";
    case FieldKind::text_or_texts:
      return "a string or a list of strings";
    case FieldKind::tokens:
      return "a list of token ids";
    case FieldKind::list:
      return "a list";
    case FieldKind::object:
      return "an object";
    case FieldKind::text_or_object:
      return "a string or an object";
    case FieldKind::any:
      break;
  }
  return "a value";
}

/// "1 to 8", "more than 0, at most 1", "1 to 1024 bytes"
std::string range_text(const Field& field, const WireLimits& limits) {
  const char* const unit = field.kind == FieldKind::text   ? " bytes"
                           : field.kind == FieldKind::list ? " items"
                                                           : "";
  const double most = field.highest(limits);
  if (field.above_least) return fmt::format("more than {}, at most {}{}", field.least, most, unit);
  return fmt::format("{} to {}{}", field.least, most, unit);
}

Status check_value(const Field& field, const json& value, const std::string& path,
                   const WireLimits& limits) {
  if (!has_kind(value, field.kind)) {
    return Error{ErrorCode::bad_request,
                 fmt::format("found {}, expected {}", describe(value), kind_name(field.kind)),
                 path};
  }
  if (field.has_range()) {
    const double found = measure(value, field.kind);
    const bool above = field.above_least ? found > field.least : found >= field.least;
    if (!above || !(found <= field.highest(limits))) {
      return Error{ErrorCode::bad_request,
                   fmt::format("found {:.17g}, expected {}", found, range_text(field, limits)),
                   path};
    }
  }
  if (!field.choices.empty()) {
    const json choices = json::parse(field.choices);
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
      return Error{ErrorCode::bad_request,
                   fmt::format("found {}, expected one of {}", describe(value), field.choices),
                   path};
    }
  }
  return {};
}

bool is_neutral(const Field& field, const json& value) {
  if (field.neutral.empty()) return false;
  const json values = json::parse(field.neutral);
  return std::find(values.begin(), values.end(), value) != values.end();
}

}  // namespace

std::span<const Field> request_fields() { return kFields; }

const Field* find_field(Place place, std::string_view name) {
  const auto found = std::find_if(kFields.begin(), kFields.end(), [&](const Field& field) {
    return field.is_in(place) && field.name == name;
  });
  return found == kFields.end() ? nullptr : &*found;
}

Result<FieldReader> FieldReader::check(const json& object, Place place, std::string path,
                                       const FieldOptions& options,
                                       std::vector<std::string>& warnings) {
  const auto warn = [&](std::string text) {
    if (warnings.size() < kMaxWarnings) warnings.push_back(std::move(text));
  };
  if (!object.is_object()) {
    if (!path.empty()) path.pop_back();
    return Error{ErrorCode::bad_request,
                 fmt::format("found {}, expected an object", describe(object)), path};
  }
  for (const auto& [name, value] : object.items()) {
    const Field* const field = find_field(place, name);
    if (field == nullptr) {
      if (options.unknown == UnknownFields::refuse) {
        return Error{ErrorCode::bad_request, "found a field of unknown name",
                     path + in_quotes(name)};
      }
      warn(fmt::format("{}{} is unknown and ignored", path, in_quotes(name)));
      continue;
    }
    if (value.is_null()) continue;
    const std::string where = path + name;
    switch (field->support) {
      case Support::refused:
        if (is_neutral(*field, value)) continue;
        return Error{ErrorCode::unsupported_field, std::string(field->meaning), where};
      case Support::ignored:
        warn(fmt::format("{} is ignored: {}", where, field->meaning));
        continue;
      case Support::honoured:
        break;
    }
    const Status valid = check_value(*field, value, where, options.limits);
    if (!valid) return valid.error();
  }
  return FieldReader(object, place, std::move(path));
}

const json* FieldReader::find(std::string_view name) const {
  const auto member = object_->find(name);
  return member == object_->end() || member->is_null() ? nullptr : &*member;
}

json FieldReader::value(std::string_view name) const {
  const Field* const field = find_field(place_, name);
  require(field != nullptr, "a field that is not in the table");
  if (const json* const found = find(name)) return *found;
  return field->initial.empty() ? json() : json::parse(field->initial);
}

std::optional<bool> FieldReader::boolean(std::string_view name) const {
  const json found = value(name);
  return found.is_null() ? std::nullopt : std::optional(found.get<bool>());
}

std::optional<int64_t> FieldReader::integer(std::string_view name) const {
  return whole(value(name));
}

std::optional<double> FieldReader::number(std::string_view name) const {
  const json found = value(name);
  return found.is_null() ? std::nullopt : std::optional(found.get<double>());
}

std::optional<std::string> FieldReader::text(std::string_view name) const {
  json found = value(name);
  return found.is_null() ? std::nullopt : std::optional(std::move(found.get_ref<std::string&>()));
}

std::vector<std::string> FieldReader::texts(std::string_view name) const {
  const json* const found = find(name);
  if (found == nullptr) return {};
  if (found->is_string()) return {found->get<std::string>()};
  return found->get<std::vector<std::string>>();
}

std::vector<int32_t> FieldReader::tokens(std::string_view name) const {
  const json* const found = find(name);
  return found == nullptr ? std::vector<int32_t>() : found->get<std::vector<int32_t>>();
}

}  // namespace qvl
