#pragma once

/// What one rendering of a template works with: its memory, its fuel and its first error. After an
/// error nothing else happens: every operation gives an undefined value and evaluation stops.

#include <fmt/core.h>

#include <array>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/error.h"
#include "text/chat_template.h"
#include "text/template_value.h"

namespace qvl {

class TemplateRuntime {
 public:
  /// `name` is what errors call the template, and has to outlive this; `now` is its time.
  TemplateRuntime(const TemplateLimits& limits, std::string_view name, std::time_t now)
      : limits_(limits), name_(name), now_(now), steps_left_(limits.max_steps) {}

  const TemplateLimits& limits() const { return limits_; }
  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }
  void set_line(int line) { line_ = line; }
  std::time_t now() const { return now_; }

  /// Uses fuel; false, with an error, when it is at its end.
  bool spend(int64_t steps);
  /// Fuel for making or looking through so many bytes of text.
  bool spend_bytes(size_t bytes) { return spend(1 + static_cast<int64_t>(bytes / 32)); }
  /// Fuel for looking for one text in another, which may take the product of their sizes.
  bool spend_search(size_t bytes, size_t needle_bytes) {
    return spend(static_cast<int64_t>((1 + bytes / 32) * (1 + needle_bytes / 64)));
  }

  /// Notes the first error, with the line, and gives an undefined value.
  Value fail(std::string what) { return fail(ErrorCode::bad_messages, std::move(what)); }
  Value fail(ErrorCode code, std::string what);
  /// Fails because `value` is undefined or of the wrong type for `what`.
  Value wrong_type(std::string_view what, const Value& value);

  // Values, paid for and within the limits.
  Value text(OriginText text);
  Value text(std::string_view text, Origin origin);
  Value sequence(std::vector<Value> items, Value::Kind kind);
  Value list(std::vector<Value> items) { return sequence(std::move(items), Value::Kind::list); }
  Value tuple(std::vector<Value> items) { return sequence(std::move(items), Value::Kind::tuple); }
  /// What filters give that Python writes as generators.
  Value iterator(std::vector<Value> items);
  Value view(std::vector<Value> items, std::string_view name);
  /// A pair of groupby.
  Value group(const Value& key, const Value& items);
  Value dict(Dict dict);
  Value callable(const Callable& callable);
  TemplateHeap& heap() { return heap_; }

 private:
  bool check_depth(int depth);

  TemplateLimits limits_;
  std::string_view name_;
  std::time_t now_;
  int64_t steps_left_;
  int line_ = 0;
  std::optional<Error> error_;
  TemplateHeap heap_;
};

/// The evaluated arguments of a call, filter or test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<Value, Value>> named;  ///< names are texts

  /// Puts the arguments in the order of `names`; those not given are undefined. Fails if there are
  /// others.
  template <size_t kCount>
  std::array<Value, kCount> bind(TemplateRuntime& runtime,
                                 const std::array<std::string_view, kCount>& names) const {
    std::array<Value, kCount> out;
    bind(runtime, names, out);
    return out;
  }

 private:
  void bind(TemplateRuntime& runtime, std::span<const std::string_view> names,
            std::span<Value> out) const;
};

struct MacroStatement;

/// Something that can be called: a function with what it is bound to, or a macro of the template.
struct Callable {
  using Function = Value (*)(TemplateRuntime&, const Value& self, const Arguments&);
  Function function = nullptr;
  Value self;
  const MacroStatement* macro = nullptr;
  TemplateScope* scope = nullptr;  ///< where the macro was made
};

using TemplateFilter = Value (*)(TemplateRuntime&, const Value& input, const Arguments&);
using TemplateTest = bool (*)(TemplateRuntime&, const Value& input, const Arguments&);

// Lookup by name; null if there is none. In template_filters.cc, template_sequence_filters.cc,
// template_tests.cc, template_methods.cc, template_string_methods.cc.
TemplateFilter find_filter(std::string_view name);
TemplateFilter find_sequence_filter(std::string_view name);  ///< for find_filter
TemplateTest find_test(std::string_view name);
Callable::Function find_global(std::string_view name);
/// `self.name` as Python resolves it for methods of the type.
Callable::Function find_method(Value::Kind kind, std::string_view name);
Callable::Function find_string_method(std::string_view name);  ///< for find_method

// Operations of Python, in template_operations.cc. All may fail.

/// str(v): the text itself for a string. Of a list or dict, the whole has the least trusted origin
/// of the strings in it.
OriginText to_text(TemplateRuntime& runtime, const Value& value);
/// What iteration over a value gives; null after an error.
const List* to_list(TemplateRuntime& runtime, const Value& value);
/// len(v)
int64_t length(TemplateRuntime& runtime, const Value& value);
/// v.name and v[key] as Jinja resolves them: undefined where there is nothing.
Value get_attribute(TemplateRuntime& runtime, const Value& value, const std::string& name);
Value get_item(TemplateRuntime& runtime, const Value& value, const Value& key);
/// v[begin:end:step]; bounds that are none are open.
Value get_slice(TemplateRuntime& runtime, const Value& value, const Value& begin, const Value& end,
                const Value& step);
/// a == b, whatever the origins of texts.
bool equal(TemplateRuntime& runtime, const Value& a, const Value& b);
/// needle in haystack
bool contains(TemplateRuntime& runtime, const Value& haystack, const Value& needle);
/// a < b, for numbers, for strings and for sequences of them.
bool less(TemplateRuntime& runtime, const Value& a, const Value& b);

enum class ArithmeticOperator { add, subtract, multiply, divide, floor_divide, modulo, power };
Value arithmetic(TemplateRuntime& runtime, ArithmeticOperator op, const Value& a, const Value& b);
Value negate(TemplateRuntime& runtime, const Value& value);

// JSON, in template_json.cc.

/// The variables of a rendering: origins by the place in the conversation, null contents of
/// messages as "". Not a dict after an error.
Value context_from_json(TemplateRuntime& runtime, const nlohmann::ordered_json& context);

struct JsonStyle {
  std::optional<OriginText> indent;  ///< of one level; none: everything on one line
  OriginText item_separator{", ", Origin::template_text};
  OriginText key_separator{": ", Origin::template_text};
  bool ensure_ascii = false;
  bool sort_keys = false;
};
/// json.dumps; the whole has the least trusted origin of the strings in it and in the style.
OriginText to_json(TemplateRuntime& runtime, const Value& value, const JsonStyle& style);
/// repr(float)
std::string real_to_text(double value);

}  // namespace qvl
