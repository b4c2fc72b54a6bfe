#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

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

Value filter_tojson(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [ensure_ascii, indent, sort_keys] =
      arguments.bind(runtime, Names<3>{"ensure_ascii", "indent", "sort_keys"});
  JsonStyle style{.ensure_ascii = is_true(ensure_ascii), .sort_keys = is_true(sort_keys)};
  if (indent.is_integral()) {
    style.indent = static_cast<int>(std::clamp<int64_t>(indent.as_integer(), 0, 16));
  } else if (!indent.is_undefined() && !indent.is(Kind::none)) {
    return runtime.wrong_type("indent JSON", indent);
  }
  return runtime.text(to_json(runtime, input, style));
}

Value filter_list(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const List* items = to_list(runtime, input);
  return items != nullptr ? runtime.list(items->items) : Value{};
}

Value filter_first(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const List* items = to_list(runtime, input);
  return items != nullptr && !items->items.empty() ? items->items.front() : Value{};
}

Value filter_last(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const List* items = to_list(runtime, input);
  return items != nullptr && !items->items.empty() ? items->items.back() : Value{};
}

Value filter_reverse(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  if (!input.is_string()) {
    return runtime.list({items->items.rbegin(), items->items.rend()});
  }
  OriginText out;
  for (auto c = items->items.rbegin(); c != items->items.rend(); ++c) out.append(*c->string);
  return runtime.text(std::move(out));
}

Value filter_items(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!input.is(Kind::dict) && !input.is_undefined()) {
    return runtime.wrong_type("take the items", input);
  }
  std::vector<Value> pairs;
  if (input.is(Kind::dict)) {
    for (const auto& [key, value] : input.dict->entries()) {
      pairs.push_back(runtime.tuple({key, value}));
      if (runtime.failed()) return {};
    }
  }
  return runtime.list(std::move(pairs));
}

Value filter_dictsort(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [case_sensitive] = arguments.bind(runtime, Names<1>{"case_sensitive"});
  if (!input.is(Kind::dict)) return runtime.wrong_type("sort the items", input);
  std::vector<std::pair<std::string, const Dict::Entry*>> sorted;
  for (const Dict::Entry& entry : input.dict->entries()) {
    if (!entry.first.is_string()) return runtime.wrong_type("sort by the key", entry.first);
    if (!runtime.spend_bytes(4 * entry.first.text().size())) return {};
    sorted.emplace_back(is_true(case_sensitive)
                            ? std::string(entry.first.text())
                            : change_case(*entry.first.string, Casing::lower).bytes(),
                        &entry);
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Value> pairs;
  for (const auto& [key, entry] : sorted) {
    pairs.push_back(runtime.tuple({entry->first, entry->second}));
    if (runtime.failed()) return {};
  }
  return runtime.list(std::move(pairs));
}

/// An attribute as map, selectattr and join name it: "a.b" goes two levels down.
Value follow_path(TemplateRuntime& runtime, Value value, const Value& path) {
  if (path.is_integral()) return get_item(runtime, value, path);
  if (!path.is_string()) return runtime.wrong_type("use it as an attribute", path);
  for (const OriginText& step : split(*path.string, ".", -1)) {
    if (runtime.failed()) return {};
    value = get_item(runtime, value, runtime.text(step));
  }
  return value;
}

Value filter_join(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [separator, attribute] = arguments.bind(runtime, Names<2>{"d", "attribute"});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  const OriginText between = to_text(runtime, separator);
  OriginText out;
  bool first = true;
  for (const Value& item : items->items) {
    const Value part = attribute.is_undefined() ? item : follow_path(runtime, item, attribute);
    if (runtime.failed()) return {};
    if (!first) out.append(between);
    first = false;
    out.append(to_text(runtime, part));
    if (!runtime.spend_bytes(between.size() + 32) ||
        out.size() > static_cast<size_t>(runtime.limits().max_output_bytes)) {
      return runtime.fail(ErrorCode::template_limit, "a text becomes too large");
    }
  }
  return runtime.text(std::move(out));
}

Value filter_int(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [otherwise] = arguments.bind(runtime, Names<1>{"default"});
  const Value fallback = otherwise.is_undefined() ? Value::of(int64_t{0}) : otherwise;
  if (input.is_integral()) return Value::of(input.as_integer());
  if (input.is_huge()) return input;
  double real = 0;
  if (input.is(Kind::real)) {
    real = input.real;
  } else if (input.is_string()) {
    const auto [begin, end] = stripped(input.text(), Sides::both, std::nullopt);
    const std::string_view digits = input.text().substr(begin, end - begin);
    int64_t integer = 0;
    const auto whole = std::from_chars(digits.data(), digits.data() + digits.size(), integer);
    if (whole.ec == std::errc{} && whole.ptr == digits.data() + digits.size()) {
      return Value::of(integer);
    }
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), real);
    if (parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size()) return fallback;
  } else {
    return fallback;
  }
  if (!(std::fabs(real) < 9.2e18)) return fallback;
  return Value::of(static_cast<int64_t>(real));
}

Value filter_float(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [otherwise] = arguments.bind(runtime, Names<1>{"default"});
  const Value fallback = otherwise.is_undefined() ? Value::of(0.0) : otherwise;
  if (input.is_number()) return Value::of(input.as_real());
  if (!input.is_string()) return fallback;
  const auto [begin, end] = stripped(input.text(), Sides::both, std::nullopt);
  const std::string_view digits = input.text().substr(begin, end - begin);
  double real = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), real);
  if (parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size()) return fallback;
  return Value::of(real);
}

