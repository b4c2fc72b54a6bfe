#include "text/template_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/template_strings.h"
#include "text/unicode.h"

namespace qvl {
namespace {

using Kind = Value::Kind;

constexpr int64_t kMaxPrecision = 1000;

/// How one value is to be written, in the terms of both notations.
struct Spec {
  char type = '\0';
  char sign = '-';  ///< '+' and ' ' show something before positive numbers
  bool alternate = false;
  bool zero = false;  ///< fill between sign and digits
  char group = '\0';  ///< between thousands
  Align align = Align::right;
  bool aligned = false;  ///< `align` was given
  OriginText fill{" ", Origin::template_text};
  int64_t width = 0;
  int64_t precision = -1;  ///< -1: not given
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes a number off the start of `text`; -1 if there is none. Large ones are all alike.
int64_t take_number(std::string_view& text) {
  int64_t number = -1;
  while (!text.empty() && is_digit(text[0])) {
    number = std::min<int64_t>((number < 0 ? 0 : number) * 10 + (text[0] - '0'), int64_t{1} << 40);
    text.remove_prefix(1);
  }
  return number;
}

std::string grouped(const std::string& digits, char separator, size_t every) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out;
}

/// A number's sign or none, its digits before any point or exponent, and what follows them.
struct Number {
  std::string sign;
  std::string prefix;
  std::string whole;
  std::string rest;
};

Number split_number(const std::string& text, const Spec& spec) {
  Number out;
  const bool negative = text[0] == '-';
  out.sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  const std::string digits = text.substr(negative ? 1 : 0);
  const size_t end = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  const size_t point = std::min(digits.find_first_of(".e"), end);
  const bool radix = spec.type == 'x' || spec.type == 'X';
  out.whole = digits.substr(0, radix ? end : point);
  out.rest = digits.substr(out.whole.size());
  return out;
}

/// Its text; zeros go between sign and digits, and are grouped with them.
OriginText number_text(const Number& number, const Spec& spec) {
  const bool radix = spec.type == 'x' || spec.type == 'X' || spec.type == 'o' || spec.type == 'b';
  const size_t every = radix ? 4 : 3;
  const bool finite = radix || (!number.whole.empty() && is_digit(number.whole[0]));
  const size_t others = number.sign.size() + number.prefix.size() + number.rest.size();
  const size_t width = spec.zero ? static_cast<size_t>(spec.width) : 0;
  std::string whole = number.whole;
  if (spec.group == '\0' || !finite) {
    if (others + whole.size() < width) whole.insert(0, width - others - whole.size(), '0');
  } else {
    while (others + whole.size() + (whole.size() - 1) / every < width) whole.insert(0, 1, '0');
    whole = grouped(whole, spec.group, every);
  }
  return {number.sign + number.prefix + whole + number.rest, Origin::template_text};
}

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

std::string real_digits(double value, const Spec& spec) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
  switch (spec.type) {
    case 'e':
    case 'E':
      return spec.alternate ? fmt::format("{:#.{}e}", value, precision)
                            : fmt::format("{:.{}e}", value, precision);
    case 'f':
    case 'F':
      return spec.alternate ? fmt::format("{:#.{}f}", value, precision)
                            : fmt::format("{:.{}f}", value, precision);
    case '%':
      return fmt::format("{:.{}f}%", value * 100, precision);
    default:
      return spec.alternate ? fmt::format("{:#.{}g}", value, precision)
                            : fmt::format("{:.{}g}", value, precision);
  }
}

std::string integer_digits(int64_t value, char type) {
  switch (type) {
    case 'x':
      return fmt::format("{:x}", value);
    case 'X':
      return fmt::format("{:X}", value);
    case 'o':
      return fmt::format("{:o}", value);
    case 'b':
      return fmt::format("{:b}", value);
    default:
      return std::to_string(value);
  }
}

bool is_real_type(char type) {
  return std::string_view("eEfFgG%").find(type) != std::string_view::npos;
}
bool is_integer_type(char type) {
  return std::string_view("dioubxXn").find(type) != std::string_view::npos;
}

/// A number without its padding, but with the zeros that go between sign and digits.
Value formatted_number(TemplateRuntime& runtime, const Value& value, const Spec& spec) {
  if (spec.group != '\0' && spec.zero && spec.width > kMaxPrecision) {
    return runtime.fail("the width is too large");
  }
  if (!runtime.spend(1 + (spec.zero ? spec.width : 0) + std::max<int64_t>(spec.precision, 0))) {
    return {};
  }
  std::string digits;
  if (is_real_type(spec.type)) {
    digits = real_digits(value.as_real(), spec);
  } else if (value.is(Kind::real)) {
    digits = real_to_text(value.real);
    if (spec.precision >= 0) {
      Spec general = spec;
      general.type = 'g';
      general.precision = std::max<int64_t>(spec.precision, 1);
      digits = real_digits(value.real, general);
      if (digits.find_first_not_of("-0123456789") == std::string::npos) digits += ".0";
    }
  } else if (value.is_huge()) {
    if (spec.type == 'x' || spec.type == 'X' || spec.type == 'o' || spec.type == 'b') {
      return runtime.wrong_type("format an integer of this size so", value);
    }
    digits = std::to_string(value.unsigned_integer);
  } else {
    digits = integer_digits(value.as_integer(), spec.type);
  }
  Number number = split_number(digits, spec);
  if (spec.alternate && !is_real_type(spec.type)) {
    if (spec.type == 'x') number.prefix = "0x";
    if (spec.type == 'X') number.prefix = "0X";
    if (spec.type == 'o') number.prefix = "0o";
    if (spec.type == 'b') number.prefix = "0b";
  }
  if (spec.type == 'E' || spec.type == 'F' || spec.type == 'G') {
    number.whole = upper(number.whole);
    number.rest = upper(number.rest);
  }
  return runtime.text(number_text(number, spec));
}

OriginText first_characters(const OriginText& text, int64_t count) {
  return count < 0 ? text : text.slice(0, code_point_offset(text.bytes(), count));
}

/// Reads % formats; one for each call.
class PercentFormatter {
 public:
  PercentFormatter(TemplateRuntime& runtime, const OriginText& format, const Value& operand)
      : runtime_(runtime), format_(format), operand_(operand), rest_(format.bytes()) {}

