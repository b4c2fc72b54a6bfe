#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "text/template_format.h"
#include "text/template_runtime.h"
#include "text/template_strings.h"

namespace qvl {
namespace {

using Kind = Value::Kind;

template <size_t kCount>
using Names = std::array<std::string_view, kCount>;

Value filter_length(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return Value::of(length(runtime, input));
}

Value filter_string(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return input.is_string() ? input : runtime.text(to_text(runtime, input));
}

Value filter_trim(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [characters] = arguments.bind(runtime, Names<1>{"chars"});
  const OriginText text = to_text(runtime, input);
  std::optional<std::string_view> set;
  if (characters.is_string()) set = characters.text();
  if (!runtime.spend_search(text.size(), set ? 64 * set->size() : 0)) return {};
  const auto [begin, end] = stripped(text.bytes(), Sides::both, set);
  return runtime.text(text.slice(begin, end));
}

template <Casing kCasing>
Value filter_case(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return runtime.text(change_case(to_text(runtime, input), kCasing));
}

Value filter_replace(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [old, replacement, count] = arguments.bind(runtime, Names<3>{"old", "new", "count"});
  const OriginText text = to_text(runtime, input);
  const OriginText needle = to_text(runtime, old);
  if (!runtime.spend_search(text.size(), needle.size())) return {};
  const int64_t limit = count.is_integral() ? count.as_integer() : -1;
  auto out = replace(text, needle.bytes(), to_text(runtime, replacement), limit,
                     static_cast<size_t>(runtime.limits().max_output_bytes));
  if (!out) return runtime.fail(ErrorCode::template_limit, "a text becomes too large");
  return runtime.text(std::move(*out));
}

Value filter_default(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [otherwise, boolean] = arguments.bind(runtime, Names<2>{"default_value", "boolean"});
  if (!input.is_undefined() && (is_true(input) || !is_true(boolean))) return input;
  return otherwise.is_undefined() ? runtime.text("", Origin::template_text) : otherwise;
}

/// The text of `value`, or null, with an error, if it is given but no text.
const OriginText* text_argument(TemplateRuntime& runtime, const Value& value,
                                const OriginText& otherwise) {
  if (value.is_undefined()) return &otherwise;
  if (value.is_string()) return value.string;
  runtime.wrong_type("use it as a text", value);
  return nullptr;
}

Value filter_tojson(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [ensure_ascii, indent, separators, sort_keys] =
      arguments.bind(runtime, Names<4>{"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = is_true(ensure_ascii);
  style.sort_keys = is_true(sort_keys);
  if (indent.is_integral()) {
    const auto spaces = std::clamp<int64_t>(indent.as_integer(), 0, 1024);
    style.indent = OriginText(std::string(static_cast<size_t>(spaces), ' '), Origin::template_text);
  } else if (indent.is_string()) {
    style.indent = *indent.string;
  } else if (!indent.is_undefined() && !indent.is(Kind::none)) {
    return runtime.wrong_type("indent JSON", indent);
  }
  if (style.indent) style.item_separator = OriginText(",", Origin::template_text);
  if (separators.is_sequence() && separators.list->items.size() == 2 &&
      separators.list->items[0].is_string() && separators.list->items[1].is_string()) {
    style.item_separator = *separators.list->items[0].string;
    style.key_separator = *separators.list->items[1].string;
  } else if (!separators.is_undefined() && !separators.is(Kind::none)) {
    return runtime.wrong_type("separate JSON with it", separators);
  }
  return runtime.text(to_json(runtime, input, style));
}

/// Digits as Python reads them: white space around, a sign, single underscores between digits.
std::optional<std::string> plain_number(std::string_view text) {
  const auto [begin, end] = stripped(text, Sides::both, std::nullopt);
  std::string_view digits = text.substr(begin, end - begin);
  const bool plus = digits.starts_with('+');
  if (plus) digits.remove_prefix(1);
  if (plus && (digits.starts_with('-') || digits.starts_with('+'))) return std::nullopt;
  const auto digit_at = [&](size_t i) {
    return i < digits.size() && std::isalnum(static_cast<unsigned char>(digits[i])) != 0;
  };
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] != '_') {
      out += digits[i];
    } else if (i == 0 || !digit_at(i - 1) || !digit_at(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<double> read_real(std::string_view text) {
  const auto digits = plain_number(text);
  double real = 0;
  if (!digits || digits->find('(') != std::string::npos) return std::nullopt;
  const auto parsed = std::from_chars(digits->data(), digits->data() + digits->size(), real);
  if (parsed.ptr != digits->data() + digits->size() || parsed.ec == std::errc::invalid_argument) {
    return std::nullopt;
  }
  if (parsed.ec == std::errc::result_out_of_range) {
    // Too small for a double or too large: the sign of the exponent tells.
    const double none = digits->find("e-") != std::string::npos ? 0.0 : HUGE_VAL;
    return digits->starts_with('-') ? -none : none;
  }
  return real;
}

Value filter_int(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [otherwise, base] = arguments.bind(runtime, Names<2>{"default", "base"});
  const Value fallback = otherwise.is_undefined() ? Value::of(int64_t{0}) : otherwise;
  if (input.is_integral()) return Value::of(input.as_integer());
  if (input.is_huge()) return input;
  if (input.is_undefined()) return runtime.wrong_type("make an integer of it", input);
  double real = 0;
  if (input.is(Kind::real)) {
    real = input.real;
  } else if (input.is_string()) {
    if (!runtime.spend_bytes(input.text().size())) return {};
    const int radix =
        base.is_integral() ? static_cast<int>(std::clamp<int64_t>(base.as_integer(), 0, 99)) : 10;
    if (radix < 2 || radix > 36) return runtime.fail("the base is not from 2 to 36");
    auto digits = plain_number(input.text());
    if (digits) {
      const bool minus = digits->starts_with('-');
      const std::string_view mark = radix == 16 ? "0x" : radix == 8 ? "0o" : radix == 2 ? "0b" : "";
      if (!mark.empty() && std::string_view(*digits).substr(minus ? 1 : 0).starts_with(mark)) {
        digits->erase(minus ? 1 : 0, 2);
      }
      int64_t integer = 0;
      const char* const end = digits->data() + digits->size();
      const auto whole = std::from_chars(digits->data(), end, integer, radix);
      if (whole.ptr == end && whole.ec == std::errc{}) return Value::of(integer);
      if (whole.ptr == end && whole.ec == std::errc::result_out_of_range) {
        return runtime.fail("an integer becomes too large");
      }
    }
    const auto parsed = read_real(input.text());
    if (!parsed) return fallback;
    real = *parsed;
  } else {
    return fallback;
  }
  if (!std::isfinite(real)) return fallback;
  if (!(std::fabs(real) < 9.2e18)) return runtime.fail("an integer becomes too large");
  return Value::of(static_cast<int64_t>(real));
}

Value filter_float(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [otherwise] = arguments.bind(runtime, Names<1>{"default"});
  const Value fallback = otherwise.is_undefined() ? Value::of(0.0) : otherwise;
  if (input.is_number()) return Value::of(input.as_real());
  if (input.is_undefined()) return runtime.wrong_type("make a number of it", input);
  if (!input.is_string() || !runtime.spend_bytes(input.text().size())) return fallback;
  const auto parsed = read_real(input.text());
  return parsed ? Value::of(*parsed) : fallback;
}

Value filter_abs(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!input.is_number()) return runtime.wrong_type("take the absolute value", input);
  if (input.is(Kind::real)) return Value::of(std::fabs(input.real));
  if (input.is_huge()) return input;
  return input.as_integer() < 0 ? negate(runtime, input) : Value::of(input.as_integer());
}

Value filter_round(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [precision, method] = arguments.bind(runtime, Names<2>{"precision", "method"});
  if (!input.is_number()) return runtime.wrong_type("round it", input);
  if (!precision.is_undefined() && !precision.is_integral()) {
    return runtime.wrong_type("round to so many digits", precision);
  }
  const int64_t digits = precision.is_integral() ? precision.as_integer() : 0;
  const std::string_view how = method.is_string() ? method.text() : "common";
  if (how == "common") {
    if (input.is(Kind::real)) return Value::of(round_to_digits(input.real, digits));
    if (digits >= 0) return input.is_integral() ? Value::of(input.as_integer()) : input;
    const double rounded = round_to_digits(input.as_real(), digits);
    if (!(std::fabs(rounded) < 9e15)) return runtime.fail("an integer becomes too large");
    return Value::of(static_cast<int64_t>(rounded));
  }
  if (how != "ceil" && how != "floor") {
    return runtime.fail("the method is not 'common', 'ceil' or 'floor'");
  }
  const double unit = std::pow(10.0, static_cast<double>(digits));
  const double scaled = input.as_real() * unit;
  return Value::of((how == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

Value filter_indent(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [width, first, blank] = arguments.bind(runtime, Names<3>{"width", "first", "blank"});
  OriginText margin("    ", Origin::template_text);
  if (width.is_integral()) {
    const auto spaces = std::clamp<int64_t>(width.as_integer(), 0, 1024);
    margin = OriginText(std::string(static_cast<size_t>(spaces), ' '), Origin::template_text);
  } else if (width.is_string()) {
    margin = *width.string;
  }
  // Every line end becomes "\n", and without one the last line counts too.
  OriginText text = to_text(runtime, input);
  text.append("\n", Origin::template_text);
  OriginText out;
  bool is_first = true;
  const bool indents_first = is_true(first);
  const bool indents_blank = is_true(blank);
  split_lines(text, LineEnds::dropped, [&](const OriginText& line) {
    if (!is_first) out.append("\n", Origin::template_text);
    const bool indented = is_first ? indents_first : !line.empty() || indents_blank;
    if (indented) out.append(margin);
    out.append(line);
    is_first = false;
    return runtime.spend_bytes(margin.size() + line.size()) &&
           out.size() <= static_cast<size_t>(runtime.limits().max_output_bytes);
  });
  return runtime.text(std::move(out));
}

Value filter_center(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [width] = arguments.bind(runtime, Names<1>{"width"});
  if (!width.is_undefined() && !width.is_integral()) return runtime.wrong_type("center it", width);
  return padded(runtime, to_text(runtime, input), width.is_integral() ? width.as_integer() : 80,
                Align::method_center, OriginText(" ", Origin::template_text));
}

Value filter_format(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    return runtime.fail("format takes arguments by position or by name, not both");
  }
  const Value format = runtime.text(to_text(runtime, input));
  Value operand;
  if (arguments.named.empty()) {
    operand = runtime.tuple(arguments.positional);
  } else {
    Dict named;
    for (const auto& [name, value] : arguments.named) named.set(name, value);
    operand = runtime.dict(std::move(named));
  }
  return runtime.failed() ? Value{} : format_percent(runtime, format, operand);
}

Value filter_truncate(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [length, kill_words, end, leeway] =
      arguments.bind(runtime, Names<4>{"length", "killwords", "end", "leeway"});
  const OriginText dots("...", Origin::template_text);
  const OriginText* ending = text_argument(runtime, end, dots);
  if (input.is_undefined()) return input;
  if (!input.is_string()) return runtime.wrong_type("truncate it", input);
  const bool length_fits = length.is_undefined() || length.is_integral();
  const bool leeway_fits = leeway.is_undefined() || leeway.is(Kind::none) || leeway.is_integral();
  if (!length_fits || !leeway_fits) {
    return runtime.wrong_type("use it as a length", length_fits ? leeway : length);
  }
  if (runtime.failed() || !runtime.spend_bytes(input.text().size())) return {};
  const int64_t limit = length.is_integral() ? length.as_integer() : 255;
  const int64_t slack = leeway.is_integral() ? leeway.as_integer() : 5;
  const int64_t ending_size = code_point_count(ending->bytes());
  if (limit < ending_size || slack < 0) return runtime.fail("the length or leeway is too small");
  if (code_point_count(input.text()) - slack <= limit) return input;
  size_t kept = code_point_offset(input.text(), limit - ending_size);
  if (!is_true(kill_words)) kept = std::min(kept, input.text().substr(0, kept).rfind(' '));
  OriginText out = input.string->slice(0, kept);
  out.append(*ending);
  return runtime.text(std::move(out));
}

Value filter_wordcount(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const OriginText text = to_text(runtime, input);
  return runtime.spend_bytes(text.size()) ? Value::of(word_count(text.bytes())) : Value{};
}

/// Every byte of a text as `encode` has it, with the byte's origin.
template <class Encode>
OriginText encoded(const OriginText& text, Encode encode) {
  OriginText out;
  size_t begin = 0;
  for (const OriginText::Run& run : text.runs()) {
    std::string bytes;
    for (; begin < run.end; ++begin) encode(text.bytes()[begin], bytes);
    out.append(bytes, run.origin);
  }
  return out;
}

OriginText escaped(const OriginText& text) {
  return encoded(text, [](char c, std::string& out) {
    constexpr std::string_view kSpecial = "&<>'\"";
    constexpr std::array<std::string_view, 5> kEntities = {"&amp;", "&lt;", "&gt;", "&#39;",
                                                           "&#34;"};
    const size_t i = kSpecial.find(c);
    if (i == std::string_view::npos) {
      out += c;
    } else {
      out += kEntities[i];
    }
  });
}

Value filter_escape(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return runtime.text(escaped(to_text(runtime, input)));
}

enum class Quoting { path, query };

OriginText url_quoted(const OriginText& text, Quoting quoting) {
  return encoded(text, [quoting](char c, std::string& out) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos ||
                       (c == '/' && quoting == Quoting::path);
    if (plain) {
      out += c;
    } else if (c == ' ' && quoting == Quoting::query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
  });
}

Value filter_urlencode(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const bool one = input.is_string() || input.is_number() || input.is(Kind::none);
  if (one) return runtime.text(url_quoted(to_text(runtime, input), Quoting::path));
  const Value pairs = input.is(Kind::dict) ? find_filter("items")(runtime, input, {}) : input;
  const List* items = to_list(runtime, pairs);
  if (items == nullptr) return {};
  OriginText out;
  for (const Value& pair : items->items) {
    const List* both = to_list(runtime, pair);
    if (both == nullptr) return {};
    if (both->items.size() != 2) return runtime.fail("expected pairs of a name and a value");
    if (!out.empty()) out.append("&", Origin::template_text);
    out.append(url_quoted(to_text(runtime, both->items[0]), Quoting::query));
    out.append("=", Origin::template_text);
    out.append(url_quoted(to_text(runtime, both->items[1]), Quoting::query));
    if (!runtime.spend_bytes(out.size() / 16)) return {};
  }
  return runtime.text(std::move(out));
}

Value filter_xmlattr(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [autospace] = arguments.bind(runtime, Names<1>{"autospace"});
  if (!input.is(Kind::dict)) return runtime.wrong_type("make XML attributes of it", input);
  OriginText out;
  for (const auto& [key, value] : input.dict->entries()) {
    if (value.is(Kind::none) || value.is_undefined()) continue;
    const OriginText name = to_text(runtime, key);
    if (name.bytes().find_first_of(" \t\n\f\r\v/>=") != std::string::npos) {
      return runtime.fail("a name of an XML attribute has a space, '/', '>' or '='");
    }
    if (!out.empty() || autospace.is_undefined() || is_true(autospace)) {
      out.append(" ", Origin::template_text);
    }
    out.append(escaped(name));
    out.append("=\"", Origin::template_text);
    out.append(escaped(to_text(runtime, value)));
    out.append("\"", Origin::template_text);
    if (!runtime.spend_bytes(out.size() / 16)) return {};
  }
  return runtime.text(std::move(out));
}

struct NamedFilter {
  std::string_view name;
  TemplateFilter filter;
};

constexpr std::array kFilters = {
    NamedFilter{"abs", filter_abs},
    NamedFilter{"capitalize", filter_case<Casing::capitalize>},
    NamedFilter{"center", filter_center},
    NamedFilter{"count", filter_length},
    NamedFilter{"d", filter_default},
    NamedFilter{"default", filter_default},
    NamedFilter{"e", filter_escape},
    NamedFilter{"escape", filter_escape},
    NamedFilter{"float", filter_float},
    NamedFilter{"format", filter_format},
    NamedFilter{"indent", filter_indent},
    NamedFilter{"int", filter_int},
    NamedFilter{"length", filter_length},
    NamedFilter{"lower", filter_case<Casing::lower>},
    NamedFilter{"replace", filter_replace},
    NamedFilter{"round", filter_round},
    NamedFilter{"safe", filter_string},
    NamedFilter{"string", filter_string},
    NamedFilter{"title", filter_case<Casing::title>},
    NamedFilter{"tojson", filter_tojson},
    NamedFilter{"trim", filter_trim},
    NamedFilter{"truncate", filter_truncate},
    NamedFilter{"upper", filter_case<Casing::upper>},
    NamedFilter{"urlencode", filter_urlencode},
    NamedFilter{"wordcount", filter_wordcount},
    NamedFilter{"xmlattr", filter_xmlattr},
};

}  // namespace

TemplateFilter find_filter(std::string_view name) {
  const auto* found = std::find_if(kFilters.begin(), kFilters.end(),
                                   [&](const NamedFilter& f) { return f.name == name; });
  return found != kFilters.end() ? found->filter : find_sequence_filter(name);
}

}  // namespace qvl