Value filter_abs(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!input.is_number()) return runtime.wrong_type("take the absolute value", input);
  return input.as_real() < 0 ? negate(runtime, input) : input;
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
  const OriginText text = to_text(runtime, input);
  OriginText out;
  if (is_true(first)) out.append(margin);
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t newline = text.bytes().find('\n', begin);
    const size_t end = newline == std::string::npos ? text.size() : newline + 1;
    out.append(text, begin, end);
    begin = end;
    const bool blank_line = begin < text.size() && text.bytes()[begin] == '\n';
    const bool more = newline != std::string::npos && begin < text.size();
    if (more && (!blank_line || is_true(blank))) out.append(margin);
    if (!runtime.spend_bytes(margin.size()) ||
        out.size() > static_cast<size_t>(runtime.limits().max_output_bytes)) {
      return runtime.fail(ErrorCode::template_limit, "a text becomes too large");
    }
  }
  return runtime.text(std::move(out));
}

/// Takes a leading argument, the name of a filter or test, off `arguments`.
std::string_view take_name(Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.positional.front().is_string()) return {};
  const std::string_view name = arguments.positional.front().text();
  arguments.positional.erase(arguments.positional.begin());
  return name;
}

Value filter_map(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  Arguments rest = arguments;
  TemplateFilter filter = nullptr;
  Value attribute;
  Value otherwise;
  if (rest.positional.empty()) {
    const auto bound = arguments.bind(runtime, Names<2>{"attribute", "default"});
    attribute = bound[0];
    otherwise = bound[1];
  } else {
    const std::string_view name = take_name(rest);
    filter = find_filter(name);
    // A filter that applies filters could nest without end.
    if (filter == nullptr || filter == &filter_map) {
      return runtime.fail(fmt::format("cannot map with the filter '{}'", name));
    }
  }
  std::vector<Value> mapped;
  for (const Value& item : items->items) {
    Value out =
        filter != nullptr ? filter(runtime, item, rest) : follow_path(runtime, item, attribute);
    if (filter == nullptr && out.is_undefined() && !otherwise.is_undefined()) out = otherwise;
    if (!runtime.spend(1)) return {};
    mapped.push_back(out);
  }
  return runtime.list(std::move(mapped));
}

enum class Keep { where_true, where_false };

template <Keep kKeep, bool kByAttribute>
Value filter_select(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  Arguments rest = arguments;
  Value attribute;
  if (kByAttribute) {
    if (rest.positional.empty()) return runtime.fail("the name of an attribute is missing");
    attribute = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
  }
  TemplateTest test = nullptr;
  if (!rest.positional.empty()) {
    const std::string_view name = take_name(rest);
    test = find_test(name);
    if (test == nullptr) return runtime.fail(fmt::format("there is no test '{}'", name));
  }
  std::vector<Value> kept;
  for (const Value& item : items->items) {
    const Value looked_at = kByAttribute ? follow_path(runtime, item, attribute) : item;
    if (!runtime.spend(1)) return {};
    const bool holds = test != nullptr ? test(runtime, looked_at, rest) : is_true(looked_at);
    if (holds == (kKeep == Keep::where_true)) kept.push_back(item);
  }
  return runtime.list(std::move(kept));
}

struct NamedFilter {
  std::string_view name;
  TemplateFilter filter;
};

constexpr std::array kFilters = {
    NamedFilter{"abs", filter_abs},
    NamedFilter{"capitalize", filter_case<Casing::capitalize>},
    NamedFilter{"count", filter_length},
    NamedFilter{"d", filter_default},
    NamedFilter{"default", filter_default},
    NamedFilter{"dictsort", filter_dictsort},
    NamedFilter{"first", filter_first},
    NamedFilter{"float", filter_float},
    NamedFilter{"indent", filter_indent},
    NamedFilter{"int", filter_int},
    NamedFilter{"items", filter_items},
    NamedFilter{"join", filter_join},
    NamedFilter{"last", filter_last},
    NamedFilter{"length", filter_length},
    NamedFilter{"list", filter_list},
    NamedFilter{"lower", filter_case<Casing::lower>},
    NamedFilter{"map", filter_map},
    NamedFilter{"reject", filter_select<Keep::where_false, false>},
    NamedFilter{"rejectattr", filter_select<Keep::where_false, true>},
    NamedFilter{"replace", filter_replace},
    NamedFilter{"reverse", filter_reverse},
    NamedFilter{"safe", filter_string},
    NamedFilter{"select", filter_select<Keep::where_true, false>},
    NamedFilter{"selectattr", filter_select<Keep::where_true, true>},
    NamedFilter{"string", filter_string},
    NamedFilter{"title", filter_case<Casing::title>},
    NamedFilter{"tojson", filter_tojson},
    NamedFilter{"trim", filter_trim},
    NamedFilter{"upper", filter_case<Casing::upper>},
};

}  // namespace

TemplateFilter find_filter(std::string_view name) {
  const auto* found = std::find_if(kFilters.begin(), kFilters.end(),
                                   [&](const NamedFilter& f) { return f.name == name; });
  return found != kFilters.end() ? found->filter : nullptr;
}

}  // namespace qvl