  Value run() {
    OriginText out;
    while (!rest_.empty() && !runtime_.failed()) {
      const size_t percent = std::min(rest_.find('%'), rest_.size());
      out.append(format_, offset(), offset() + percent);
      rest_.remove_prefix(percent);
      if (rest_.empty()) break;
      rest_.remove_prefix(1);
      if (rest_.starts_with('%')) {
        out.append(format_, offset(), offset() + 1);
        rest_.remove_prefix(1);
        continue;
      }
      const Value part = directive();
      if (runtime_.failed() || !runtime_.spend_bytes(out.size() / 16)) return {};
      out.append(*part.string);
    }
    const bool all_used = operand_.is(Kind::tuple)
                              ? used_ == operand_.list->items.size()
                              : used_ > 0 || operand_.is(Kind::dict) || operand_.is(Kind::list);
    if (!all_used && !runtime_.failed()) {
      return runtime_.fail("not all values have a place in the format");
    }
    return runtime_.text(std::move(out));
  }

 private:
  size_t offset() const { return format_.size() - rest_.size(); }

  Value next() {
    if (operand_.is(Kind::tuple)) {
      if (used_ < operand_.list->items.size()) return operand_.list->items[used_++];
    } else if (used_++ == 0) {
      return operand_;
    }
    return runtime_.fail("the format has places for more values");
  }

  int64_t number_or_star() {
    if (!rest_.starts_with('*')) return std::max<int64_t>(take_number(rest_), 0);
    rest_.remove_prefix(1);
    const Value value = next();
    if (value.is(Kind::integer)) return value.integer;
    runtime_.wrong_type("use it as a width", value);
    return 0;
  }

  Value directive() {
    Spec spec;
    std::optional<Value> named;
    if (rest_.starts_with('(')) {
      const size_t close = rest_.find(')');
      if (close == std::string_view::npos) return runtime_.fail("a name in the format has no ')'");
      if (!operand_.is(Kind::dict)) return runtime_.wrong_type("format by name", operand_);
      const Value* found = operand_.dict->find(rest_.substr(1, close - 1));
      if (found == nullptr) return runtime_.fail("the format names a value that is not there");
      named = *found;
      rest_.remove_prefix(close + 1);
    }
    bool left = false;
    for (; !rest_.empty() && std::string_view("-+ 0#").find(rest_[0]) != std::string_view::npos;
         rest_.remove_prefix(1)) {
      if (rest_[0] == '-') left = true;
      if (rest_[0] == '+' || (rest_[0] == ' ' && spec.sign != '+')) spec.sign = rest_[0];
      if (rest_[0] == '0') spec.zero = true;
      if (rest_[0] == '#') spec.alternate = true;
    }
    spec.width = number_or_star();
    if (spec.width < 0) {
      left = true;
      spec.width = -std::max<int64_t>(spec.width, -(int64_t{1} << 40));
    }
    if (rest_.starts_with('.')) {
      rest_.remove_prefix(1);
      spec.precision = std::max<int64_t>(number_or_star(), 0);
    }
    while (!rest_.empty() && std::string_view("hlL").find(rest_[0]) != std::string_view::npos) {
      rest_.remove_prefix(1);
    }
    if (rest_.empty()) return runtime_.fail("the format ends in a '%'");
    spec.type = rest_[0];
    rest_.remove_prefix(1);
    if (runtime_.failed()) return {};
    const Value value = named ? *named : next();
    if (left) spec.zero = false;
    const Value body = convert(value, spec);
    if (runtime_.failed()) return {};
    return padded(runtime_, *body.string, spec.width, left ? Align::left : Align::right, spec.fill);
  }

