#include "text/template_evaluator.h"

#include <algorithm>

namespace qvl {
namespace {

using Kind = Value::Kind;

/// Calls of macros and nested nodes all use the stack of the thread. A node takes less than 1 KiB
/// of it, so that this many are safe on any.
constexpr int kMaxNodesOnStack = 1000;

enum class Flow { normal, break_loop, continue_loop };

class Evaluator {
 public:
  Evaluator(TemplateRuntime& runtime, const Value& context) : runtime_(runtime), context_(context) {
    scopes_.emplace_back();
  }

  OriginText run(const Block& body) {
    OriginText out;
    out_ = &out;
    run_block(body);
    return out;
  }

 private:
  struct Variable {
    std::string_view name;
    Value value;
  };
  using Scope = std::vector<Variable>;

  /// Counts a node on the stack for as long as it lives.
  class Nesting {
   public:
    explicit Nesting(Evaluator& evaluator) : evaluator_(evaluator) {
      if (++evaluator_.nodes_on_stack_ > kMaxNodesOnStack) {
        evaluator_.runtime_.fail(ErrorCode::template_limit, "it is nested too deeply");
      }
    }
    ~Nesting() { --evaluator_.nodes_on_stack_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Evaluator& evaluator_;
  };

  // Variables.

  Value* find_in_scope(size_t scope, std::string_view name) {
    for (Variable& v : scopes_[scope]) {
      if (v.name == name) return &v.value;
    }
    return nullptr;
  }

  Value lookup(const std::string& name) {
    // Inside a macro, the scopes between its own and the template's belong to its caller.
    for (size_t i = scopes_.size(); i-- > first_visible_scope_;) {
      if (const Value* found = find_in_scope(i, name)) return *found;
    }
    if (const Value* found = find_in_scope(0, name)) return *found;
    if (const Value* found = context_.dict->find(name)) return *found;
    if (const auto function = find_global(name)) return runtime_.callable({function, {}, nullptr});
    return Value::undefined(&name);
  }

  void assign(std::string_view name, const Value& value) {
    if (Value* found = find_in_scope(scopes_.size() - 1, name)) {
      *found = value;
    } else {
      scopes_.back().push_back({name, value});
    }
  }

  void assign(const Target& target, const Value& value) {
    if (target.attribute.empty()) {
      assign(target.name, value);
      return;
    }
    const Value owner = lookup(target.name);
    if (!owner.is(Kind::name_space)) {
      runtime_.wrong_type(fmt::format("set '{}'", target.attribute), owner);
      return;
    }
    const Value key = runtime_.text(target.attribute, Origin::template_text);
    if (!runtime_.failed()) owner.name_space->attributes.set(key, value);
  }

  void assign(const Targets& targets, const Value& value) {
    if (!targets.unpacks) {
      assign(targets.targets.front(), value);
      return;
    }
    const List* items = to_list(runtime_, value);
    if (items == nullptr) return;
    if (items->items.size() != targets.targets.size()) {
      runtime_.fail(
          fmt::format("found {} values, expected {}", items->items.size(), targets.targets.size()));
      return;
    }
    for (size_t i = 0; i < items->items.size(); ++i) assign(targets.targets[i], items->items[i]);
  }

  // Statements.

  void print(const OriginText& text) {
    if (out_->size() + text.size() > static_cast<size_t>(runtime_.limits().max_output_bytes)) {
      runtime_.fail(ErrorCode::template_limit, fmt::format("it prints more than {} bytes",
                                                           runtime_.limits().max_output_bytes));
      return;
    }
    if (runtime_.spend_bytes(text.size())) out_->append(text);
  }

  void print(const Value& value) {
    if (value.is_string()) {
      print(*value.string);
    } else {
      print(to_text(runtime_, value));
    }
  }

  Flow run_block(const Block& block) {
    for (const Statement& statement : block) {
      runtime_.set_line(statement.line);
      if (!runtime_.spend(1)) return Flow::normal;
      const Flow flow =
          std::visit([this](const auto& node) { return run_statement(node); }, statement.node);
      if (flow != Flow::normal) return flow;
    }
    return Flow::normal;
  }

