#pragma once

/// The small JSON files of a checkpoint: parsed within limits and read field by field. Nothing here
/// throws on foreign text, and every message says what was found and what was expected.
/// Only .cc files include this header.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/result.h"

namespace qvl {

struct JsonLimits {
  size_t max_bytes = size_t{1} << 20;
  size_t max_values = 100'000;  ///< of all kinds; bounds the memory of the parsed document
  size_t max_depth = 64;
};

/// Error bad_json, also for a name that appears twice in one object: two readers of such a file may
/// see two different documents.
Result<nlohmann::json> parse_json(std::string_view text, const JsonLimits& limits = {});

/// `text` in double quotes for a message, cut after some sixty bytes, never inside a character.
std::string in_quotes(std::string_view text);

/// A value for a message: `"abc"`, `12`, `a list of 3`, `an object`.
std::string describe(const nlohmann::json& value);

struct IntRange {
  int64_t min;
  int64_t max;
};

struct NumberRange {
  double min;
  double max;
};

/// The fields of one object of a configuration file. The first field that is not as expected is
/// kept in the Error that all readers of a document share, and from then on reads give the fallback
/// or zero: read every field, then test for the error once. A field that is null counts as absent.
class JsonReader {
 public:
  /// `file` names the document in messages. The document must outlive the reader.
  JsonReader(const nlohmann::json& document, std::string file, std::optional<Error>& error);

  /// Null if the field is absent or null.
  const nlohmann::json* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }

  /// Without a fallback the field must be there.
  int64_t integer(std::string_view name, IntRange range, std::optional<int64_t> fallback = {});
  double number(std::string_view name, NumberRange range, std::optional<double> fallback = {});
  bool boolean(std::string_view name, bool fallback);
  std::string text(std::string_view name, std::string_view fallback);
  /// A list of at most `max_count` whole numbers.
  std::vector<int64_t> integers(std::string_view name, IntRange range, size_t max_count);
  /// A list of exactly `count` numbers, or `fallback`.
  std::vector<double> numbers(std::string_view name, NumberRange range, size_t count,
                              std::vector<double> fallback);
  /// The names of this object's fields, in order; at most `max_count` of them.
  std::vector<std::string> names(size_t max_count) const;
  /// The reader of an absent object finds nothing.
  JsonReader object(std::string_view name);
  JsonReader optional_object(std::string_view name);

  /// Keeps the error "<path of name>: found <value>, expected <expected>" unless there is one.
  void fail(std::string_view name, std::string_view expected,
            ErrorCode code = ErrorCode::bad_config);

 private:
  JsonReader(const nlohmann::json* value, std::string path, const JsonReader& parent);

  const nlohmann::json* object_;
  std::string path_;  ///< "text_config."
  std::string file_;
  std::optional<Error>* error_;
};

}  // namespace qvl
