#include "text/template_evaluator.h"

#include <algorithm>
#include <deque>

namespace qvl {
namespace {

using Kind = Value::Kind;

/// Calls of macros and nested nodes all use the stack of the thread. A node takes less than 1 KiB
/// of it, so that this many are safe on any.
constexpr int kMaxNodesOnStack = 1000;

enum class Flow { normal, break_loop, continue_loop };

}  // namespace

/// The variables of one run of a block, and the scope around the block.
struct TemplateScope {
  struct Variable {
    std::string_view name;
    Value value;
  };
  TemplateScope* parent;
  std::vector<Variable> variables;
  bool captured;  ///< by a macro or loop made in it, which may outlive the run

  Value* find(std::string_view name) {
    for (Variable& v : variables) {
      if (v.name == name) return &v.value;
    }
    return nullptr;
  }
};

namespace {

class Evaluator {
 public:
  Evaluator(TemplateRuntime& runtime, const Value& context)
      : runtime_(runtime), context_(context), scope_(new_scope(nullptr)) {}

  OriginText run(const Block& body) {
    OriginText out;
    out_ = &out;
    run_block(body);
    out_ = nullptr;
    return out;
  }

 private:
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

  TemplateScope* new_scope(TemplateScope* parent) {
    if (free_scopes_.empty()) return &scopes_.emplace_back(TemplateScope{parent, {}, false});
    TemplateScope* const scope = free_scopes_.back();
    free_scopes_.pop_back();
    scope->parent = parent;
    return scope;
  }

  /// Makes a scope the current one for as long as it lives.
  class Inside {
   public:
    Inside(Evaluator& evaluator, TemplateScope* scope)
        : evaluator_(evaluator), outer_(std::exchange(evaluator.scope_, scope)) {}
    ~Inside() {
      TemplateScope* const scope = std::exchange(evaluator_.scope_, outer_);
      if (scope->captured) return;
      scope->variables.clear();
      evaluator_.free_scopes_.push_back(scope);
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    Evaluator& evaluator_;
    TemplateScope* outer_;
  };

  /// The current scope, kept with those around it to the end of the rendering.
  TemplateScope* captured_scope() {
    for (TemplateScope* s = scope_; s != nullptr && !s->captured; s = s->parent) {
      s->captured = runtime_.spend(8);  // pays for its memory
    }
    return scope_;
  }

  /// What `body` prints, as a value.
  template <class Body>
  Value captured(Body body) {
    OriginText text;
    OriginText* const outer = std::exchange(out_, &text);
    body();
    out_ = outer;
    return runtime_.text(std::move(text));
  }

  Value lookup(const std::string& name) {
    for (TemplateScope* s = scope_; s != nullptr; s = s->parent) {
      if (const Value* found = s->find(name)) return *found;
    }
    if (const Value* found = context_.dict->find(name)) return *found;
    if (const auto function = find_global(name)) return runtime_.callable({function, {}});
    return Value::undefined(&name);
  }

  void assign(std::string_view name, const Value& value) {
    if (Value* found = scope_->find(name)) {
      *found = value;
    } else {
      scope_->variables.push_back({name, value});
    }
  }

  void assign(const Target& target, const Value& value) {
    if (target.name.empty()) {
      assign(target.nested, value);
      return;
    }
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
    return run_loop(statement, evaluate(*statement.items), 0);
  }

  Flow run_loop(const ForStatement& statement, const Value& over, int depth) {
    if (runtime_.failed()) return Flow::normal;
    const List* items = to_list(runtime_, over);
    if (items != nullptr && statement.condition != nullptr) items = selected(statement, *items);
    if (items == nullptr || runtime_.failed()) return Flow::normal;
    Loop loop{items};
    loop.depth = depth;
    if (statement.is_recursive) {
      loop.recursive = &statement;
      loop.scope = captured_scope();
    }
    Value loop_value;
    loop_value.kind = Kind::loop;
    loop_value.loop = runtime_.heap().loop(loop);
    bool completed = false;  // one run of the body at least came to its end, as Jinja counts
    for (const Value& item : items->items) {
      const Inside inside(*this, new_scope(scope_));
      assign("loop", loop_value);
      assign(statement.targets, item);
      const Flow flow = run_block(statement.body);
      if (flow == Flow::break_loop || !runtime_.spend(1)) break;
      completed = completed || flow == Flow::normal;
      ++loop_value.loop->index;
    }
    if (completed || runtime_.failed()) return Flow::normal;
    const Inside inside(*this, new_scope(scope_));
    return run_block(statement.otherwise);
  }

