/// Filters that take or give lists, dicts and what can be gone through.

#include <algorithm>
#include <array>

#include "text/template_runtime.h"
#include "text/template_strings.h"

namespace qvl {
namespace {

using Kind = Value::Kind;

template <size_t kCount>
using Names = std::array<std::string_view, kCount>;

Value filter_list(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const List* items = to_list(runtime, input);
  return items != nullptr ? runtime.list(items->items) : Value{};
}

Value filter_first(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (input.is(Kind::iterator)) {
    Iterator& left = *input.iterator;
    return left.next < left.items->items.size() ? left.items->items[left.next++] : Value{};
  }
  const List* items = to_list(runtime, input);
  return items != nullptr && !items->items.empty() ? items->items.front() : Value{};
}

Value filter_last(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (input.is(Kind::iterator)) return runtime.wrong_type("go to the end of it", input);
  const List* items = to_list(runtime, input);
  return items != nullptr && !items->items.empty() ? items->items.back() : Value{};
}

Value filter_reverse(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  std::vector<Value> reversed(items->items.rbegin(), items->items.rend());
  if (input.is(Kind::iterator)) return runtime.list(std::move(reversed));
  if (!input.is_string()) return runtime.iterator(std::move(reversed));
  OriginText out;
  for (const Value& c : reversed) out.append(*c.string);
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
  return runtime.iterator(std::move(pairs));
}

/// An attribute as map, selectattr and join name it: "a.b" goes two levels down, and digits are
/// indices. Without one it is the value itself.
Value follow_path(TemplateRuntime& runtime, Value value, const Value& path,
                  const Value& otherwise = {}) {
  if (path.is_undefined() || path.is(Kind::none)) return value;
  const auto step = [&](const Value& key) {
    value = get_item(runtime, value, key);
    if (value.is_undefined() && !otherwise.is_undefined() && !otherwise.is(Kind::none)) {
      value = otherwise;
    }
  };
  if (path.is_integral()) {
    step(path);
    return value;
  }
  if (!path.is_string()) return runtime.wrong_type("use it as an attribute", path);
  split(*path.string, ".", -1, [&](OriginText part) {
    const std::string& name = part.bytes();
    const bool index = !name.empty() && name.size() < 18 &&
                       name.find_first_not_of("0123456789") == std::string::npos;
    const Value key = index ? Value::of(int64_t{std::stoll(name)}) : runtime.text(std::move(part));
    if (!runtime.failed()) step(key);
    return !runtime.failed();
  });
  return value;
}

enum class Order { by_case, by_letter };

Order order_of(const Value& case_sensitive) {
  return is_true(case_sensitive) ? Order::by_case : Order::by_letter;
}

/// What a value is compared by: itself or its attribute, texts without their case.
Value sort_key(TemplateRuntime& runtime, const Value& item, const Value& path, Order order) {
  const Value key = follow_path(runtime, item, path);
  if (order == Order::by_case || !key.is_string()) return key;
  return runtime.text(change_case(*key.string, Casing::lower));
}

struct Keyed {
  Value key;
  Value item;
};

/// Sorts by key; equal ones stay in order, also when reversed.
void sort_by_key(TemplateRuntime& runtime, std::vector<Keyed>& items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    if (!runtime.spend(1)) return false;
    return reverse ? less(runtime, b.key, a.key) : less(runtime, a.key, b.key);
  });
}

std::vector<Value> items_of(const std::vector<Keyed>& keyed) {
  std::vector<Value> out;
  out.reserve(keyed.size());
  for (const Keyed& k : keyed) out.push_back(k.item);
  return out;
}

Value filter_sort(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [reverse, case_sensitive, attribute] =
      arguments.bind(runtime, Names<3>{"reverse", "case_sensitive", "attribute"});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  std::vector<Value> paths{attribute};
  if (attribute.is_string()) {
    paths.clear();
    split(*attribute.string, ",", -1, [&](OriginText part) {
      paths.push_back(runtime.text(std::move(part)));
      return !runtime.failed();
    });
  }
  std::vector<Keyed> keyed;
  for (const Value& item : items->items) {
    std::vector<Value> keys;
    for (const Value& path : paths) {
      if (runtime.failed()) return {};
      keys.push_back(sort_key(runtime, item, path, order_of(case_sensitive)));
    }
    keyed.push_back({runtime.list(std::move(keys)), item});
    if (runtime.failed()) return {};
  }
  sort_by_key(runtime, keyed, is_true(reverse));
  return runtime.list(items_of(keyed));
}

