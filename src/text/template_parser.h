#pragma once

#include <string_view>

#include "qvl/result.h"
#include "text/chat_template.h"
#include "text/template_ast.h"

namespace qvl {

struct ParsedTemplate {
  Block body;
  TemplateHeap constants;  ///< what the literals of the body point to
};

/// Tags, filters and tests that are not supported are errors here, not while rendering.
/// `name` is what errors call the template.
Result<ParsedTemplate> parse_template(std::string_view source, std::string_view name,
                                      const TemplateLimits& limits);

}  // namespace qvl