  Value convert(const Value& value, Spec spec) {
    if (spec.width > runtime_.limits().max_output_bytes || spec.precision > (int64_t{1} << 40)) {
      return runtime_.fail(ErrorCode::template_limit, "a text becomes too large");
    }
    switch (spec.type) {
      case 's':
        return runtime_.text(first_characters(to_text(runtime_, value), spec.precision));
      case 'r':
      case 'a': {
        if (spec.type == 'a') break;
        const Value list = runtime_.list({value});
        const OriginText text = to_text(runtime_, list);
        if (runtime_.failed()) return {};
        return runtime_.text(first_characters(text.slice(1, text.size() - 1), spec.precision));
      }
      default:
        break;
    }
    const bool to_integer = std::string_view("diu").find(spec.type) != std::string_view::npos;
    const bool radix = std::string_view("xXo").find(spec.type) != std::string_view::npos;
    const bool real = is_real_type(spec.type) && spec.type != '%';
    if (!to_integer && !radix && !real) {
      return runtime_.fail(fmt::format("the format '%{}' is not supported",
                                       is_printable_ascii(spec.type) ? spec.type : '?'));
    }
    if (!value.is_number() || (radix && value.is(Kind::real))) {
      return runtime_.wrong_type(fmt::format("format it with '%{}'", spec.type), value);
    }
    if (real) {
      if (spec.precision > kMaxPrecision) return runtime_.fail("the precision is too large");
      return formatted_number(runtime_, value, spec);
    }
    Value integer = value;
    if (value.is(Kind::real)) {
      if (!(std::fabs(value.real) < 9.2e18)) return runtime_.fail("an integer becomes too large");
      integer = Value::of(static_cast<int64_t>(value.real));
    }
    if (spec.precision > kMaxPrecision) return runtime_.fail("the precision is too large");
    if (spec.precision >= 0) {
      // A precision is the least number of digits.
      const std::string digits = integer.is_huge()
                                     ? std::to_string(integer.unsigned_integer)
                                     : integer_digits(integer.as_integer(), spec.type);
      const bool negative = digits[0] == '-';
      const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
      const std::string bare = digits.substr(negative ? 1 : 0);
      const size_t missing = static_cast<size_t>(spec.precision) > bare.size()
                                 ? static_cast<size_t>(spec.precision) - bare.size()
                                 : 0;
      std::string prefix;
      if (spec.alternate && radix) prefix = std::string("0") + spec.type;
      size_t zeros = missing;
      const size_t others = sign.size() + prefix.size() + bare.size();
      if (spec.zero && zeros + others < static_cast<size_t>(spec.width)) {
        zeros = static_cast<size_t>(spec.width) - others;
      }
      if (!runtime_.spend(static_cast<int64_t>(zeros))) return {};
      return runtime_.text(sign + prefix + std::string(zeros, '0') + bare, Origin::template_text);
    }
    return formatted_number(runtime_, integer, spec);
  }

  static bool is_printable_ascii(char c) { return c > ' ' && c < 0x7F; }

  TemplateRuntime& runtime_;
  const OriginText& format_;
  const Value& operand_;
  std::string_view rest_;
  size_t used_ = 0;
};

/// Reads the fields of str.format; one for each call.
class FieldFormatter {
 public:
  FieldFormatter(TemplateRuntime& runtime, const OriginText& format, const Arguments& arguments)
      : runtime_(runtime), format_(format), arguments_(arguments) {}

