#pragma once

/// The tree of a parsed template. Chains of operators and of accesses are lists, not nests, so that
/// only brackets and blocks make it deep.

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/template_runtime.h"
#include "text/template_value.h"

namespace qvl {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct Sequence {
  Value::Kind kind;  ///< list or tuple
  std::vector<ExpressionPtr> items;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
/// first op operand op operand …, from the left.
struct Arithmetic {
  ExpressionPtr first;
  std::vector<std::pair<ArithmeticOperator, ExpressionPtr>> rest;
};
struct Concatenation {
  std::vector<ExpressionPtr> parts;
};
enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };
/// a < b < c means a < b and b < c.
struct Compare {
  ExpressionPtr first;
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
};
struct Logic {
  bool is_and = false;
  std::vector<ExpressionPtr> operands;
};
struct Not {
  ExpressionPtr operand;
};
struct Sign {
  bool minus = false;
  ExpressionPtr operand;
};
struct Conditional {
  ExpressionPtr condition;
  ExpressionPtr then;
  ExpressionPtr otherwise;  ///< may be null
};

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<Value, ExpressionPtr>> named;  ///< names are texts
  ExpressionPtr more_positional;                       ///< *list; may be null
  ExpressionPtr more_named;                            ///< **dict; may be null
};
struct Attribute {
  std::string name;
};
struct Item {
  ExpressionPtr key;
};
struct Slice {
  ExpressionPtr begin, end, step;  ///< may be null
};
struct Call {
  CallArguments arguments;
};
struct FilterUse {
  TemplateFilter filter;  ///< null: there is none of this name, an error where it is reached
  std::string name;
  CallArguments arguments;
};
struct TestUse {
  TemplateTest test;  ///< null: there is none of this name, an error where it is reached
  std::string name;
  bool negated = false;
  CallArguments arguments;
};
struct Access {
  int line;
  std::variant<Attribute, Item, Slice, Call, FilterUse, TestUse> what;
};
/// base.a[b](c)|d is e …
struct AccessChain {
  ExpressionPtr base;
  std::vector<Access> accesses;
};

struct Expression {
  int line;
  std::variant<Literal, Name, Sequence, DictDisplay, Arithmetic, Concatenation, Compare, Logic, Not,
               Sign, Conditional, AccessChain>
      node;
};

struct Statement;
using Block = std::vector<Statement>;

struct Print {
  ExpressionPtr value;
};
struct IfStatement {
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};
struct Target;
struct Targets {
  std::vector<Target> targets;
  bool unpacks = false;  ///< a tuple, even of one
};
/// A name, an attribute of a namespace, or in brackets a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;
  Targets nested;  ///< without a name
};
struct ForStatement {
  Targets targets;
  ExpressionPtr items;
  ExpressionPtr condition;  ///< may be null
  bool is_recursive = false;
  Block body;
  Block otherwise;
};
struct SetStatement {
  Targets targets;
  ExpressionPtr value;
};
/// {% set x %}…{% endset %}; also {% filter … %}, which prints.
struct CaptureStatement {
  std::vector<Access> filters;
  Block body;
  std::vector<Target> target;  ///< one, or none to print
};
/// A macro, or the body of a call block, which is a macro named "caller".
struct MacroStatement {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  ///< default may be null
  bool uses_caller = false;
  bool uses_kwargs = false;   ///< takes named arguments that are no parameters
  bool uses_varargs = false;  ///< takes more arguments than it has parameters
  Block body;
};
/// {% call(x) f(y) %}…{% endcall %}
struct CallBlock {
  MacroStatement caller;
  ExpressionPtr callee;
  CallArguments arguments;
};
/// {% with a = 1 %}: all values are evaluated outside.
struct WithStatement {
  std::vector<std::pair<Targets, ExpressionPtr>> variables;
  Block body;
};
struct LoopControl {
  bool is_break = false;
};

struct Statement {
  int line;
  std::variant<Literal, Print, IfStatement, ForStatement, SetStatement, CaptureStatement,
               MacroStatement, CallBlock, WithStatement, LoopControl>
      node;
};

}  // namespace qvl
