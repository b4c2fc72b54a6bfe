#include <algorithm>
#include <array>

#include "text/template_runtime.h"
#include "text/template_strings.h"

namespace qvl {
namespace {

using Kind = Value::Kind;

template <size_t kCount>
using Names = std::array<std::string_view, kCount>;

bool is_given(const Value& v) { return !v.is_undefined() && !v.is(Kind::none); }

// Methods of str.

Value texts_to_list(TemplateRuntime& runtime, std::vector<OriginText> texts) {
  std::vector<Value> items;
  for (OriginText& text : texts) {
    items.push_back(runtime.text(std::move(text)));
    if (runtime.failed()) return {};
  }
  return runtime.list(std::move(items));
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

template <bool kFromRight>
Value str_split(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [separator, count] = arguments.bind(runtime, Names<2>{"sep", "maxsplit"});
  const int64_t limit = count.is_integral() ? count.as_integer() : -1;
  // Each part may take a character and a separator of one byte.
  if (!runtime.spend_bytes(self.text().size())) return {};
  if (!is_given(separator)) {
    if (kFromRight) return runtime.fail("rsplit without a separator is not supported");
    return texts_to_list(runtime, split(*self.string, std::nullopt, limit));
  }
  if (!separator.is_string()) return runtime.wrong_type("split at it", separator);
  if (separator.text().empty()) return runtime.fail("cannot split at an empty text");
  if (!runtime.spend_search(self.text().size(), separator.text().size())) return {};
  return texts_to_list(runtime, kFromRight ? split_from_right(*self.string, separator.text(), limit)
                                           : split(*self.string, separator.text(), limit));
}

Value str_splitlines(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!runtime.spend_bytes(self.text().size())) return {};
  return texts_to_list(runtime, split_lines(*self.string));
}

enum class Affix { prefix, suffix };

bool has_affix(std::string_view text, std::string_view affix, Affix where) {
  return where == Affix::prefix ? text.starts_with(affix) : text.ends_with(affix);
}

template <Affix kAffix>
Value str_has_affix(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [affix] = arguments.bind(runtime, Names<1>{"prefix"});
  if (runtime.failed()) return {};
  if (affix.is_string()) return Value::of(has_affix(self.text(), affix.text(), kAffix));
  if (!affix.is(Kind::tuple)) return runtime.wrong_type("compare with it", affix);
  for (const Value& candidate : affix.list->items) {
    if (!candidate.is_string()) return runtime.wrong_type("compare with it", candidate);
    if (has_affix(self.text(), candidate.text(), kAffix)) return Value::of(true);
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

template <bool kLast>
Value str_find(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [needle] = arguments.bind(runtime, Names<1>{"sub"});
  if (!needle.is_string()) return runtime.wrong_type("find it", needle);
  if (!runtime.spend_search(self.text().size(), needle.text().size())) return {};
  const size_t found = kLast ? self.text().rfind(needle.text()) : self.text().find(needle.text());
  if (found == std::string_view::npos) return Value::of(int64_t{-1});
  return Value::of(code_point_count(self.text().substr(0, found)));
}

Value str_count(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [needle] = arguments.bind(runtime, Names<1>{"sub"});
  if (!needle.is_string()) return runtime.wrong_type("count it", needle);
  if (!runtime.spend_search(self.text().size(), needle.text().size())) return {};
  if (needle.text().empty()) return Value::of(code_point_count(self.text()) + 1);
  int64_t count = 0;
  for (size_t at = self.text().find(needle.text()); at != std::string_view::npos;
       at = self.text().find(needle.text(), at + needle.text().size())) {
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

Value str_isdigit(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const std::string_view text = self.text();
  return Value::of(!text.empty() && std::all_of(text.begin(), text.end(),
                                                [](char c) { return c >= '0' && c <= '9'; }));
}

Value str_join(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [parts] = arguments.bind(runtime, Names<1>{"iterable"});
  const List* items = to_list(runtime, parts);
  if (items == nullptr) return {};
  for (const Value& item : items->items) {
    if (!item.is_string()) return runtime.wrong_type("join it", item);
  }
  return find_filter("join")(runtime, parts, Arguments{{self}, {}});
}

// Methods of dict.

Value dict_get(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [key, otherwise] = arguments.bind(runtime, Names<2>{"key", "default"});
  if (runtime.failed()) return {};
  if (!runtime.spend(1 + (key.is_string() ? 0 : static_cast<int64_t>(self.dict->size() / 8)))) {
    return {};
  }
  if (const Value* found = self.dict->find(key)) return *found;
  return otherwise.is_undefined() ? Value::none() : otherwise;
}

Value dict_items(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  return find_filter("items")(runtime, self, arguments);
}

Value dict_keys(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  return find_filter("list")(runtime, self, arguments);
}

Value dict_values(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  std::vector<Value> values;
  for (const auto& entry : self.dict->entries()) values.push_back(entry.second);
  return runtime.list(std::move(values));
}

Value dict_unsupported(TemplateRuntime& runtime, const Value&, const Arguments&) {
  return runtime.fail("this method of dict is not supported");
}

// Methods of loop.

Value loop_cycle(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto& values = arguments.positional;
  if (values.empty()) return runtime.fail("nothing to cycle through");
  return values[self.loop->index % values.size()];
}

Value loop_changed(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const Value now = runtime.tuple(arguments.positional);
  if (runtime.failed()) return {};
  const List* before = std::exchange(self.loop->last_changed, now.list);
  if (before == nullptr) return Value::of(true);
  Value then = now;
  then.list = before;
  return Value::of(!equal(runtime, now, then));
}

// Functions.

Value global_range(TemplateRuntime& runtime, const Value&, const Arguments& arguments) {
  const auto bound = arguments.bind(runtime, Names<3>{"start", "stop", "step"});
  const size_t given = arguments.positional.size();
  if (given == 0) return runtime.fail("range needs a number");
  for (size_t i = 0; i < given; ++i) {
    if (!bound[i].is_integral()) return runtime.wrong_type("count with it", bound[i]);
  }
  int64_t at = given > 1 ? bound[0].as_integer() : 0;
  const int64_t stop = given > 1 ? bound[1].as_integer() : bound[0].as_integer();
  const int64_t step = given > 2 ? bound[2].as_integer() : 1;
  if (step == 0) return runtime.fail("range cannot have a step of 0");
  std::vector<Value> items;
  while (step > 0 ? at < stop : at > stop) {
    if (!runtime.spend(1)) return {};
    items.push_back(Value::of(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return runtime.list(std::move(items));
}

/// The entries of dict(…) and namespace(…): those of a dict, then the named arguments.
std::optional<Dict> entries(TemplateRuntime& runtime, const Arguments& arguments) {
  Dict out;
  if (arguments.positional.size() > 1) {
    runtime.fail(fmt::format("found {} arguments, expected one", arguments.positional.size()));
    return std::nullopt;
  }
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional.front();
    if (!source.is(Kind::dict)) {
      runtime.wrong_type("take entries of it", source);
      return std::nullopt;
    }
    if (!runtime.spend(static_cast<int64_t>(source.dict->size()))) return std::nullopt;
    out = *source.dict;
  }
  for (const auto& [name, value] : arguments.named) {
    const Value key = runtime.text(name, Origin::template_text);
    if (runtime.failed()) return std::nullopt;
    out.set(key, value);
  }
  return out;
}

Value global_dict(TemplateRuntime& runtime, const Value&, const Arguments& arguments) {
  auto dict = entries(runtime, arguments);
  return dict ? runtime.dict(std::move(*dict)) : Value{};
}

Value global_namespace(TemplateRuntime& runtime, const Value&, const Arguments& arguments) {
  auto attributes = entries(runtime, arguments);
  if (!attributes || !runtime.spend(1)) return {};
  return runtime.heap().name_space(std::move(*attributes));
}

Value global_raise_exception(TemplateRuntime& runtime, const Value&, const Arguments& arguments) {
  const auto [message] = arguments.bind(runtime, Names<1>{"message"});
  return runtime.fail(to_text(runtime, message).bytes());
}

struct NamedFunction {
  std::string_view name;
  Callable::Function function;
};

template <size_t kCount>
Callable::Function find(const std::array<NamedFunction, kCount>& functions, std::string_view name) {
  const auto* found = std::find_if(functions.begin(), functions.end(),
                                   [&](const NamedFunction& f) { return f.name == name; });
  return found != functions.end() ? found->function : nullptr;
}

constexpr std::array kStringMethods = {
    NamedFunction{"capitalize", str_case<Casing::capitalize>},
    NamedFunction{"count", str_count},
    NamedFunction{"endswith", str_has_affix<Affix::suffix>},
    NamedFunction{"find", str_find<false>},
    NamedFunction{"isdigit", str_isdigit},
    NamedFunction{"islower", str_is_case<Casing::lower>},
    NamedFunction{"isspace", str_isspace},
    NamedFunction{"isupper", str_is_case<Casing::upper>},
    NamedFunction{"join", str_join},
    NamedFunction{"lower", str_case<Casing::lower>},
    NamedFunction{"lstrip", str_strip<Sides::left>},
    NamedFunction{"removeprefix", str_remove_affix<Affix::prefix>},
    NamedFunction{"removesuffix", str_remove_affix<Affix::suffix>},
    NamedFunction{"replace", str_replace},
    NamedFunction{"rfind", str_find<true>},
    NamedFunction{"rsplit", str_split<true>},
    NamedFunction{"rstrip", str_strip<Sides::right>},
    NamedFunction{"split", str_split<false>},
    NamedFunction{"splitlines", str_splitlines},
    NamedFunction{"startswith", str_has_affix<Affix::prefix>},
    NamedFunction{"strip", str_strip<Sides::both>},
    NamedFunction{"upper", str_case<Casing::upper>},
};

/// A dot finds the methods of a dict before its entries, so that all of its methods are here.
constexpr std::array kDictMethods = {
    NamedFunction{"clear", dict_unsupported},
    NamedFunction{"copy", dict_unsupported},
    NamedFunction{"fromkeys", dict_unsupported},
    NamedFunction{"get", dict_get},
    NamedFunction{"items", dict_items},
    NamedFunction{"keys", dict_keys},
    NamedFunction{"pop", dict_unsupported},
    NamedFunction{"popitem", dict_unsupported},
    NamedFunction{"setdefault", dict_unsupported},
    NamedFunction{"update", dict_unsupported},
    NamedFunction{"values", dict_values},
};

constexpr std::array kLoopMethods = {
    NamedFunction{"changed", loop_changed},
    NamedFunction{"cycle", loop_cycle},
};

constexpr std::array kGlobals = {
    NamedFunction{"dict", global_dict},
    NamedFunction{"namespace", global_namespace},
    NamedFunction{"raise_exception", global_raise_exception},
    NamedFunction{"range", global_range},
};

}  // namespace

Callable::Function find_global(std::string_view name) { return find(kGlobals, name); }

Callable::Function find_method(Value::Kind kind, std::string_view name) {
  if (kind == Kind::string) return find(kStringMethods, name);
  if (kind == Kind::dict) return find(kDictMethods, name);
  if (kind == Kind::loop) return find(kLoopMethods, name);
  return nullptr;
}

}  // namespace qvl