Value filter_dictsort(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [case_sensitive, by, reverse] =
      arguments.bind(runtime, Names<3>{"case_sensitive", "by", "reverse"});
  if (!input.is(Kind::dict)) return runtime.wrong_type("sort the items", input);
  const bool by_value = by.is_string() && by.text() == "value";
  if (!by.is_undefined() && !by_value && !(by.is_string() && by.text() == "key")) {
    return runtime.wrong_type("sort by anything but 'key' or 'value'", by);
  }
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : input.dict->entries()) {
    const Value by_this = sort_key(runtime, by_value ? value : key, {}, order_of(case_sensitive));
    keyed.push_back({by_this, runtime.tuple({key, value})});
    if (runtime.failed()) return {};
  }
  sort_by_key(runtime, keyed, is_true(reverse));
  return runtime.list(items_of(keyed));
}

Value filter_groupby(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [attribute, otherwise, case_sensitive] =
      arguments.bind(runtime, Names<3>{"attribute", "default", "case_sensitive"});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  std::vector<Keyed> keyed;
  for (const Value& item : items->items) {
    const Value key = follow_path(runtime, item, attribute, otherwise);
    keyed.push_back({sort_key(runtime, key, {}, order_of(case_sensitive)), item});
    if (runtime.failed()) return {};
  }
  sort_by_key(runtime, keyed, false);
  std::vector<Value> groups;
  for (size_t begin = 0; begin < keyed.size() && !runtime.failed();) {
    std::vector<Value> group;
    size_t end = begin;
    while (end < keyed.size() && equal(runtime, keyed[begin].key, keyed[end].key)) {
      group.push_back(keyed[end++].item);
    }
    if (end == begin) return runtime.fail("a key is not equal to itself");
    const Value key = follow_path(runtime, keyed[begin].item, attribute, otherwise);
    groups.push_back(runtime.group(key, runtime.list(std::move(group))));
    begin = end;
  }
  return runtime.list(std::move(groups));
}

/// Whether Python could look the value up in a set.
bool is_hashable(TemplateRuntime& runtime, const Value& value) {
  if (!runtime.spend(1) || value.is(Kind::list) || value.is(Kind::dict)) return false;
  if (!value.is(Kind::tuple)) return true;
  return std::all_of(value.list->items.begin(), value.list->items.end(),
                     [&](const Value& item) { return is_hashable(runtime, item); });
}

Value filter_unique(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [case_sensitive, attribute] =
      arguments.bind(runtime, Names<2>{"case_sensitive", "attribute"});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  Dict seen;
  std::vector<Value> seen_tuples;
  std::vector<Value> kept;
  for (const Value& item : items->items) {
    const Value key = sort_key(runtime, item, attribute, order_of(case_sensitive));
    if (!is_hashable(runtime, key)) {
      return runtime.wrong_type("find out whether it is the only one", key);
    }
    if (key.is(Kind::tuple)) {
      const bool known = std::any_of(seen_tuples.begin(), seen_tuples.end(),
                                     [&](const Value& t) { return equal(runtime, t, key); });
      if (known || !runtime.spend(2)) continue;
      seen_tuples.push_back(key);
      kept.push_back(item);
      continue;
    }
    // Only texts are found without going through all.
    if (!runtime.spend(2 + (key.is_string() ? 0 : static_cast<int64_t>(seen.size() / 8)))) {
      return {};
    }
    if (seen.find(key) != nullptr) continue;
    seen.set(key, Value::none());
    kept.push_back(item);
  }
  return runtime.iterator(std::move(kept));
}

enum class Extreme { min, max };

template <Extreme kExtreme>
Value filter_extreme(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [case_sensitive, attribute] =
      arguments.bind(runtime, Names<2>{"case_sensitive", "attribute"});
  const List* items = to_list(runtime, input);
  if (items == nullptr || items->items.empty()) return {};
  Keyed best;
  for (size_t i = 0; i < items->items.size() && !runtime.failed(); ++i) {
    const Value& item = items->items[i];
    const Value key = sort_key(runtime, item, attribute, order_of(case_sensitive));
    const bool better = i == 0 || (kExtreme == Extreme::min ? less(runtime, key, best.key)
                                                            : less(runtime, best.key, key));
    if (better) best = {key, item};
    if (!runtime.spend(1)) return {};
  }
  return best.item;
}

Value filter_sum(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [attribute, start] = arguments.bind(runtime, Names<2>{"attribute", "start"});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  Value sum = start.is_undefined() ? Value::of(int64_t{0}) : start;
  if (sum.is_string()) return runtime.fail("cannot sum texts; use join");
  for (const Value& item : items->items) {
    const Value part = follow_path(runtime, item, attribute);
    if (!runtime.spend(1)) return {};
    sum = arithmetic(runtime, ArithmeticOperator::add, sum, part);
  }
  return sum;
}

