#include <algorithm>
#include <cmath>

#include "text/template_format.h"
#include "text/template_runtime.h"
#include "text/template_strings.h"
#include "text/unicode.h"

namespace qvl {
namespace {

using Kind = Value::Kind;

/// Appends repr(v), its origins left out.
void append_value_repr(TemplateRuntime& runtime, const Value& value, std::string& out) {
  if (!runtime.spend(1)) return;
  switch (value.kind) {
    case Kind::string:
      if (runtime.spend_bytes(value.text().size())) append_repr(out, value.text());
      return;
    case Kind::undefined:
      out += "Undefined";
      return;
    case Kind::list:
    case Kind::tuple:
    case Kind::view: {
      const bool tuple = value.is(Kind::tuple);
      if (value.is(Kind::view)) {
        out += value.list->view_name;
        out += '(';
      }
      out += tuple ? '(' : '[';
      std::string_view separator;
      for (const Value& item : value.list->items) {
        if (runtime.failed()) return;
        out += separator;
        separator = ", ";
        append_value_repr(runtime, item, out);
      }
      if (tuple && value.list->items.size() == 1) out += ',';
      out += tuple ? ')' : ']';
      if (value.is(Kind::view)) out += ')';
      return;
    }
    case Kind::dict: {
      out += '{';
      std::string_view separator;
      for (const auto& [key, item] : value.dict->entries()) {
        if (runtime.failed()) return;
        out += separator;
        separator = ", ";
        append_value_repr(runtime, key, out);
        out += ": ";
        append_value_repr(runtime, item, out);
      }
      out += '}';
      return;
    }
    case Kind::none:
      out += "None";
      return;
    case Kind::boolean:
      out += value.boolean ? "True" : "False";
      return;
    case Kind::integer:
      out += std::to_string(value.integer);
      return;
    case Kind::unsigned_integer:
      out += std::to_string(value.unsigned_integer);
      return;
    case Kind::real:
      out += real_to_text(value.real);
      return;
    case Kind::iterator:
    case Kind::name_space:
    case Kind::loop:
    case Kind::callable:
      // Python shows addresses here.
      runtime.wrong_type("print it", value);
      return;
  }
}

/// An index of Python into [0, size): counted from the end if negative. -1 if outside.
int64_t resolve_index(int64_t index, int64_t size) {
  if (index < 0) index += size;
  return index >= 0 && index < size ? index : -1;
}

/// The bounds that a slice of Python selects in `size` items.
struct SliceRange {
  int64_t begin;
  int64_t step;
  int64_t count;
};

std::optional<SliceRange> resolve_slice(TemplateRuntime& runtime, const Value& begin,
                                        const Value& end, const Value& step_value, int64_t size) {
  const auto open = [](const Value& v) { return v.is(Kind::none); };
  for (const Value* v : {&begin, &end, &step_value}) {
    if (open(*v) || v->is_integral()) continue;
    runtime.wrong_type("slice at", *v);
    return std::nullopt;
  }
  const int64_t step = open(step_value) ? 1 : step_value.as_integer();
  if (step == 0 || step == INT64_MIN) {
    runtime.fail(fmt::format("a slice cannot have a step of {}", step));
    return std::nullopt;
  }
  // Bounds clamp to the items, or for a negative step to just before the first.
  const int64_t low = step > 0 ? 0 : -1;
  const int64_t high = step > 0 ? size : size - 1;
  const auto bound = [&](const Value& v, int64_t otherwise) {
    if (open(v)) return otherwise;
    int64_t i = v.as_integer();
    if (i < 0) i += size;
    return std::clamp(i, low, high);
  };
  const int64_t first = bound(begin, step > 0 ? low : high);
  const int64_t last = bound(end, step > 0 ? high : low);
  const int64_t distance = step > 0 ? last - first : first - last;
  const int64_t stride = step > 0 ? step : -step;
  return SliceRange{first, step, distance <= 0 ? 0 : (distance - 1) / stride + 1};
}

Value slice_text(TemplateRuntime& runtime, const OriginText& text, const SliceRange& range) {
  if (range.count == 0) return runtime.text({});
  if (range.step == 1) {
    const size_t begin = code_point_offset(text.bytes(), range.begin);
    const std::string_view rest = std::string_view(text.bytes()).substr(begin);
    return runtime.text(text.slice(begin, begin + code_point_offset(rest, range.count)));
  }
  // The offsets take eight bytes for each character.
  if (!runtime.spend(static_cast<int64_t>(text.size() / 4))) return {};
  const std::vector<size_t> offsets = code_point_offsets(text.bytes());
  OriginText out;
  for (int64_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<size_t>(range.begin + i * range.step);
    out.append(text, offsets[at], offsets[at + 1]);
  }
  return runtime.text(std::move(out));
}

Value integer_power(TemplateRuntime& runtime, int64_t base, int64_t exponent) {
  int64_t result = 1;
  bool overflow = false;
  for (; exponent > 0 && !overflow; exponent >>= 1) {
    if ((exponent & 1) != 0) overflow = __builtin_mul_overflow(result, base, &result);
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) overflow = true;
  }
  return overflow ? runtime.fail("an integer becomes too large") : Value::of(result);
}

Value integer_arithmetic(TemplateRuntime& runtime, ArithmeticOperator op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case ArithmeticOperator::add:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case ArithmeticOperator::subtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case ArithmeticOperator::multiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case ArithmeticOperator::floor_divide:
    case ArithmeticOperator::modulo: {
      if (b == 0) return runtime.fail("division by zero");
      if (b == -1) {  // INT64_MIN / -1 traps
        if (op == ArithmeticOperator::modulo) return Value::of(int64_t{0});
        overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
        break;
      }
      int64_t quotient = a / b;
      int64_t rest = a % b;
      if (rest != 0 && (rest < 0) != (b < 0)) {
        --quotient;
        rest += b;
      }
      result = op == ArithmeticOperator::modulo ? rest : quotient;
      break;
    }
    case ArithmeticOperator::divide:
      if (b == 0) return runtime.fail("division by zero");
      return Value::of(static_cast<double>(a) / static_cast<double>(b));
    case ArithmeticOperator::power:
      if (b >= 0) return integer_power(runtime, a, b);
      if (a == 0) return runtime.fail("division by zero");
      return Value::of(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  return overflow ? runtime.fail("an integer becomes too large") : Value::of(result);
}

/// Python's a % b, which has the sign of b.
double real_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

Value real_arithmetic(TemplateRuntime& runtime, ArithmeticOperator op, double a, double b) {
  switch (op) {
    case ArithmeticOperator::add:
      return Value::of(a + b);
    case ArithmeticOperator::subtract:
      return Value::of(a - b);
    case ArithmeticOperator::multiply:
      return Value::of(a * b);
    case ArithmeticOperator::divide:
      return b == 0 ? runtime.fail("division by zero") : Value::of(a / b);
    case ArithmeticOperator::floor_divide: {
      if (b == 0) return runtime.fail("division by zero");
      // a / b may round up to a whole number that b does not fit into so often.
      const double quotient = (a - real_modulo(a, b)) / b;
      const double whole = std::floor(quotient);
      return Value::of(quotient == 0            ? std::copysign(0.0, a / b)
                       : quotient - whole > 0.5 ? whole + 1
                                                : whole);
    }
    case ArithmeticOperator::modulo:
      return b == 0 ? runtime.fail("division by zero") : Value::of(real_modulo(a, b));
    case ArithmeticOperator::power:
      return Value::of(std::pow(a, b));
  }
  return {};
}

/// a * n for a text or a sequence.
Value repeat(TemplateRuntime& runtime, const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  const auto size =
      static_cast<int64_t>(value.is_string() ? value.text().size() : value.list->items.size());
  int64_t total = 0;
  if (__builtin_mul_overflow(size, count, &total) || total > runtime.limits().max_output_bytes) {
    return runtime.fail(ErrorCode::template_limit, "a repeated text or list becomes too large");
  }
  if (!runtime.spend(1 + (value.is_string() ? total / 32 : total))) return {};
  if (size == 0) count = 0;
  if (value.is_string()) {
    OriginText out;
    for (int64_t i = 0; i < count; ++i) out.append(*value.string);
    return runtime.text(std::move(out));
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < count; ++i) {
    items.insert(items.end(), value.list->items.begin(), value.list->items.end());
  }
  return runtime.sequence(std::move(items), value.kind);
}

Value loop_attribute(const Loop& loop, const std::string& name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(loop.items->items.size());
  if (name == "index") return Value::of(index + 1);
  if (name == "index0") return Value::of(index);
  if (name == "revindex") return Value::of(size - index);
  if (name == "revindex0") return Value::of(size - index - 1);
  if (name == "first") return Value::of(index == 0);
  if (name == "last") return Value::of(index + 1 == size);
  if (name == "length") return Value::of(size);
  if (name == "depth") return Value::of(int64_t{loop.depth} + 1);
  if (name == "depth0") return Value::of(int64_t{loop.depth});
  if (name == "previtem" && index > 0) return loop.items->items[loop.index - 1];
  if (name == "nextitem" && index + 1 < size) return loop.items->items[loop.index + 1];
  return Value::undefined(&name);
}

}  // namespace

std::string real_to_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

OriginText to_text(TemplateRuntime& runtime, const Value& value) {
  if (value.is_string()) return *value.string;
  if (value.is_undefined()) return {};
  std::string out;
  append_value_repr(runtime, value, out);
  if (runtime.failed()) return {};
  return {out, summary_of(value).least_trusted};
}

const List* to_list(TemplateRuntime& runtime, const Value& value) {
  std::vector<Value> items;
  switch (value.kind) {
    case Kind::list:
    case Kind::tuple:
    case Kind::view:
      return value.list;
    case Kind::iterator: {
      const std::vector<Value>& all = value.iterator->items->items;
      const size_t next = std::exchange(value.iterator->next, all.size());
      if (next == 0) return value.iterator->items;
      items.assign(all.begin() + static_cast<ptrdiff_t>(next), all.end());
      break;
    }
    case Kind::undefined:
      break;
    case Kind::string: {
      for (size_t i = 0; i < value.text().size() && !runtime.failed();) {
        const size_t next = i + first_code_point(value.text().substr(i)).size;
        items.push_back(runtime.text(value.string->slice(i, next)));
        i = next;
      }
      break;
    }
    case Kind::dict:
      for (const auto& entry : value.dict->entries()) items.push_back(entry.first);
      break;
    default:
      runtime.wrong_type("iterate over it", value);
      return nullptr;
  }
  const Value list = runtime.list(std::move(items));
  return list.is(Kind::list) ? list.list : nullptr;
}

int64_t length(TemplateRuntime& runtime, const Value& value) {
  switch (value.kind) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      runtime.spend_bytes(value.text().size());
      return code_point_count(value.text());
    case Kind::list:
    case Kind::tuple:
    case Kind::view:
      return static_cast<int64_t>(value.list->items.size());
    case Kind::dict:
      return static_cast<int64_t>(value.dict->size());
    default:
      runtime.wrong_type("take its length", value);
      return 0;
  }
}

