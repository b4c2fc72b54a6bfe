#include <algorithm>
#include <array>

#include "text/template_format.h"
#include "text/template_runtime.h"
#include "text/template_strings.h"

namespace qvl {
namespace {

using Kind = Value::Kind;

template <size_t kCount>
using Names = std::array<std::string_view, kCount>;

bool is_given(const Value& v) { return !v.is_undefined() && !v.is(Kind::none); }

/// Collects the parts that `split_into` hands out.
template <class SplitInto>
Value list_of_parts(TemplateRuntime& runtime, SplitInto split_into) {
  std::vector<Value> parts;
  split_into([&](OriginText part) {
    parts.push_back(runtime.text(std::move(part)));
    return !runtime.failed();
  });
  return runtime.list(std::move(parts));
}

template <Sides kSides>
Value str_strip(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [characters] = arguments.bind(runtime, Names<1>{"chars"});
  std::optional<std::string_view> set;
  if (is_given(characters)) {
    if (!characters.is_string()) return runtime.wrong_type("strip it", characters);
    set = characters.text();
  }
  if (!runtime.spend_search(self.text().size(), set ? 64 * set->size() : 0)) return {};
  const auto [begin, end] = stripped(self.text(), kSides, set);
  return runtime.text(self.string->slice(begin, end));
}

Value str_split(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [separator, count] = arguments.bind(runtime, Names<2>{"sep", "maxsplit"});
  const int64_t limit = count.is_integral() ? count.as_integer() : -1;
  std::optional<std::string_view> at;
  if (is_given(separator)) {
    if (!separator.is_string()) return runtime.wrong_type("split at it", separator);
    if (separator.text().empty()) return runtime.fail("cannot split at an empty text");
    at = separator.text();
  }
  if (!runtime.spend_search(self.text().size(), at ? at->size() : 1)) return {};
  return list_of_parts(runtime, [&](TakePart take) { split(*self.string, at, limit, take); });
}

Value str_rsplit(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [separator, count] = arguments.bind(runtime, Names<2>{"sep", "maxsplit"});
  const int64_t limit = count.is_integral() ? count.as_integer() : -1;
  std::optional<std::string_view> at;
  if (is_given(separator)) {
    if (!separator.is_string()) return runtime.wrong_type("split at it", separator);
    if (separator.text().empty()) return runtime.fail("cannot split at an empty text");
    at = separator.text();
  }
  if (!runtime.spend_search(self.text().size(), at ? at->size() : 1)) return {};
  const Value parts = list_of_parts(
      runtime, [&](TakePart take) { split_from_right(*self.string, at, limit, take); });
  if (runtime.failed()) return {};
  return runtime.list({parts.list->items.rbegin(), parts.list->items.rend()});
}

/// The text before the separator, the separator and the text after it.
template <bool kLast>
Value str_partition(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [separator] = arguments.bind(runtime, Names<1>{"sep"});
  if (!separator.is_string()) return runtime.wrong_type("split at it", separator);
  const std::string_view text = self.text();
  const size_t size = separator.text().size();
  if (size == 0) return runtime.fail("cannot split at an empty text");
  if (!runtime.spend_search(text.size(), size)) return {};
  const size_t found = kLast ? text.rfind(separator.text()) : text.find(separator.text());
  const Value empty = runtime.text({});
  if (found == std::string_view::npos) {
    return runtime.tuple(kLast ? std::vector{empty, empty, self} : std::vector{self, empty, empty});
  }
  const Value before = runtime.text(self.string->slice(0, found));
  const Value after = runtime.text(self.string->slice(found + size, text.size()));
  return runtime.failed() ? Value{} : runtime.tuple({before, separator, after});
}

Value str_splitlines(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [keep] = arguments.bind(runtime, Names<1>{"keepends"});
  if (!runtime.spend_bytes(self.text().size())) return {};
  const LineEnds ends = is_true(keep) ? LineEnds::kept : LineEnds::dropped;
  return list_of_parts(runtime, [&](TakePart take) { split_lines(*self.string, ends, take); });
}

/// The part of a text that the arguments `start` and `end` of its methods select.
struct Window {
  std::string_view text;
  int64_t start;  ///< in characters
};

/// None if the window starts after the end of the text, where Python finds nothing at all.
std::optional<Window> window(TemplateRuntime& runtime, const Value& self, const Value& start,
                             const Value& end) {
  if (!is_given(start) && !is_given(end)) return Window{self.text(), 0};
  for (const Value* v : {&start, &end}) {
    if (is_given(*v) && !v->is_integral()) {
      runtime.wrong_type("use it as a position", *v);
      return std::nullopt;
    }
  }
  if (!runtime.spend_bytes(self.text().size())) return std::nullopt;
  const int64_t size = code_point_count(self.text());
  const auto position = [&](const Value& v, int64_t otherwise) {
    if (!is_given(v)) return otherwise;
    const int64_t i = v.as_integer();
    return i < 0 ? std::max<int64_t>(i + size, 0) : i;
  };
  const int64_t first = position(start, 0);
  const int64_t last = std::min(position(end, size), size);
  if (first > size || first > last) return std::nullopt;
  const size_t begin = code_point_offset(self.text(), first);
  const std::string_view rest = self.text().substr(begin);
  return Window{rest.substr(0, code_point_offset(rest, last - first)), first};
}

enum class Affix { prefix, suffix };

bool has_affix(std::string_view text, std::string_view affix, Affix where) {
  return where == Affix::prefix ? text.starts_with(affix) : text.ends_with(affix);
}

template <Affix kAffix>
Value str_has_affix(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [affix, start, end] = arguments.bind(runtime, Names<3>{"prefix", "start", "end"});
  const std::optional<Window> where = window(runtime, self, start, end);
  if (runtime.failed()) return {};
  if (!affix.is_string() && !affix.is(Kind::tuple)) {
    return runtime.wrong_type("compare with it", affix);
  }
  if (affix.is_string()) {
    return Value::of(where && has_affix(where->text, affix.text(), kAffix));
  }
  for (const Value& candidate : affix.list->items) {
    if (!candidate.is_string()) return runtime.wrong_type("compare with it", candidate);
    if (where && has_affix(where->text, candidate.text(), kAffix)) return Value::of(true);
  }
  return Value::of(false);
}

template <Affix kAffix>
Value str_remove_affix(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [affix] = arguments.bind(runtime, Names<1>{"prefix"});
  if (!affix.is_string()) return runtime.wrong_type("remove it", affix);
  if (!has_affix(self.text(), affix.text(), kAffix)) return self;
  const size_t size = affix.text().size();
  const size_t begin = kAffix == Affix::prefix ? size : 0;
  return runtime.text(self.string->slice(begin, begin + self.text().size() - size));
}

Value str_replace(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [old, replacement, count] = arguments.bind(runtime, Names<3>{"old", "new", "count"});
  if (!old.is_string()) return runtime.wrong_type("replace it", old);
  if (!replacement.is_string()) return runtime.wrong_type("put it in", replacement);
  if (!runtime.spend_search(self.text().size(), old.text().size())) return {};
  const int64_t limit = count.is_integral() ? count.as_integer() : -1;
  auto out = replace(*self.string, old.text(), *replacement.string, limit,
                     static_cast<size_t>(runtime.limits().max_output_bytes));
  if (!out) return runtime.fail(ErrorCode::template_limit, "a text becomes too large");
  return runtime.text(std::move(*out));
}

enum class Missing { minus_one, error };

template <bool kLast, Missing kMissing>
Value str_find(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [needle, start, end] = arguments.bind(runtime, Names<3>{"sub", "start", "end"});
  if (!needle.is_string()) return runtime.wrong_type("find it", needle);
  const std::optional<Window> where = window(runtime, self, start, end);
  if (!runtime.spend_search(self.text().size(), needle.text().size())) return {};
  size_t found = std::string_view::npos;
  if (where) found = kLast ? where->text.rfind(needle.text()) : where->text.find(needle.text());
  if (found != std::string_view::npos) {
    return Value::of(where->start + code_point_count(where->text.substr(0, found)));
  }
  if (kMissing == Missing::error) return runtime.fail("the text to find is not there");
  return Value::of(int64_t{-1});
}

Value str_count(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [needle, start, end] = arguments.bind(runtime, Names<3>{"sub", "start", "end"});
  if (!needle.is_string()) return runtime.wrong_type("count it", needle);
  const std::optional<Window> where = window(runtime, self, start, end);
  if (!runtime.spend_search(self.text().size(), needle.text().size())) return {};
  if (!where) return Value::of(int64_t{0});
  if (needle.text().empty()) return Value::of(code_point_count(where->text) + 1);
  int64_t count = 0;
  for (size_t at = where->text.find(needle.text()); at != std::string_view::npos;
       at = where->text.find(needle.text(), at + needle.text().size())) {
    ++count;
  }
  return Value::of(count);
}

template <Casing kCasing>
Value str_case(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return runtime.text(change_case(*self.string, kCasing));
}

template <Casing kCasing>
Value str_is_case(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!runtime.spend_bytes(self.text().size())) return {};
  return Value::of(has_only_case(self.text(), kCasing));
}

Value str_isspace(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const auto [begin, end] = stripped(self.text(), Sides::left, std::nullopt);
  return Value::of(begin == end && !self.text().empty());
}

/// Whether a text has characters and all are of a kind.
template <CharacterKind kKind>
Value str_is(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!runtime.spend_bytes(self.text().size())) return {};
  return Value::of(has_only(self.text(), kKind));
}

