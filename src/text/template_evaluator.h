#pragma once

#include "text/template_ast.h"
#include "text/template_runtime.h"

namespace qvl {

/// Runs a template's body with the variables of `context`, a dict. What it prints up to an error is
/// of no use; the error is in `runtime`.
OriginText evaluate_template(TemplateRuntime& runtime, const Block& body, const Value& context);

}  // namespace qvl
