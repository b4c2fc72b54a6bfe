#include <algorithm>
#include <array>

#include "text/template_runtime.h"
#include "text/template_strings.h"

namespace qvl {
namespace {

using Kind = Value::Kind;

template <Kind... kKinds>
bool test_kind(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return ((input.kind == kKinds) || ...);
}

bool test_defined(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return !input.is_undefined();
}

bool test_number(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return input.is_number();
}

bool test_iterable(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return input.is_undefined() || input.is_string() || input.is_sequence() || input.is(Kind::dict) ||
         input.is(Kind::view) || input.is(Kind::iterator) || input.is(Kind::loop);
}

bool test_sequence(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return input.is_undefined() || input.is_string() || input.is_sequence() || input.is(Kind::dict);
}

/// Python can call whatever has a method for it, even to fail there.
bool test_callable(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return input.is(Kind::callable) || input.is(Kind::loop) || input.is_undefined();
}

template <bool kIsTest>
bool test_known(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  if (!input.is_string()) return false;
  return kIsTest ? find_test(input.text()) != nullptr : find_filter(input.text()) != nullptr;
}

template <bool kValue>
bool test_boolean(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return input.is(Kind::boolean) && input.boolean == kValue;
}

template <Casing kCasing>
bool test_case(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  return has_only_case(to_text(runtime, input).bytes(), kCasing);
}

template <int64_t kRest>
bool test_parity(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  arguments.bind<0>(runtime, {});
  const Value rest = arithmetic(runtime, ArithmeticOperator::modulo, input, Value::of(int64_t{2}));
  return equal_scalars(rest, Value::of(kRest));
}

bool test_divisibleby(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [number] = arguments.bind(runtime, std::array<std::string_view, 1>{"num"});
  const Value rest = arithmetic(runtime, ArithmeticOperator::modulo, input, number);
  return equal_scalars(rest, Value::of(int64_t{0}));
}

enum class Relation { equal, not_equal, less, less_equal, greater, greater_equal, in };

template <Relation kRelation>
bool test_relation(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [other] = arguments.bind(runtime, std::array<std::string_view, 1>{"other"});
  switch (kRelation) {
    case Relation::equal:
      return equal(runtime, input, other);
    case Relation::not_equal:
      return !equal(runtime, input, other);
    case Relation::less:
      return less(runtime, input, other);
    case Relation::less_equal:
      return less(runtime, input, other) || equal(runtime, input, other);
    case Relation::greater:
      return less(runtime, other, input);
    case Relation::greater_equal:
      return less(runtime, other, input) || equal(runtime, input, other);
    case Relation::in:
      return contains(runtime, other, input);
  }
  return false;
}

/// Python's `is`, for the values with which it is of use.
bool test_sameas(TemplateRuntime& runtime, const Value& input, const Arguments& arguments) {
  const auto [other] = arguments.bind(runtime, std::array<std::string_view, 1>{"other"});
  if (input.kind != other.kind) return false;
  if (input.is_sequence()) return input.list == other.list;
  if (input.is(Kind::dict)) return input.dict == other.dict;
  return equal_scalars(input, other);
}

struct NamedTest {
  std::string_view name;
  TemplateTest test;
};

constexpr std::array kTests = {
    NamedTest{"!=", test_relation<Relation::not_equal>},
    NamedTest{"<", test_relation<Relation::less>},
    NamedTest{"<=", test_relation<Relation::less_equal>},
    NamedTest{"==", test_relation<Relation::equal>},
    NamedTest{">", test_relation<Relation::greater>},
    NamedTest{">=", test_relation<Relation::greater_equal>},
    NamedTest{"boolean", test_kind<Kind::boolean>},
    NamedTest{"callable", test_callable},
    NamedTest{"defined", test_defined},
    NamedTest{"divisibleby", test_divisibleby},
    NamedTest{"eq", test_relation<Relation::equal>},
    NamedTest{"equalto", test_relation<Relation::equal>},
    NamedTest{"even", test_parity<0>},
    NamedTest{"false", test_boolean<false>},
    NamedTest{"filter", test_known<false>},
    NamedTest{"float", test_kind<Kind::real>},
    NamedTest{"ge", test_relation<Relation::greater_equal>},
    NamedTest{"greaterthan", test_relation<Relation::greater>},
    NamedTest{"gt", test_relation<Relation::greater>},
    NamedTest{"in", test_relation<Relation::in>},
    NamedTest{"integer", test_kind<Kind::integer, Kind::unsigned_integer>},
    NamedTest{"iterable", test_iterable},
    NamedTest{"le", test_relation<Relation::less_equal>},
    NamedTest{"lessthan", test_relation<Relation::less>},
    NamedTest{"lower", test_case<Casing::lower>},
    NamedTest{"lt", test_relation<Relation::less>},
    NamedTest{"mapping", test_kind<Kind::dict>},
    NamedTest{"ne", test_relation<Relation::not_equal>},
    NamedTest{"none", test_kind<Kind::none>},
    NamedTest{"number", test_number},
    NamedTest{"odd", test_parity<1>},
    NamedTest{"sameas", test_sameas},
    NamedTest{"sequence", test_sequence},
    NamedTest{"string", test_kind<Kind::string>},
    NamedTest{"test", test_known<true>},
    NamedTest{"true", test_boolean<true>},
    NamedTest{"undefined", test_kind<Kind::undefined>},
    NamedTest{"upper", test_case<Casing::upper>},
};

}  // namespace

TemplateTest find_test(std::string_view name) {
  const auto* found = std::find_if(kTests.begin(), kTests.end(),
                                   [&](const NamedTest& t) { return t.name == name; });
  return found != kTests.end() ? found->test : nullptr;
}

}  // namespace qvl
