#include <algorithm>
#include <array>

#include "text/template_runtime.h"
#include "text/unicode.h"

namespace qvl {
namespace {

using Kind = Value::Kind;

template <size_t kCount>
using Names = std::array<std::string_view, kCount>;

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
  arguments.bind<0>(runtime, {});
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.dict->entries()) {
    pairs.push_back(runtime.tuple({key, value}));
    if (runtime.failed()) return {};
  }
  return runtime.view(std::move(pairs), kDictItems);
}

Value dict_keys(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  std::vector<Value> keys;
  for (const auto& entry : self.dict->entries()) keys.push_back(entry.first);
  return runtime.view(std::move(keys), kDictKeys);
}

Value dict_values(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  std::vector<Value> values;
  for (const auto& entry : self.dict->entries()) values.push_back(entry.second);
  return runtime.view(std::move(values), kDictValues);
}

Value dict_copy(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!runtime.spend(static_cast<int64_t>(self.dict->size()))) return {};
  return runtime.dict(*self.dict);
}

/// What Jinja's sandbox forbids to chat templates.
Value refuse_to_change(TemplateRuntime& runtime, const Value& self, const Arguments&) {
  return runtime.fail(fmt::format("a template cannot change a {}; make another, or use a namespace",
                                  type_name(self)));
}

// Methods of list and tuple.

Value list_count(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [value] = arguments.bind(runtime, Names<1>{"value"});
  int64_t count = 0;
  for (const Value& item : self.list->items) count += equal(runtime, item, value) ? 1 : 0;
  return Value::of(count);
}

Value list_index(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  const auto [value] = arguments.bind(runtime, Names<1>{"value"});
  const std::vector<Value>& items = self.list->items;
  for (size_t i = 0; i < items.size() && !runtime.failed(); ++i) {
    if (equal(runtime, items[i], value)) return Value::of(static_cast<int64_t>(i));
  }
  return runtime.fail("the value is not in the list");
}

Value list_copy(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return runtime.list(self.list->items);
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

constexpr size_t kMaxRange = 100'000;  ///< Jinja's sandbox has the same

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
    if (items.size() == kMaxRange) {
      return runtime.fail(fmt::format("range gives more than {} numbers", kMaxRange));
    }
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
  for (const auto& [name, value] : arguments.named) out.set(name, value);
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

Value global_strftime_now(TemplateRuntime& runtime, const Value&, const Arguments& arguments) {
  const auto [format] = arguments.bind(runtime, Names<1>{"format"});
  if (!format.is_string()) return runtime.wrong_type("format the time with it", format);
  std::tm now{};
  const std::time_t seconds = runtime.now();
  if (localtime_r(&seconds, &now) == nullptr) return runtime.fail("the time has no date");
  // One more character tells an empty result from one that does not fit.
  const std::string ended = std::string(format.text()) + '.';
  std::array<char, 256> out{};
  const size_t size = std::strftime(out.data(), out.size(), ended.c_str(), &now);
  if (size == 0) return runtime.fail("a time has more than 255 characters");
  const std::string_view text(out.data(), size - 1);
  return runtime.text(replace_invalid_utf8(text), summary_of(format).least_trusted);
}

/// joiner(separator): "" when called first, then the separator.
Value join_next(TemplateRuntime& runtime, const Value& self, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const Value key = runtime.text("used", Origin::template_text);
  if (runtime.failed()) return {};
  Dict& state = self.name_space->attributes;
  const bool used = is_true(*state.find(key));
  state.set(key, Value::of(true));
  return used ? *state.find("separator") : runtime.text({});
}

Value global_joiner(TemplateRuntime& runtime, const Value&, const Arguments& arguments) {
  const auto [separator] = arguments.bind(runtime, Names<1>{"sep"});
  Dict state;
  state.set(runtime.text("used", Origin::template_text), Value::of(false));
  state.set(runtime.text("separator", Origin::template_text),
            separator.is_undefined() ? runtime.text(", ", Origin::template_text) : separator);
  if (runtime.failed()) return {};
  return runtime.callable({join_next, runtime.heap().name_space(std::move(state))});
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

/// A dot finds the methods of a dict before its entries, so that all of its methods are here.
constexpr std::array kDictMethods = {
    NamedFunction{"clear", refuse_to_change},
    NamedFunction{"copy", dict_copy},
    NamedFunction{"fromkeys", refuse_to_change},
    NamedFunction{"get", dict_get},
    NamedFunction{"items", dict_items},
    NamedFunction{"keys", dict_keys},
    NamedFunction{"pop", refuse_to_change},
    NamedFunction{"popitem", refuse_to_change},
    NamedFunction{"setdefault", refuse_to_change},
    NamedFunction{"update", refuse_to_change},
    NamedFunction{"values", dict_values},
};

constexpr std::array kListMethods = {
    NamedFunction{"append", refuse_to_change}, NamedFunction{"clear", refuse_to_change},
    NamedFunction{"copy", list_copy},          NamedFunction{"count", list_count},
    NamedFunction{"extend", refuse_to_change}, NamedFunction{"index", list_index},
    NamedFunction{"insert", refuse_to_change}, NamedFunction{"pop", refuse_to_change},
    NamedFunction{"remove", refuse_to_change}, NamedFunction{"reverse", refuse_to_change},
    NamedFunction{"sort", refuse_to_change},
};

constexpr std::array kTupleMethods = {
    NamedFunction{"count", list_count},
    NamedFunction{"index", list_index},
};

constexpr std::array kLoopMethods = {
    NamedFunction{"changed", loop_changed},
    NamedFunction{"cycle", loop_cycle},
};

constexpr std::array kGlobals = {
    NamedFunction{"dict", global_dict},
    NamedFunction{"joiner", global_joiner},
    NamedFunction{"namespace", global_namespace},
    NamedFunction{"raise_exception", global_raise_exception},
    NamedFunction{"range", global_range},
    NamedFunction{"strftime_now", global_strftime_now},
};

}  // namespace

Callable::Function find_global(std::string_view name) { return find(kGlobals, name); }

Callable::Function find_method(Value::Kind kind, std::string_view name) {
  if (kind == Kind::string) return find_string_method(name);
  if (kind == Kind::list) return find(kListMethods, name);
  if (kind == Kind::tuple) return find(kTupleMethods, name);
  if (kind == Kind::dict) return find(kDictMethods, name);
  if (kind == Kind::loop) return find(kLoopMethods, name);
  return nullptr;
}

}  // namespace qvl