Value filter_batch(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [line_count, fill] = arguments.bind(runtime, Names<2>{"linecount", "fill_with"});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  if (!line_count.is_integral() || line_count.as_integer() < 1) {
    return runtime.wrong_type("batch by anything but 1 or more", line_count);
  }
  const auto size = static_cast<size_t>(line_count.as_integer());
  const bool fills = !fill.is_undefined() && !fill.is(Kind::none);
  std::vector<Value> batches;
  for (size_t begin = 0; begin < items->items.size() && !runtime.failed();) {
    const size_t count = std::min(size, items->items.size() - begin);
    const auto first = items->items.begin() + static_cast<ptrdiff_t>(begin);
    std::vector<Value> batch(first, first + static_cast<ptrdiff_t>(count));
    if (fills && count < size) {
      if (!runtime.spend(static_cast<int64_t>(size))) return {};
      batch.resize(size, fill);
    }
    batches.push_back(runtime.list(std::move(batch)));
    begin += count;
  }
  return runtime.iterator(std::move(batches));
}

Value filter_slice(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [slices, fill] = arguments.bind(runtime, Names<2>{"slices", "fill_with"});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  if (!slices.is_integral() || slices.as_integer() == 0) {
    return runtime.wrong_type("slice into so many", slices);
  }
  if (slices.as_integer() < 0) return runtime.iterator({});
  if (!runtime.spend(slices.as_integer())) return {};
  const auto count = static_cast<size_t>(slices.as_integer());
  const bool fills = !fill.is_undefined() && !fill.is(Kind::none);
  const size_t longer = items->items.size() % count;
  std::vector<Value> out;
  auto next = items->items.begin();
  for (size_t i = 0; i < count && !runtime.failed(); ++i) {
    const size_t size = items->items.size() / count + (i < longer ? 1 : 0);
    std::vector<Value> part(next, next + static_cast<ptrdiff_t>(size));
    next += static_cast<ptrdiff_t>(size);
    if (fills && i >= longer) part.push_back(fill);
    out.push_back(runtime.list(std::move(part)));
  }
  return runtime.iterator(std::move(out));
}

Value filter_join(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [separator, attribute] = arguments.bind(runtime, Names<2>{"d", "attribute"});
  const List* items = to_list(runtime, input);
  if (items == nullptr) return {};
  const OriginText between = to_text(runtime, separator);
  OriginText out;
  bool first = true;
  for (const Value& item : items->items) {
    const Value part = follow_path(runtime, item, attribute);
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

/// Only an attribute: not an item, as a dot would also find.
Value filter_attr(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [name] = arguments.bind(runtime, Names<1>{"name"});
  if (!name.is_string()) return runtime.wrong_type("use it as an attribute", name);
  const bool has_items = input.is(Kind::dict) && find_method(input.kind, name.text()) == nullptr;
  if (has_items || input.is_undefined() || !runtime.spend_bytes(name.text().size())) return {};
  return get_attribute(runtime, input, *runtime.heap().name(name.text()));
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
    if (attribute.is_undefined()) return runtime.fail("map needs a filter or an attribute");
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
    const Value out = filter != nullptr ? filter(runtime, item, rest)
                                        : follow_path(runtime, item, attribute, otherwise);
    if (!runtime.spend(1)) return {};
    mapped.push_back(out);
  }
  return runtime.iterator(std::move(mapped));
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
  return runtime.iterator(std::move(kept));
}

struct NamedFilter {
  std::string_view name;
  TemplateFilter filter;
};

constexpr std::array kFilters = {
    NamedFilter{"attr", filter_attr},
    NamedFilter{"batch", filter_batch},
    NamedFilter{"dictsort", filter_dictsort},
    NamedFilter{"first", filter_first},
    NamedFilter{"groupby", filter_groupby},
    NamedFilter{"items", filter_items},
    NamedFilter{"join", filter_join},
    NamedFilter{"last", filter_last},
    NamedFilter{"list", filter_list},
    NamedFilter{"map", filter_map},
    NamedFilter{"max", filter_extreme<Extreme::max>},
    NamedFilter{"min", filter_extreme<Extreme::min>},
    NamedFilter{"reject", filter_select<Keep::where_false, false>},
    NamedFilter{"rejectattr", filter_select<Keep::where_false, true>},
    NamedFilter{"reverse", filter_reverse},
    NamedFilter{"select", filter_select<Keep::where_true, false>},
    NamedFilter{"selectattr", filter_select<Keep::where_true, true>},
    NamedFilter{"slice", filter_slice},
    NamedFilter{"sort", filter_sort},
    NamedFilter{"sum", filter_sum},
    NamedFilter{"unique", filter_unique},
};

}  // namespace

TemplateFilter find_sequence_filter(std::string_view name) {
  const auto* found = std::find_if(kFilters.begin(), kFilters.end(),
                                   [&](const NamedFilter& f) { return f.name == name; });
  return found != kFilters.end() ? found->filter : nullptr;
}

}  // namespace qvl