  /// loop(items) of a recursive loop.
  Value call_loop(const Loop& loop, const Arguments& arguments) {
    const Nesting nesting(*this);
    const auto [items] = arguments.bind(runtime_, std::array<std::string_view, 1>{"iterable"});
    if (loop.recursive == nullptr) return runtime_.fail("this loop is not marked as recursive");
    return captured([&, over = items] {
      const Inside inside(*this, loop.scope);
      run_loop(*loop.recursive, over, loop.depth + 1);
    });
  }

  /// The items for which the condition of a for statement holds; null after an error.
  const List* selected(const ForStatement& statement, const List& items) {
    std::vector<Value> kept;
    for (const Value& item : items.items) {
      if (!runtime_.spend(1)) return nullptr;
      const Inside inside(*this, new_scope(scope_));
      assign(statement.targets, item);
      if (is_true(evaluate(*statement.condition))) kept.push_back(item);
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
    Flow flow = Flow::normal;
    Value value = captured([&] {
      const Inside inside(*this, new_scope(scope_));
      flow = run_block(statement.body);
    });
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
    assign(statement.name, macro_value(statement));
    return Flow::normal;
  }

  Value macro_value(const MacroStatement& macro) {
    return runtime_.callable({nullptr, {}, &macro, captured_scope()});
  }

  Flow run_statement(const CallBlock& statement) {
    const Nesting nesting(*this);
    const int line = statement.callee->line;
    const Value callee = evaluate(*statement.callee);
    Arguments arguments = evaluate_arguments(statement.arguments, line);
    arguments.named.emplace_back(runtime_.text("caller", Origin::template_text),
                                 macro_value(statement.caller));
    if (!runtime_.failed()) print(call(callee, arguments));
    return Flow::normal;
  }

  Flow run_statement(const WithStatement& statement) {
    const Nesting nesting(*this);
    std::vector<Value> values;
    for (const auto& variable : statement.variables) values.push_back(evaluate(*variable.second));
    if (runtime_.failed()) return Flow::normal;
    const Inside inside(*this, new_scope(scope_));
    for (size_t i = 0; i < values.size(); ++i) assign(statement.variables[i].first, values[i]);
    return run_block(statement.body);
  }

  Flow run_statement(const LoopControl& statement) {
    return statement.is_break ? Flow::break_loop : Flow::continue_loop;
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
      if (!key.is_string() && !key.is_number() && !key.is(Kind::none) && !key.is_undefined()) {
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
    const auto bound = [this](const ExpressionPtr& e) {
      return e != nullptr ? evaluate(*e) : Value::none();
    };
    const Value begin = bound(slice.begin);
    const Value end = bound(slice.end);
    const Value step = bound(slice.step);
    if (runtime_.failed()) return {};
    runtime_.set_line(line);
    return get_slice(runtime_, value, begin, end, step);
  }

  Value apply(const Value& value, const FilterUse& use, int line) {
    const Arguments arguments = evaluate_arguments(use.arguments, line);
    if (use.filter == nullptr)
      return runtime_.fail(fmt::format("there is no filter '{}'", use.name));
    return runtime_.failed() ? Value{} : use.filter(runtime_, value, arguments);
  }

  Value apply(const Value& value, const TestUse& use, int line) {
    const Arguments arguments = evaluate_arguments(use.arguments, line);
    if (use.test == nullptr) return runtime_.fail(fmt::format("there is no test '{}'", use.name));
    if (runtime_.failed()) return {};
    return Value::of(use.test(runtime_, value, arguments) != use.negated);
  }

  Value apply(const Value& value, const Call& call, int line) {
    const Arguments arguments = evaluate_arguments(call.arguments, line);
    return runtime_.failed() ? Value{} : this->call(value, arguments);
  }

  Value call(const Value& value, const Arguments& arguments) {
    if (value.is(Kind::loop)) return call_loop(*value.loop, arguments);
    if (!value.is(Kind::callable)) return runtime_.wrong_type("call it", value);
    const Callable& callable = *value.callable;
    if (callable.macro != nullptr) return call_macro(*callable.macro, callable.scope, arguments);
    return callable.function(runtime_, callable.self, arguments);
  }

  Arguments evaluate_arguments(const CallArguments& arguments, int line) {
    Arguments out;
    for (const ExpressionPtr& a : arguments.positional) out.positional.push_back(evaluate(*a));
    for (const auto& [name, a] : arguments.named) out.named.emplace_back(name, evaluate(*a));
    const Value more_positional = evaluate_optional(arguments.more_positional);
    const Value more_named = evaluate_optional(arguments.more_named);
    runtime_.set_line(line);
    if (runtime_.failed()) return {};
    if (arguments.more_positional != nullptr) append_list(more_positional, out);
    if (arguments.more_named != nullptr) append_dict(more_named, out);
    return out;
  }

  void append_list(const Value& value, Arguments& out) {
    const List* items = to_list(runtime_, value);
    if (items == nullptr || !runtime_.spend(static_cast<int64_t>(items->items.size()))) return;
    out.positional.insert(out.positional.end(), items->items.begin(), items->items.end());
  }

  void append_dict(const Value& value, Arguments& out) {
    if (!value.is(Kind::dict)) {
      runtime_.wrong_type("take named arguments from it", value);
      return;
    }
    for (const auto& [name, argument] : value.dict->entries()) {
      const auto taken = [key = name](const auto& other) {
        return equal_scalars(other.first, key);
      };
      // Looking through all the others for each takes time.
      if (!runtime_.spend(2 + static_cast<int64_t>(out.named.size() / 8))) return;
      if (!name.is_string() || std::any_of(out.named.begin(), out.named.end(), taken)) {
        runtime_.wrong_type("use it as the name of one more argument", name);
        return;
      }
      out.named.emplace_back(name, argument);
    }
  }

  Value call_macro(const MacroStatement& macro, TemplateScope* scope, const Arguments& arguments) {
    const Nesting nesting(*this);
    const auto& parameters = macro.parameters;
    const auto& positional = arguments.positional;
    if (positional.size() > parameters.size() && !macro.uses_varargs) {
      return runtime_.fail(fmt::format("the macro '{}' takes {} arguments, found {}", macro.name,
                                       parameters.size(), positional.size()));
    }
    std::vector<TemplateScope::Variable> variables;
    std::vector<bool> given(parameters.size(), false);
    for (size_t i = 0; i < parameters.size(); ++i) {
      const std::string& name = parameters[i].first;
      given[i] = i < positional.size();
      variables.push_back({name, given[i] ? positional[i] : Value::undefined(&name)});
    }
    static const std::string caller_name = "caller";
    Value caller = Value::undefined(&caller_name);
    Dict kwargs;
    for (const auto& [name, value] : arguments.named) {
      const auto found =
          std::find_if(variables.begin(), variables.end(),
                       [&, key = name.text()](const auto& v) { return v.name == key; });
      const auto index = static_cast<size_t>(found - variables.begin());
      if (found != variables.end() && !given[index]) {
        found->value = value;
        given[index] = true;
      } else if (name.text() == caller_name && found == variables.end() && macro.uses_caller) {
        caller = value;
      } else if (macro.uses_kwargs) {
        kwargs.set(name, value);
      } else {
        return runtime_.fail(fmt::format("the macro '{}' has no use for the argument '{}'",
                                         macro.name, name.text()));
      }
    }
    // A parameter of this name comes before it.
    if (macro.uses_caller) variables.push_back({caller_name, caller});
    if (macro.uses_kwargs) variables.push_back({"kwargs", runtime_.dict(std::move(kwargs))});
    if (macro.uses_varargs) {
      const auto rest = std::min(positional.size(), parameters.size());
      variables.push_back(
          {"varargs",
           runtime_.tuple({positional.begin() + static_cast<ptrdiff_t>(rest), positional.end()})});
    }
    if (runtime_.failed()) return {};
    return captured([&] {
      const Inside inside(*this, new_scope(scope));
      scope_->variables = std::move(variables);
      for (size_t i = 0; i < given.size(); ++i) {
        if (given[i] || parameters[i].second == nullptr) continue;
        const Value value = evaluate(*parameters[i].second);
        scope_->variables[i].value = value;
      }
      run_block(macro.body);
    });
  }

  TemplateRuntime& runtime_;
  Value context_;
  std::deque<TemplateScope> scopes_;
  std::vector<TemplateScope*> free_scopes_;
  TemplateScope* scope_;  ///< of the statement that runs
  OriginText* out_ = nullptr;
  int nodes_on_stack_ = 0;
};

}  // namespace

OriginText evaluate_template(TemplateRuntime& runtime, const Block& body, const Value& context) {
  return Evaluator(runtime, context).run(body);
}

}  // namespace qvl