Value str_isascii(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!runtime.spend_bytes(self.text().size())) return {};
  return Value::of(std::all_of(self.text().begin(), self.text().end(),
                               [](char c) { return static_cast<uint8_t>(c) < 0x80; }));
}

template <Align kAlign>
Value str_padded(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [width, fill] = arguments.bind(runtime, Names<2>{"width", "fillchar"});
  if (!width.is_integral()) return runtime.wrong_type("use it as a width", width);
  OriginText with(" ", Origin::template_text);
  if (!fill.is_undefined()) {
    if (!fill.is_string() || code_point_count(fill.text()) != 1) {
      return runtime.wrong_type("fill up with anything but one character", fill);
    }
    with = *fill.string;
  }
  return padded(runtime, *self.string, width.as_integer(), kAlign, with);
}

/// Zeros after the sign, up to a width.
Value str_zfill(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [width] = arguments.bind(runtime, Names<1>{"width"});
  if (!width.is_integral()) return runtime.wrong_type("use it as a width", width);
  const bool sign = self.text().starts_with('-') || self.text().starts_with('+');
  const int64_t total = width.as_integer();
  const Value digits = padded(runtime, self.string->slice(sign ? 1 : 0, self.text().size()),
                              sign && total > 0 ? total - 1 : total, Align::right,
                              OriginText("0", Origin::template_text));
  if (runtime.failed()) return {};
  OriginText out = self.string->slice(0, sign ? 1 : 0);
  out.append(*digits.string);
  return runtime.text(std::move(out));
}