Value get_attribute(TemplateRuntime& runtime, const Value& value, const std::string& name) {
  if (value.is_undefined()) {
    return runtime.wrong_type(fmt::format("take its attribute '{}'", name), value);
  }
  if (const auto method = find_method(value.kind, name)) {
    return runtime.callable({method, value});
  }
  if (value.is(Kind::tuple) && value.list->is_group) {
    if (name == "grouper") return value.list->items[0];
    if (name == "list") return value.list->items[1];
  }
  if (value.is(Kind::loop)) return loop_attribute(*value.loop, name);
  const Dict* dict = nullptr;
  if (value.is(Kind::dict)) dict = value.dict;
  if (value.is(Kind::name_space)) dict = &value.name_space->attributes;
  const Value* found = dict != nullptr ? dict->find(name) : nullptr;
  return found != nullptr ? *found : Value::undefined(&name);
}

Value get_item(TemplateRuntime& runtime, const Value& value, const Value& key) {
  if (value.is_undefined()) return runtime.wrong_type("take an item of it", value);
  if (value.is(Kind::dict)) {
    if (!runtime.spend(1 + (key.is_string() ? 0 : static_cast<int64_t>(value.dict->size() / 8)))) {
      return {};
    }
    if (const Value* found = value.dict->find(key)) return *found;
  }
  if (key.is_integral() && value.is_sequence()) {
    const auto& items = value.list->items;
    const int64_t i = resolve_index(key.as_integer(), static_cast<int64_t>(items.size()));
    return i < 0 ? Value{} : items[static_cast<size_t>(i)];
  }
  if (key.is_integral() && value.is_string()) {
    if (!runtime.spend_bytes(value.text().size())) return {};
    const int64_t i = resolve_index(key.as_integer(), code_point_count(value.text()));
    if (i < 0) return {};
    const size_t begin = code_point_offset(value.text(), i);
    const size_t size = first_code_point(value.text().substr(begin)).size;
    return runtime.text(value.string->slice(begin, begin + size));
  }
  if (!key.is_string() || !runtime.spend_bytes(key.text().size())) return {};
  return get_attribute(runtime, value, *runtime.heap().name(key.text()));
}