  Value run() {
    const std::string_view bytes = format_.bytes();
    OriginText out;
    size_t i = 0;
    while (i < bytes.size() && !runtime_.failed()) {
      const size_t brace = std::min(bytes.find_first_of("{}", i), bytes.size());
      out.append(format_, i, brace);
      i = brace;
      if (i == bytes.size()) break;
      if (i + 1 < bytes.size() && bytes[i + 1] == bytes[i]) {
        out.append(format_, i, i + 1);
        i += 2;
        continue;
      }
      const size_t close = bytes.find('}', i);
      if (bytes[i] == '}' || close == std::string_view::npos) {
        return runtime_.fail("a brace in the format has no other");
      }
      const Value part = field(i + 1, close);
      if (runtime_.failed() || !runtime_.spend_bytes(32)) return {};
      out.append(*part.string);
      if (out.size() > static_cast<size_t>(runtime_.limits().max_output_bytes)) break;
      i = close + 1;
    }
    return runtime_.text(std::move(out));
  }

 private:
  /// [begin, end) is what stands between the braces.
  Value field(size_t begin, size_t end) {
    const std::string_view text = std::string_view(format_.bytes()).substr(begin, end - begin);
    if (text.find('{') != std::string_view::npos) {
      return runtime_.fail("fields inside a format's field are not supported");
    }
    const size_t name_end = std::min(text.find_first_of("!:"), text.size());
    Value value = lookup(text.substr(0, name_end));
    std::string_view rest = text.substr(name_end);
    if (rest.starts_with('!')) {
      if (rest.size() < 2 || (rest[1] != 's' && rest[1] != 'r') ||
          (rest.size() > 2 && rest[2] != ':')) {
        return runtime_.fail("a format's conversion is neither !s nor !r");
      }
      value = rest[1] == 's' ? runtime_.text(to_text(runtime_, value)) : repr(value);
      rest.remove_prefix(2);
    }
    if (rest.starts_with(':')) rest.remove_prefix(1);
    if (runtime_.failed()) return {};
    const size_t spec_begin = end - rest.size();
    return formatted(value, format_.slice(spec_begin, end));
  }

  Value repr(const Value& value) {
    const OriginText text = to_text(runtime_, runtime_.list({value}));
    if (runtime_.failed()) return {};
    return runtime_.text(text.slice(1, text.size() - 1));
  }

  /// name.attribute[key]
  Value lookup(std::string_view path) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    const std::string_view first = path.substr(0, end);
    Value value = argument(first);
    path.remove_prefix(end);
    while (!path.empty() && !runtime_.failed()) {
      const bool attribute = path[0] == '.';
      const size_t stop =
          attribute ? std::min(path.find_first_of(".[", 1), path.size()) : path.find(']');
      if (stop == std::string_view::npos || stop == 1)
        return runtime_.fail("a format has no such field");
      std::string_view name = path.substr(1, stop - 1);
      path.remove_prefix(attribute ? stop : stop + 1);
      if (attribute) {
        value = get_attribute(runtime_, value, *runtime_.heap().name(name));
        continue;
      }
      std::string_view digits = name;
      const int64_t index = take_number(digits);
      value =
          get_item(runtime_, value,
                   digits.empty() ? Value::of(index) : runtime_.text(name, Origin::template_text));
    }
    return value;
  }

  Value argument(std::string_view name) {
    std::string_view digits = name;
    int64_t index = take_number(digits);
    if (name.empty()) index = next_++;
    if (!name.empty() && (!digits.empty() || index < 0)) {
      for (const auto& [key, value] : arguments_.named) {
        if (key.text() == name) return value;
      }
      return runtime_.fail("the format names a value that is not there");
    }
    if (index < static_cast<int64_t>(arguments_.positional.size())) {
      return arguments_.positional[static_cast<size_t>(index)];
    }
    return runtime_.fail("the format has places for more values");
  }