  Flow run_statement(const Literal& text) {
    print(*text.value.string);
    return Flow::normal;
  }

  Flow run_statement(const Print& statement) {
    print(evaluate(*statement.value));
    return Flow::normal;
  }

  Flow run_statement(const IfStatement& statement) {
    const Nesting nesting(*this);
    for (const auto& [condition, body] : statement.branches) {
      const bool taken = is_true(evaluate(*condition));
      if (runtime_.failed()) return Flow::normal;
      if (taken) return run_block(body);
    }
    return run_block(statement.otherwise);
  }

  Flow run_statement(const ForStatement& statement) {
    const Nesting nesting(*this);
    const List* items = to_list(runtime_, evaluate(*statement.items));
    if (items != nullptr && statement.condition != nullptr) items = selected(statement, *items);
    if (items == nullptr || runtime_.failed()) return Flow::normal;
    if (items->items.empty()) return run_block(statement.otherwise);
    Loop* loop = runtime_.heap().loop(items);
    Value loop_value;
    loop_value.kind = Kind::loop;
    loop_value.loop = loop;
    for (const Value& item : items->items) {
      scopes_.emplace_back();
      assign("loop", loop_value);
      assign(statement.targets, item);
      const Flow flow = run_block(statement.body);
      scopes_.pop_back();
      if (flow == Flow::break_loop || !runtime_.spend(1)) break;
      ++loop->index;
    }
    return Flow::normal;
  }

  /// The items for which the condition of a for statement holds; null after an error.
  const List* selected(const ForStatement& statement, const List& items) {
    std::vector<Value> kept;
    for (const Value& item : items.items) {
      if (!runtime_.spend(1)) return nullptr;
      scopes_.emplace_back();
      assign(statement.targets, item);
      if (is_true(evaluate(*statement.condition))) kept.push_back(item);
      scopes_.pop_back();
    }
    const Value list = runtime_.list(std::move(kept));
    return runtime_.failed() ? nullptr : list.list;
  }

  Flow run_statement(const SetStatement& statement) {
    const Value value = evaluate(*statement.value);
    if (!runtime_.failed()) assign(statement.targets, value);
    return Flow::normal;
  }

  Flow run_statement(const CaptureStatement& statement) {
    const Nesting nesting(*this);
    OriginText captured;
    OriginText* const outer = std::exchange(out_, &captured);
    scopes_.emplace_back();
    const Flow flow = run_block(statement.body);
    scopes_.pop_back();
    out_ = outer;
    Value value = runtime_.text(std::move(captured));
    for (const Access& filter : statement.filters) value = apply(value, filter);
    if (runtime_.failed()) return flow;
    if (statement.target.empty()) {
      print(value);
    } else {
      assign(statement.target.front(), value);
    }
    return flow;
  }

  Flow run_statement(const MacroStatement& statement) {
    assign(statement.name, runtime_.callable({nullptr, {}, &statement}));
    return Flow::normal;
  }

  Flow run_statement(const LoopControl& statement) {
    return statement.is_break ? Flow::break_loop : Flow::continue_loop;
  }

  Flow run_statement(const Group& statement) {
    const Nesting nesting(*this);
    return run_block(statement.body);
  }

  // Expressions.

  Value evaluate(const Expression& expression) {
    const Nesting nesting(*this);
    if (!runtime_.spend(1)) return {};
    runtime_.set_line(expression.line);
    return std::visit([this](const auto& node) { return evaluate(node); }, expression.node);
  }

  /// Undefined for an expression that is not there.
  Value evaluate_optional(const ExpressionPtr& expression) {
    return expression != nullptr ? evaluate(*expression) : Value{};
  }

  Value evaluate(const Literal& literal) { return literal.value; }
  Value evaluate(const Name& name) { return lookup(name.name); }

