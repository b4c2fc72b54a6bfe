#pragma once

/// Python's three ways to put values into a text.

#include "text/template_runtime.h"

namespace qvl {

/// format % operand: the items of a tuple by position, the entries of a dict by name, or one value.
/// %c is refused, since it makes text of numbers that users may give.
Value format_percent(TemplateRuntime& runtime, const Value& format, const Value& operand);

/// str.format(*positional, **named).
Value format_fields(TemplateRuntime& runtime, const OriginText& format, const Arguments& arguments);

/// Where a text goes when it is filled up. The odd character of a centred text goes to its right,
/// but str.center puts it to the left where the width is odd.
enum class Align { left, right, center, method_center };
/// Adds `fill`, one character, to a text up to `width` characters.
Value padded(TemplateRuntime& runtime, const OriginText& text, int64_t width, Align align,
             const OriginText& fill);

/// round(value, digits)
double round_to_digits(double value, int64_t digits);

}  // namespace qvl