  Value formatted(const Value& value, const OriginText& spec_text) {
    if (spec_text.empty()) return runtime_.text(to_text(runtime_, value));
    if (!value.is_string() && !value.is_number()) {
      return runtime_.wrong_type("format it with a width or type", value);
    }
    Spec spec;
    if (!parse(spec_text, spec)) return runtime_.fail("a format's field is not understood");
    if (spec.width > runtime_.limits().max_output_bytes) {
      return runtime_.fail(ErrorCode::template_limit, "a text becomes too large");
    }
    if (value.is_string()) {
      if ((spec.type != 's' && spec.type != '\0') || spec.sign != '-' || spec.alternate ||
          spec.group != '\0') {
        return runtime_.fail("a text is formatted as a number");
      }
      if (!spec.aligned) spec.align = Align::left;
      if (spec.zero) spec.fill = OriginText("0", Origin::template_text);
      return padded(runtime_, first_characters(*value.string, spec.precision), spec.width,
                    spec.align, spec.fill);
    }
    const bool no_type = spec.type == '\0';
    const bool integer_type =
        is_integer_type(spec.type) && spec.type != 'i' && spec.type != 'u' && spec.type != 'n';
    if (!no_type && !is_real_type(spec.type) && !integer_type) {
      return runtime_.fail("a number is formatted with an unknown type");
    }
    if (value.is(Kind::real) ? integer_type : spec.precision >= 0 && !is_real_type(spec.type)) {
      return runtime_.wrong_type("format it so", value);
    }
    if (spec.precision > kMaxPrecision) return runtime_.fail("the precision is too large");
    if (spec.zero && spec.aligned) {
      spec.zero = false;
      if (spec.fill.bytes() == " ") spec.fill = OriginText("0", Origin::template_text);
    }
    const Value body = formatted_number(runtime_, value, spec);
    if (runtime_.failed()) return {};
    return padded(runtime_, *body.string, spec.width, spec.align, spec.fill);
  }

  /// [[fill]align][sign][#][0][width][group][.precision][type]
  static bool parse(const OriginText& text, Spec& spec) {
    std::string_view rest = text.bytes();
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    const size_t fill_size = first_code_point(rest).size;
    char align = '\0';
    if (rest.size() > fill_size && is_align(rest[fill_size])) {
      spec.fill = text.slice(0, fill_size);
      align = rest[fill_size];
      rest.remove_prefix(fill_size + 1);
    } else if (is_align(rest[0])) {
      align = rest[0];
      rest.remove_prefix(1);
    }
    if (align == '=') return false;
    spec.aligned = align != '\0';
    if (align == '<') spec.align = Align::left;
    if (align == '^') spec.align = Align::center;
    const auto skip = [&](char c) {
      const bool found = rest.starts_with(c);
      if (found) rest.remove_prefix(1);
      return found;
    };
    for (const char sign : {'+', '-', ' '}) {
      if (skip(sign)) {
        spec.sign = sign;
        break;
      }
    }
    spec.alternate = skip('#');
    spec.zero = skip('0');
    spec.width = std::max<int64_t>(take_number(rest), 0);
    if (skip(',')) spec.group = ',';
    if (skip('_')) spec.group = '_';
    if (skip('.')) {
      spec.precision = take_number(rest);
      if (spec.precision < 0) return false;
    }
    if (!rest.empty()) {
      spec.type = rest[0];
      rest.remove_prefix(1);
    }
    return rest.empty();
  }

  TemplateRuntime& runtime_;
  const OriginText& format_;
  const Arguments& arguments_;
  int64_t next_ = 0;
};

}  // namespace

Value format_percent(TemplateRuntime& runtime, const Value& format, const Value& operand) {
  if (!runtime.spend_bytes(format.text().size())) return {};
  return PercentFormatter(runtime, *format.string, operand).run();
}

Value format_fields(TemplateRuntime& runtime, const OriginText& format,
                    const Arguments& arguments) {
  if (!runtime.spend_bytes(format.size())) return {};
  return FieldFormatter(runtime, format, arguments).run();
}

Value padded(TemplateRuntime& runtime, const OriginText& text, int64_t width, Align align,
             const OriginText& fill) {
  if (!runtime.spend_bytes(text.size())) return {};
  const int64_t missing = width - code_point_count(text.bytes());
  if (missing <= 0) return runtime.text(text);
  if (missing > runtime.limits().max_output_bytes / 4) {
    return runtime.fail(ErrorCode::template_limit, "a text becomes too large");
  }
  if (!runtime.spend(missing)) return {};
  const int64_t left = align == Align::left     ? 0
                       : align == Align::right  ? missing
                       : align == Align::center ? missing / 2
                                                : missing / 2 + (missing & width & 1);
  OriginText out;
  for (int64_t i = 0; i < left; ++i) out.append(fill);
  out.append(text);
  for (int64_t i = left; i < missing; ++i) out.append(fill);
  return runtime.text(std::move(out));
}

double round_to_digits(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 330) return value;
  if (digits < -330) return 0.0 * value;
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / unit) * unit;
  }
  // The shortest way to Python's result: exact decimal digits, rounded half to even.
  const std::string text = fmt::format("{:.{}f}", value, digits);
  double out = value;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

}  // namespace qvl