  Value evaluate(const Sequence& sequence) {
    std::vector<Value> items;
    items.reserve(sequence.items.size());
    for (const ExpressionPtr& item : sequence.items) items.push_back(evaluate(*item));
    return runtime_.sequence(std::move(items), sequence.kind);
  }

  Value evaluate(const DictDisplay& display) {
    Dict dict;
    for (const auto& [key_expression, value_expression] : display.entries) {
      const Value key = evaluate(*key_expression);
      const Value value = evaluate(*value_expression);
      if (!key.is_string() && !key.is_number() && !key.is(Kind::none)) {
        return runtime_.wrong_type("use it as a key", key);
      }
      dict.set(key, value);
    }
    return runtime_.dict(std::move(dict));
  }

  Value evaluate(const Arithmetic& node) {
    Value value = evaluate(*node.first);
    for (const auto& [op, operand] : node.rest) {
      const Value right = evaluate(*operand);
      if (runtime_.failed()) return {};
      value = arithmetic(runtime_, op, value, right);
    }
    return value;
  }

  Value evaluate(const Concatenation& node) {
    OriginText out;
    for (const ExpressionPtr& part : node.parts) {
      const Value value = evaluate(*part);
      if (value.is_string()) {
        out.append(*value.string);
      } else {
        out.append(to_text(runtime_, value));
      }
      if (runtime_.failed()) return {};
    }
    return runtime_.text(std::move(out));
  }

  bool compare(Comparison comparison, const Value& a, const Value& b) {
    switch (comparison) {
      case Comparison::equal:
        return equal(runtime_, a, b);
      case Comparison::not_equal:
        return !equal(runtime_, a, b);
      case Comparison::less:
        return less(runtime_, a, b);
      case Comparison::less_equal:
        return less(runtime_, a, b) || equal(runtime_, a, b);
      case Comparison::greater:
        return less(runtime_, b, a);
      case Comparison::greater_equal:
        return less(runtime_, b, a) || equal(runtime_, a, b);
      case Comparison::in:
        return contains(runtime_, b, a);
      case Comparison::not_in:
        return !contains(runtime_, b, a);
    }
    return false;
  }

  Value evaluate(const Compare& node) {
    Value left = evaluate(*node.first);
    for (const auto& [comparison, operand] : node.rest) {
      const Value right = evaluate(*operand);
      if (runtime_.failed()) return {};
      if (!compare(comparison, left, right)) return Value::of(false);
      left = right;
    }
    return Value::of(true);
  }

  Value evaluate(const Logic& node) {
    Value value;
    for (const ExpressionPtr& operand : node.operands) {
      value = evaluate(*operand);
      if (is_true(value) != node.is_and) return value;
    }
    return value;
  }

  Value evaluate(const Not& node) { return Value::of(!is_true(evaluate(*node.operand))); }

  Value evaluate(const Sign& node) {
    const Value value = evaluate(*node.operand);
    if (runtime_.failed()) return {};
    const Value negated = negate(runtime_, value);
    if (node.minus || runtime_.failed()) return negated;
    return value.is(Kind::boolean) ? Value::of(value.as_integer()) : value;
  }

  Value evaluate(const Conditional& node) {
    const bool condition = is_true(evaluate(*node.condition));
    if (runtime_.failed()) return {};
    return condition ? evaluate(*node.then) : evaluate_optional(node.otherwise);
  }

  Value evaluate(const AccessChain& chain) {
    Value value = evaluate(*chain.base);
    for (const Access& access : chain.accesses) {
      if (!runtime_.spend(1)) return {};
      value = apply(value, access);
    }
    return value;
  }

  Value apply(const Value& value, const Access& access) {
    return std::visit(
        [&](const auto& what) {
          return runtime_.failed() ? Value{} : apply(value, what, access.line);
        },
        access.what);
  }

  Value apply(const Value& value, const Attribute& attribute, int line) {
    runtime_.set_line(line);
    return get_attribute(runtime_, value, attribute.name);
  }

