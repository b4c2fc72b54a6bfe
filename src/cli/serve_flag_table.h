#pragma once

/// Every flag that `qvl serve` knows, and what becomes of it.

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/serve_flags.h"

namespace qvl {

enum class FlagKind {
  boolean,  ///< --x, --no-x
  integer,
  number,
  count,  ///< 4096, 32k, 32K
  size,   ///< 12GiB
  text,
  choice,
  list,  ///< one or more words, or a JSON list
  json,  ///< an object; --x.a.b 1 sets a part of it
};

enum class Treatment {
  honour,
  accept,  ///< nothing to do: it is so anyway, or cannot make a difference
  warn,    ///< goes on without, and says so
  refuse,
};

/// Where a value goes. A function checks the text, and writes it unless it is unusable.
using FlagField =
    std::variant<std::monostate, bool ServeFlags::*, int64_t ServeFlags::*, double ServeFlags::*,
                 std::string ServeFlags::*, std::vector<std::string> ServeFlags::*,
                 std::string EngineFlags::*, Status (*)(ServeFlags&, const std::string&)>;

struct ServeFlag {
  std::string name;  ///< "--max-model-len"
  FlagKind kind = FlagKind::text;
  Treatment treatment = Treatment::honour;
  /// What an honoured flag does (empty: add_engine_flags() declares it), or why another has no
  /// effect.
  std::string text;
  /// Of a choice: its values. Of warn and refuse: values that ask for nothing else than what is so
  /// anyway. Separated by |.
  std::string values;
  FlagField field;
  double min = std::numeric_limits<double>::lowest();
  double max = std::numeric_limits<double>::max();
  std::string group;
  /// The same in the words of the option it is given to; may be null.
  Result<std::string> (*translate)(const std::string& text) = nullptr;
};

/// Another spelling.
struct ServeAlias {
  std::string_view name;  ///< "--ctx-size", "-tp"
  std::string_view flag;
  const char* value = nullptr;  ///< what it stands for; null: takes a value as the flag does
};

std::span<const ServeFlag> serve_flags();
std::span<const ServeAlias> serve_aliases();

/// Null if there is none.
const ServeFlag* find_serve_flag(std::string_view name);
const ServeAlias* find_serve_alias(std::string_view name);

/// One of `values` ("a|b|c").
bool is_one_of(std::string_view value, std::string_view values);

/// Writes an honoured value where it belongs; nothing to do for flags of add_engine_flags(). The
/// error is bad_flag with the flag's name as its field.
Status set_serve_flag(ServeFlags& flags, const ServeFlag& flag,
                      const std::vector<std::string>& values);

}  // namespace qvl
