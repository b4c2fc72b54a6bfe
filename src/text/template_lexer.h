#pragma once

/// Cuts a template's source into text and the tokens of its tags, with Jinja's white-space rules
/// for trim_blocks and lstrip_blocks.

#include <string>
#include <string_view>
#include <vector>

#include "qvl/result.h"

namespace qvl {

struct TemplateToken {
  enum class Type : uint8_t {
    text,             ///< to be printed as it is
    print_begin,      ///< {{
    print_end,        ///< }}
    statement_begin,  ///< {%
    statement_end,    ///< %}
    name,
    string,  ///< with its quotes and escapes
    integer,
    real,
    symbol,  ///< an operator or bracket
    end,     ///< of the source
  };
  Type type;
  int line;
  std::string_view text;
};

/// `source` with line ends as "\n" and without the one at its end, as Jinja reads it.
std::string normalized_template_source(std::string_view source);

/// The tokens of a normalized source, which they point into; the last is `end`. `name` is what
/// errors call the template.
Result<std::vector<TemplateToken>> lex_template(std::string_view source, std::string_view name);

}  // namespace qvl