  Value apply(const Value& value, const Item& item, int line) {
    const Value key = evaluate(*item.key);
    if (runtime_.failed()) return {};
    runtime_.set_line(line);
    return get_item(runtime_, value, key);
  }

  Value apply(const Value& value, const Slice& slice, int line) {
    const Value begin = evaluate_optional(slice.begin);
    const Value end = evaluate_optional(slice.end);
    const Value step = evaluate_optional(slice.step);
    if (runtime_.failed()) return {};
    runtime_.set_line(line);
    return get_slice(runtime_, value, begin, end, step);
  }

  Value apply(const Value& value, const FilterUse& use, int line) {
    const Arguments arguments = evaluate_arguments(use.arguments, line);
    return runtime_.failed() ? Value{} : use.filter(runtime_, value, arguments);
  }

  Value apply(const Value& value, const TestUse& use, int line) {
    const Arguments arguments = evaluate_arguments(use.arguments, line);
    if (runtime_.failed()) return {};
    return Value::of(use.test(runtime_, value, arguments) != use.negated);
  }

  Value apply(const Value& value, const Call& call, int line) {
    const Arguments arguments = evaluate_arguments(call.arguments, line);
    if (runtime_.failed()) return {};
    if (!value.is(Kind::callable)) return runtime_.wrong_type("call it", value);
    const Callable& callable = *value.callable;
    if (callable.macro != nullptr) return call_macro(*callable.macro, arguments);
    return callable.function(runtime_, callable.self, arguments);
  }

  Arguments evaluate_arguments(const CallArguments& arguments, int line) {
    Arguments out;
    for (const ExpressionPtr& a : arguments.positional) out.positional.push_back(evaluate(*a));
    for (const auto& [name, a] : arguments.named) out.named.emplace_back(name, evaluate(*a));
    runtime_.set_line(line);
    return out;
  }

  Value call_macro(const MacroStatement& macro, const Arguments& arguments) {
    const Nesting nesting(*this);
    if (arguments.positional.size() > macro.parameters.size()) {
      return runtime_.fail(fmt::format("the macro '{}' takes {} arguments, found {}", macro.name,
                                       macro.parameters.size(), arguments.positional.size()));
    }
    Scope scope;
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const auto& [name, otherwise] = macro.parameters[i];
      scope.push_back({name, Value::undefined(&name)});
      if (i < arguments.positional.size()) scope.back().value = arguments.positional[i];
    }
    std::vector<bool> given(macro.parameters.size(), false);
    std::fill_n(given.begin(), arguments.positional.size(), true);
    for (const auto& [name, value] : arguments.named) {
      const auto found = std::find_if(scope.begin(), scope.end(),
                                      [&name = name](const Variable& v) { return v.name == name; });
      const auto index = static_cast<size_t>(found - scope.begin());
      if (found == scope.end() || given[index]) {
        return runtime_.fail(
            fmt::format("the macro '{}' has no use for the argument '{}'", macro.name, name));
      }
      found->value = value;
      given[index] = true;
    }

    OriginText captured;
    OriginText* const outer = std::exchange(out_, &captured);
    const size_t outer_visible = std::exchange(first_visible_scope_, scopes_.size());
    scopes_.push_back(std::move(scope));
    for (size_t i = 0; i < given.size(); ++i) {
      if (given[i] || macro.parameters[i].second == nullptr) continue;
      const Value value = evaluate(*macro.parameters[i].second);
      scopes_.back()[i].value = value;
    }
    run_block(macro.body);
    scopes_.pop_back();
    first_visible_scope_ = outer_visible;
    out_ = outer;
    return runtime_.text(std::move(captured));
  }

  TemplateRuntime& runtime_;
  Value context_;
  std::vector<Scope> scopes_;  ///< [0] is the template's own
  size_t first_visible_scope_ = 0;
  OriginText* out_ = nullptr;
  int nodes_on_stack_ = 0;
};

}  // namespace

OriginText evaluate_template(TemplateRuntime& runtime, const Block& body, const Value& context) {
  return Evaluator(runtime, context).run(body);
}

}  // namespace qvl
