#pragma once

/// The values of a template's expressions: what Python's str, int, list, dict … are to Jinja. A
/// value is a small handle; everything it points to belongs to a TemplateHeap and lives as long, so
/// that no reference count, cycle or deep destructor can go wrong.

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/origin_text.h"

namespace qvl {

struct List;
class Dict;
struct Namespace;
struct Loop;
struct Iterator;
struct Callable;
struct ForStatement;
struct TemplateScope;

struct Value {
  enum class Kind : uint8_t {
    undefined,  ///< `name`, if known, is what is undefined
    none,
    boolean,
    integer,
    unsigned_integer,  ///< above INT64_MAX; no arithmetic but as a real number
    real,
    string,
    list,
    tuple,
    dict,
    view,      ///< what dict.items(), keys() and values() give: a list without indices
    iterator,  ///< what filters like map give: can be gone through once, and is always true
    name_space,
    loop,
    callable,
  };

  Kind kind = Kind::undefined;
  union {
    bool boolean;
    int64_t integer;
    uint64_t unsigned_integer;
    double real;
    const OriginText* string;
    const List* list;  ///< of a list, tuple or view
    const Dict* dict;
    Iterator* iterator;
    Namespace* name_space;
    Loop* loop;
    const Callable* callable;
    const std::string* name = nullptr;
  };

  static Value none() { return with(Kind::none); }
  static Value of(bool v) {
    Value out = with(Kind::boolean);
    out.boolean = v;
    return out;
  }
  static Value of(int64_t v) {
    Value out = with(Kind::integer);
    out.integer = v;
    return out;
  }
  static Value of(uint64_t v) {
    if (v <= INT64_MAX) return of(static_cast<int64_t>(v));
    Value out = with(Kind::unsigned_integer);
    out.unsigned_integer = v;
    return out;
  }
  static Value of(double v) {
    Value out = with(Kind::real);
    out.real = v;
    return out;
  }
  static Value of(const OriginText* v) {
    Value out = with(Kind::string);
    out.string = v;
    return out;
  }
  static Value undefined(const std::string* name) {
    Value out;
    out.name = name;
    return out;
  }

  bool is(Kind k) const { return kind == k; }
  bool is_undefined() const { return kind == Kind::undefined; }
  bool is_string() const { return kind == Kind::string; }
  bool is_sequence() const { return kind == Kind::list || kind == Kind::tuple; }
  /// Booleans count as numbers, as in Python.
  bool is_number() const { return is_integral() || kind == Kind::real || is_huge(); }
  bool is_integral() const { return kind == Kind::integer || kind == Kind::boolean; }
  bool is_huge() const { return kind == Kind::unsigned_integer; }

  /// Of an integral value.
  int64_t as_integer() const { return kind == Kind::boolean ? boolean : integer; }
  /// Of a number.
  double as_real() const {
    if (kind == Kind::real) return real;
    return is_huge() ? static_cast<double>(unsigned_integer) : static_cast<double>(as_integer());
  }
  std::string_view text() const { return string->bytes(); }

 private:
  static Value with(Kind kind) {
    Value out;
    out.kind = kind;
    return out;
  }
};

/// What is known of a value and all that it contains, so that nobody has to look: a list may hold
/// one other many times, and looking would take exponential time.
struct Summary {
  int depth = 0;                                 ///< levels of lists and dicts
  Origin least_trusted = Origin::template_text;  ///< of the strings

  void include_item(const Value& item);
};
Summary summary_of(const Value& value);

// The names of views.
inline constexpr std::string_view kDictItems = "dict_items";
inline constexpr std::string_view kDictKeys = "dict_keys";
inline constexpr std::string_view kDictValues = "dict_values";

struct List {
  std::vector<Value> items;
  Summary summary;
  std::string_view view_name;  ///< of a view, as repr has it
  bool is_group = false;       ///< a pair of groupby, with the attributes `grouper` and `list`
};

struct Iterator {
  const List* items;
  size_t next = 0;
};

/// Keeps the order of insertion. Keys are strings, numbers, booleans and None.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  const Summary& summary() const { return summary_; }

  /// Adds the entry, or replaces the value of an equal key.
  void set(Value key, Value value);
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, size_t> by_text_;  ///< only of a large dict
  Summary summary_{.depth = 1};
};

struct Namespace {
  Dict attributes;
};

/// The variable `loop` of a for statement.
struct Loop {
  const List* items;
  size_t index = 0;
  const List* last_changed = nullptr;       ///< arguments of the last loop.changed()
  int depth = 0;                            ///< recursive loops around it
  const ForStatement* recursive = nullptr;  ///< what calling it runs; null: it cannot be called
  TemplateScope* scope = nullptr;           ///< around the statement
};

class TemplateHeap {
 public:
  Value text(OriginText text) { return Value::of(&texts_.emplace_back(std::move(text))); }
  Value text(std::string_view text, Origin origin) { return this->text(OriginText(text, origin)); }
  const std::string* name(std::string_view name) { return &names_.emplace_back(name); }
  Value sequence(std::vector<Value> items, Value::Kind kind);
  Value list(std::vector<Value> items) { return sequence(std::move(items), Value::Kind::list); }
  Value view(std::vector<Value> items, std::string_view name);
  /// A pair of groupby.
  Value group(const Value& key, const Value& items);
  Value iterator(std::vector<Value> items);
  Value dict(Dict dict);
  Value name_space(Dict attributes);
  Value callable(const Callable& callable);
  Loop* loop(const Loop& loop) { return &loops_.emplace_back(loop); }

 private:
  std::deque<OriginText> texts_;
  std::deque<std::string> names_;
  List& new_list(std::vector<Value> items);

  std::deque<List> lists_;
  std::deque<Iterator> iterators_;
  std::deque<Dict> dicts_;
  std::deque<Namespace> namespaces_;
  std::deque<Callable> callables_;
  std::deque<Loop> loops_;
};

/// Python's bool(v).
bool is_true(const Value& value);
/// Python's type name, for messages.
std::string_view type_name(const Value& value);
/// Python's a == b for values that contain no others; False if one of them does. Origins of texts
/// do not matter.
bool equal_scalars(const Value& a, const Value& b);

}  // namespace qvl
