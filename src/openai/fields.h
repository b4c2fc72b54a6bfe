#pragma once

/// Every field of a request in one table: its type, range, default, meaning and whether it is
/// honoured. Checks, defaults, the warning about unknown fields and the OpenAPI document come from
/// it. Immutable; safe to share.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "openai/wire_limits.h"
#include "qvl/result.h"

namespace qvl {

enum class FieldKind : uint8_t {
  boolean,
  integer,
  number,
  text,           ///< range: bytes
  text_or_texts,  ///< a string or a list of strings
  tokens,         ///< a list of token ids
  list,           ///< range: items
  object,
  text_or_object,
  any,
};

/// The object in which a field stands, as bits.
enum class Place : uint8_t {
  chat = 1,  ///< body of /v1/chat/completions
  completions = 2,
  image_part = 4,  ///< a picture part of a message, and its image_url object
  stream_options = 8,
  processor_kwargs = 16,  ///< mm_processor_kwargs
  pixel_size = 32,        ///< mm_processor_kwargs.size
};

enum class Support : uint8_t {
  honoured,
  ignored,  ///< accepted: it changes nothing that matters here
  refused,  ///< an error, unless the value is a neutral one
};

struct Field {
  std::string_view name;
  FieldKind kind = FieldKind::any;
  uint8_t places = 0;  ///< bits of Place
  Support support = Support::honoured;
  std::string_view meaning;  ///< one line; for a refused field why, and what to use instead
  std::string_view initial;  ///< default as JSON; empty: none, or as the checkpoint says
  double least = 0;          ///< of numbers; of bytes or items otherwise
  double most = 0;           ///< both zero: no range
  bool above_least = false;  ///< `least` itself is outside
  int64_t WireLimits::*configured_most = nullptr;  ///< instead of `most`
  std::string_view cost;                           ///< of memory or time; may be empty
  std::string_view
      neutral;  ///< of a refused field: a JSON list of values that mean as much as none
  std::string_view choices;  ///< of a text: a JSON list of all that it may be

  bool is_in(Place place) const { return (places & static_cast<uint8_t>(place)) != 0; }
  bool has_range() const { return least != 0 || most != 0 || configured_most != nullptr; }
  double highest(const WireLimits& limits) const {
    return configured_most != nullptr ? static_cast<double>(limits.*configured_most) : most;
  }
};

std::span<const Field> request_fields();
/// Null if there is none.
const Field* find_field(Place place, std::string_view name);

enum class UnknownFields : uint8_t { warn, refuse };

struct FieldOptions {
  WireLimits limits;
  UnknownFields unknown = UnknownFields::warn;
};

/// One checked object of a request. A field that is null counts as absent.
class FieldReader {
 public:
  /// Checks every field of `object` against the table. Errors are bad_request and
  /// unsupported_field; Error::field is the path of the field, such as
  /// "stream_options.include_usage". `path` is that of the object with a dot behind it, or empty.
  /// `object` outlives the reader. Adds at most a few warnings, one line each.
  static Result<FieldReader> check(const nlohmann::json& object, Place place, std::string path,
                                   const FieldOptions& options, std::vector<std::string>& warnings);

  /// The value, or null.
  const nlohmann::json* find(std::string_view name) const;
  /// The value or the table's default; empty if there is neither. The field must be in the table.
  std::optional<bool> boolean(std::string_view name) const;
  std::optional<int64_t> integer(std::string_view name) const;
  std::optional<double> number(std::string_view name) const;
  std::optional<std::string> text(std::string_view name) const;
  /// Of a text_or_texts field; empty if absent.
  std::vector<std::string> texts(std::string_view name) const;
  std::vector<int32_t> tokens(std::string_view name) const;

  std::string path_of(std::string_view name) const { return path_ + std::string(name); }

 private:
  FieldReader(const nlohmann::json& object, Place place, std::string path)
      : object_(&object), place_(place), path_(std::move(path)) {}
  nlohmann::json value(std::string_view name) const;

  const nlohmann::json* object_;
  Place place_;
  std::string path_;
};

}  // namespace qvl
