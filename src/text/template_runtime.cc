#include "text/template_runtime.h"

#include <algorithm>

namespace qvl {

bool TemplateRuntime::spend(int64_t steps) {
  if (failed()) return false;
  steps_left_ -= std::min(steps, steps_left_ + 1);
  if (steps_left_ >= 0) return true;
  fail(ErrorCode::template_limit, fmt::format("it took more than {} steps", limits_.max_steps));
  return false;
}

Value TemplateRuntime::fail(ErrorCode code, std::string what) {
  if (!error_) error_ = Error{code, fmt::format("{}:{}: {}", name_, line_, what), {}};
  return {};
}

Value TemplateRuntime::wrong_type(std::string_view what, const Value& value) {
  if (value.is_undefined() && value.name != nullptr) {
    return fail(fmt::format("cannot {}: '{}' is undefined", what, *value.name));
  }
  return fail(fmt::format("cannot {}: found {}", what, type_name(value)));
}

Value TemplateRuntime::text(OriginText text) {
  if (text.size() > static_cast<size_t>(limits_.max_output_bytes)) {
    return fail(ErrorCode::template_limit,
                fmt::format("a text has more than {} bytes", limits_.max_output_bytes));
  }
  // Beside its bytes a text takes memory of its own; fuel is what bounds memory.
  if (!spend(4 + static_cast<int64_t>(text.size() / 16))) return {};
  return heap_.text(std::move(text));
}

Value TemplateRuntime::text(std::string_view text, Origin origin) {
  return this->text(OriginText(text, origin));
}

Value TemplateRuntime::sequence(std::vector<Value> items, Value::Kind kind) {
  if (!spend(1 + static_cast<int64_t>(items.size()))) return {};
  const Value out = heap_.sequence(std::move(items), kind);
  return check_depth(out.list->summary.depth) ? out : Value{};
}

Value TemplateRuntime::iterator(std::vector<Value> items) {
  if (!spend(2 + static_cast<int64_t>(items.size()))) return {};
  const Value out = heap_.iterator(std::move(items));
  return check_depth(summary_of(out).depth) ? out : Value{};
}

Value TemplateRuntime::view(std::vector<Value> items, std::string_view name) {
  if (!spend(1 + static_cast<int64_t>(items.size()))) return {};
  const Value out = heap_.view(std::move(items), name);
  return check_depth(summary_of(out).depth) ? out : Value{};
}

Value TemplateRuntime::group(const Value& key, const Value& items) {
  if (!spend(3)) return {};
  const Value out = heap_.group(key, items);
  return check_depth(summary_of(out).depth) ? out : Value{};
}

Value TemplateRuntime::dict(Dict dict) {
  if (!spend(1 + static_cast<int64_t>(dict.size()))) return {};
  if (!check_depth(dict.summary().depth)) return {};
  return heap_.dict(std::move(dict));
}

Value TemplateRuntime::callable(const Callable& callable) {
  if (!spend(1)) return {};
  return heap_.callable(callable);
}

bool TemplateRuntime::check_depth(int depth) {
  if (depth <= limits_.max_depth) return true;
  fail(ErrorCode::template_limit,
       fmt::format("a value is nested more than {} levels deep", limits_.max_depth));
  return false;
}

void Arguments::bind(TemplateRuntime& runtime, std::span<const std::string_view> names,
                     std::span<Value> out) const {
  if (positional.size() > names.size()) {
    runtime.fail(
        fmt::format("found {} arguments, expected at most {}", positional.size(), names.size()));
    return;
  }
  std::copy(positional.begin(), positional.end(), out.begin());
  for (const auto& [name, value] : named) {
    const auto found = std::find(names.begin(), names.end(), name.text());
    const auto index = static_cast<size_t>(found - names.begin());
    if (found == names.end() || index < positional.size()) {
      runtime.fail(fmt::format("unexpected argument '{}'", name.text()));
      return;
    }
    out[index] = value;
  }
}

}  // namespace qvl