Value get_slice(TemplateRuntime& runtime, const Value& value, const Value& begin, const Value& end,
                const Value& step) {
  if (!value.is_string() && !value.is_sequence()) {
    return value.is_undefined() ? runtime.wrong_type("slice it", value) : Value{};
  }
  if (value.is_string() && !runtime.spend_bytes(value.text().size())) return {};
  const int64_t size = value.is_string() ? code_point_count(value.text())
                                         : static_cast<int64_t>(value.list->items.size());
  const auto range = resolve_slice(runtime, begin, end, step, size);
  if (!range) return {};
  if (value.is_string()) return slice_text(runtime, *value.string, *range);
  if (!runtime.spend(range->count)) return {};
  std::vector<Value> items;
  for (int64_t i = 0; i < range->count; ++i) {
    items.push_back(value.list->items[static_cast<size_t>(range->begin + i * range->step)]);
  }
  return runtime.sequence(std::move(items), value.kind);
}

bool equal(TemplateRuntime& runtime, const Value& a, const Value& b) {
  if (!runtime.spend(1)) return false;
  if (a.is_string() && b.is_string()) {
    return runtime.spend_bytes(a.text().size()) && a.text() == b.text();
  }
  if (a.kind != b.kind) return equal_scalars(a, b);
  if (a.is(Kind::view)) {
    // Keys and items are sets to Python, values are themselves only.
    if (a.list->view_name != b.list->view_name || a.list->view_name == kDictValues) {
      return a.list == b.list;
    }
    return a.list->items.size() == b.list->items.size() &&
           std::all_of(a.list->items.begin(), a.list->items.end(),
                       [&](const Value& item) { return contains(runtime, b, item); });
  }
  if (a.is_sequence()) {
    const auto& left = a.list->items;
    const auto& right = b.list->items;
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [&](const Value& x, const Value& y) { return equal(runtime, x, y); });
  }
  if (a.is(Kind::dict)) {
    if (a.dict->size() != b.dict->size()) return false;
    for (const auto& [key, value] : a.dict->entries()) {
      const Value* other = b.dict->find(key);
      if (other == nullptr || !equal(runtime, value, *other)) return false;
    }
    return true;
  }
  return equal_scalars(a, b);
}

