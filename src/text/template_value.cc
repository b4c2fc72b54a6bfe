#include "text/template_value.h"

#include <algorithm>
#include <cmath>

#include "text/template_runtime.h"

namespace qvl {
namespace {

constexpr size_t kIndexedDict = 8;  ///< entries from which looking up by hash pays

}  // namespace

void Summary::include_item(const Value& item) {
  const Summary of_item = summary_of(item);
  depth = std::max(depth, of_item.depth + 1);
  least_trusted = std::max(least_trusted, of_item.least_trusted);
}

Summary summary_of(const Value& value) {
  switch (value.kind) {
    case Value::Kind::list:
    case Value::Kind::tuple:
    case Value::Kind::view:
      return value.list->summary;
    case Value::Kind::iterator:
      return value.iterator->items->summary;
    case Value::Kind::dict:
      return value.dict->summary();
    case Value::Kind::string: {
      Summary summary;
      for (const OriginText::Run& run : value.string->runs()) {
        summary.least_trusted = std::max(summary.least_trusted, run.origin);
      }
      return summary;
    }
    default:
      return {};
  }
}

void Dict::set(Value key, Value value) {
  summary_.include_item(key);
  summary_.include_item(value);
  if (const Value* found = find(key)) {
    *const_cast<Value*>(found) = value;
    return;
  }
  entries_.emplace_back(key, value);
  if (entries_.size() == kIndexedDict) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].first.is_string()) by_text_.emplace(entries_[i].first.text(), i);
    }
  } else if (entries_.size() > kIndexedDict && key.is_string()) {
    by_text_.emplace(key.text(), entries_.size() - 1);
  }
}

const Value* Dict::find(std::string_view key) const {
  if (entries_.size() >= kIndexedDict) {
    const auto found = by_text_.find(key);
    return found != by_text_.end() ? &entries_[found->second].second : nullptr;
  }
  for (const Entry& entry : entries_) {
    if (entry.first.is_string() && entry.first.text() == key) return &entry.second;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) return find(key.text());
  for (const Entry& entry : entries_) {
    if (equal_scalars(entry.first, key)) return &entry.second;
  }
  return nullptr;
}

List& TemplateHeap::new_list(std::vector<Value> items) {
  List& list = lists_.emplace_back(List{std::move(items), {.depth = 1}});
  for (const Value& item : list.items) list.summary.include_item(item);
  return list;
}

Value TemplateHeap::sequence(std::vector<Value> items, Value::Kind kind) {
  Value out;
  out.kind = kind;
  out.list = &new_list(std::move(items));
  return out;
}

Value TemplateHeap::view(std::vector<Value> items, std::string_view name) {
  List& list = new_list(std::move(items));
  list.view_name = name;
  Value out;
  out.kind = Value::Kind::view;
  out.list = &list;
  return out;
}

Value TemplateHeap::group(const Value& key, const Value& items) {
  List& list = new_list({key, items});
  list.is_group = true;
  Value out;
  out.kind = Value::Kind::tuple;
  out.list = &list;
  return out;
}

Value TemplateHeap::iterator(std::vector<Value> items) {
  Value out;
  out.kind = Value::Kind::iterator;
  out.iterator = &iterators_.emplace_back(Iterator{&new_list(std::move(items))});
  return out;
}

Value TemplateHeap::dict(Dict dict) {
  Value out;
  out.kind = Value::Kind::dict;
  out.dict = &dicts_.emplace_back(std::move(dict));
  return out;
}

Value TemplateHeap::name_space(Dict attributes) {
  Value out;
  out.kind = Value::Kind::name_space;
  out.name_space = &namespaces_.emplace_back(Namespace{std::move(attributes)});
  return out;
}

Value TemplateHeap::callable(const Callable& callable) {
  Value out;
  out.kind = Value::Kind::callable;
  out.callable = &callables_.emplace_back(callable);
  return out;
}

bool is_true(const Value& value) {
  switch (value.kind) {
    case Value::Kind::undefined:
    case Value::Kind::none:
      return false;
    case Value::Kind::boolean:
      return value.boolean;
    case Value::Kind::integer:
      return value.integer != 0;
    case Value::Kind::real:
      return value.real != 0;
    case Value::Kind::string:
      return !value.string->empty();
    case Value::Kind::list:
    case Value::Kind::tuple:
    case Value::Kind::view:
      return !value.list->items.empty();
    case Value::Kind::dict:
      return value.dict->size() > 0;
    case Value::Kind::unsigned_integer:
    case Value::Kind::iterator:
    case Value::Kind::name_space:
    case Value::Kind::loop:
    case Value::Kind::callable:
      return true;
  }
  return false;
}

std::string_view type_name(const Value& value) {
  switch (value.kind) {
    case Value::Kind::undefined:
      return "undefined";
    case Value::Kind::none:
      return "None";
    case Value::Kind::boolean:
      return "bool";
    case Value::Kind::integer:
    case Value::Kind::unsigned_integer:
      return "int";
    case Value::Kind::real:
      return "float";
    case Value::Kind::string:
      return "str";
    case Value::Kind::list:
      return "list";
    case Value::Kind::tuple:
      return "tuple";
    case Value::Kind::dict:
      return "dict";
    case Value::Kind::view:
      return value.list->view_name;
    case Value::Kind::iterator:
      return "generator";
    case Value::Kind::name_space:
      return "namespace";
    case Value::Kind::loop:
      return "loop";
    case Value::Kind::callable:
      return "function";
  }
  return "?";
}

bool equal_scalars(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.as_integer() == b.as_integer();
  if (a.is_huge() && b.is_huge()) return a.unsigned_integer == b.unsigned_integer;
  if (a.is_number() && b.is_number()) {
    return (a.is(Value::Kind::real) || b.is(Value::Kind::real)) && a.as_real() == b.as_real();
  }
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Value::Kind::undefined:
    case Value::Kind::none:
      return true;
    case Value::Kind::string:
      return a.text() == b.text();
    case Value::Kind::iterator:
      return a.iterator == b.iterator;
    case Value::Kind::name_space:
      return a.name_space == b.name_space;
    case Value::Kind::loop:
      return a.loop == b.loop;
    case Value::Kind::callable:
      return a.callable == b.callable;
    default:
      return false;
  }
}

}  // namespace qvl