Value str_format(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  return format_fields(runtime, *self.string, arguments);
}

Value str_join(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [parts] = arguments.bind(runtime, Names<1>{"iterable"});
  const List* items = to_list(runtime, parts);
  if (items == nullptr) return {};
  for (const Value& item : items->items) {
    if (!item.is_string()) return runtime.wrong_type("join it", item);
  }
  const Value list = runtime.list(items->items);
  return find_filter("join")(runtime, list, Arguments{{self}, {}});
}

struct NamedMethod {
  std::string_view name;
  Callable::Function function;
};

constexpr std::array kStringMethods = {
    NamedMethod{"capitalize", str_case<Casing::capitalize>},
    NamedMethod{"center", str_padded<Align::method_center>},
    NamedMethod{"count", str_count},
    NamedMethod{"endswith", str_has_affix<Affix::suffix>},
    NamedMethod{"find", str_find<false, Missing::minus_one>},
    NamedMethod{"format", str_format},
    NamedMethod{"index", str_find<false, Missing::error>},
    NamedMethod{"isalnum", str_is<CharacterKind::letter_or_number>},
    NamedMethod{"isalpha", str_is<CharacterKind::letter>},
    NamedMethod{"isascii", str_isascii},
    NamedMethod{"isdecimal", str_is<CharacterKind::decimal>},
    NamedMethod{"isdigit", str_is<CharacterKind::digit>},
    NamedMethod{"islower", str_is_case<Casing::lower>},
    NamedMethod{"isnumeric", str_is<CharacterKind::number>},
    NamedMethod{"isspace", str_isspace},
    NamedMethod{"isupper", str_is_case<Casing::upper>},
    NamedMethod{"join", str_join},
    NamedMethod{"ljust", str_padded<Align::left>},
    NamedMethod{"lower", str_case<Casing::lower>},
    NamedMethod{"lstrip", str_strip<Sides::left>},
    NamedMethod{"partition", str_partition<false>},
    NamedMethod{"removeprefix", str_remove_affix<Affix::prefix>},
    NamedMethod{"removesuffix", str_remove_affix<Affix::suffix>},
    NamedMethod{"replace", str_replace},
    NamedMethod{"rfind", str_find<true, Missing::minus_one>},
    NamedMethod{"rindex", str_find<true, Missing::error>},
    NamedMethod{"rjust", str_padded<Align::right>},
    NamedMethod{"rpartition", str_partition<true>},
    NamedMethod{"rsplit", str_rsplit},
    NamedMethod{"rstrip", str_strip<Sides::right>},
    NamedMethod{"split", str_split},
    NamedMethod{"splitlines", str_splitlines},
    NamedMethod{"startswith", str_has_affix<Affix::prefix>},
    NamedMethod{"strip", str_strip<Sides::both>},
    NamedMethod{"swapcase", str_case<Casing::swap>},
    NamedMethod{"title", str_case<Casing::method_title>},
    NamedMethod{"upper", str_case<Casing::upper>},
    NamedMethod{"zfill", str_zfill},
};

}  // namespace

Callable::Function find_string_method(std::string_view name) {
  const auto* found = std::find_if(kStringMethods.begin(), kStringMethods.end(),
                                   [&](const NamedMethod& m) { return m.name == name; });
  return found != kStringMethods.end() ? found->function : nullptr;
}

}  // namespace qvl