bool contains(TemplateRuntime& runtime, const Value& haystack, const Value& needle) {
  switch (haystack.kind) {
    case Kind::undefined:
      return false;
    case Kind::string:
      if (!needle.is_string()) {
        runtime.wrong_type("look for it in a text", needle);
        return false;
      }
      return runtime.spend_search(haystack.text().size(), needle.text().size()) &&
             haystack.text().find(needle.text()) != std::string_view::npos;
    case Kind::iterator: {
      Iterator& left = *haystack.iterator;
      while (left.next < left.items->items.size() && !runtime.failed()) {
        if (equal(runtime, left.items->items[left.next++], needle)) return true;
      }
      return false;
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::view: {
      const auto& items = haystack.list->items;
      return std::any_of(items.begin(), items.end(),
                         [&](const Value& item) { return equal(runtime, item, needle); });
    }
    case Kind::dict:
      if (needle.is(Kind::list) || needle.is(Kind::dict)) {
        runtime.wrong_type("look for it in a dict", needle);
        return false;
      }
      runtime.spend(1 + (needle.is_string() ? 0 : static_cast<int64_t>(haystack.dict->size() / 8)));
      return haystack.dict->find(needle) != nullptr;
    default:
      runtime.wrong_type("look into it", haystack);
      return false;
  }
}

bool less(TemplateRuntime& runtime, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.as_integer() < b.as_integer();
  if (a.is_huge() && b.is_huge()) return a.unsigned_integer < b.unsigned_integer;
  if (a.is_number() && b.is_number()) return a.as_real() < b.as_real();
  if (a.is_string() && b.is_string()) {
    // The order of UTF-8 is that of code points.
    return runtime.spend_bytes(a.text().size()) && a.text() < b.text();
  }
  if (a.is_sequence() && a.kind == b.kind) {
    const auto& left = a.list->items;
    const auto& right = b.list->items;
    for (size_t i = 0; i < std::min(left.size(), right.size()) && !runtime.failed(); ++i) {
      if (!equal(runtime, left[i], right[i])) return less(runtime, left[i], right[i]);
    }
    return left.size() < right.size();
  }
  runtime.wrong_type(fmt::format("compare with {}", type_name(b)), a);
  return false;
}

Value arithmetic(TemplateRuntime& runtime, ArithmeticOperator op, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    return integer_arithmetic(runtime, op, a.as_integer(), b.as_integer());
  }
  if (a.is_number() && b.is_number()) return real_arithmetic(runtime, op, a.as_real(), b.as_real());
  if (op == ArithmeticOperator::add && a.is_string() && b.is_string()) {
    OriginText out = *a.string;
    out.append(*b.string);
    return runtime.text(std::move(out));
  }
  if (op == ArithmeticOperator::add && a.is_sequence() && a.kind == b.kind) {
    if (!runtime.spend(static_cast<int64_t>(a.list->items.size()))) return {};
    std::vector<Value> items = a.list->items;
    items.insert(items.end(), b.list->items.begin(), b.list->items.end());
    return runtime.sequence(std::move(items), a.kind);
  }
  if (op == ArithmeticOperator::modulo && a.is_string()) return format_percent(runtime, a, b);
  const auto repeatable = [](const Value& v) { return v.is_string() || v.is_sequence(); };
  if (op == ArithmeticOperator::multiply && repeatable(a) && b.is_integral()) {
    return repeat(runtime, a, b.as_integer());
  }
  if (op == ArithmeticOperator::multiply && a.is_integral() && repeatable(b)) {
    return repeat(runtime, b, a.as_integer());
  }
  return runtime.wrong_type(fmt::format("calculate with {}", type_name(b)),
                            a.is_undefined() || !b.is_undefined() ? a : b);
}

Value negate(TemplateRuntime& runtime, const Value& value) {
  if (value.is_integral()) {
    return integer_arithmetic(runtime, ArithmeticOperator::subtract, 0, value.as_integer());
  }
  if (value.is_number()) return Value::of(-value.as_real());
  return runtime.wrong_type("negate it", value);
}

}  // namespace qvl
