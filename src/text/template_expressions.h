#pragma once

#include "text/template_ast.h"
#include "text/template_cursor.h"

namespace qvl {

/// The expressions of a template, by recursive descent; only brackets, signs, `not` and `else` go
/// deeper, and each of them counts as a level.
class ExpressionParser : public TokenCursor {
 public:
  /// Literals go to `constants`, which must outlive the expressions.
  ExpressionParser(std::vector<TemplateToken> tokens, std::string_view name, int max_depth,
                   TemplateHeap& constants)
      : TokenCursor(std::move(tokens), name, max_depth), constants_(constants) {}

  ExpressionPtr expression();
  /// a, b, c without brackets is a tuple.
  ExpressionPtr tuple_or_expression();
  /// The same where an `if` belongs to the statement, not to the expression.
  ExpressionPtr tuple_or_unconditional();
  Access filter();
  CallArguments arguments();
  /// A literal of the template's own text.
  Value text_constant(std::string_view text) {
    return constants_.text(text, Origin::template_text);
  }

 protected:
  /// Which of a macro's implicit variables have been named so far.
  struct Implicit {
    bool caller = false;
    bool kwargs = false;
    bool varargs = false;
  };
  Implicit implicit_;
  /// Inside an if statement, which may ask whether a filter exists, one that does not is no error
  /// until it is reached.
  int conditional_depth_ = 0;

 private:
  template <class Node>
  ExpressionPtr make(int line, Node node) {
    return std::make_unique<Expression>(Expression{line, std::move(node)});
  }
  bool at_tuple_end() const;
  template <class ParseItem>
  ExpressionPtr tuple_or(ParseItem parse_item);
  ExpressionPtr logic_or();
  ExpressionPtr logic_and();
  template <class Operand>
  ExpressionPtr logic(std::string_view word, Operand operand);
  ExpressionPtr logic_not();
  std::optional<Comparison> comparison();
  ExpressionPtr compare();
  struct OperatorSpelling {
    std::string_view symbol;
    ArithmeticOperator op;
  };
  template <class Operand>
  ExpressionPtr arithmetic(std::initializer_list<OperatorSpelling> spellings, Operand operand);
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr filtered();
  ExpressionPtr unary();
  ExpressionPtr primary();
  ExpressionPtr name_or_constant();
  ExpressionPtr number();
  /// Appends a string literal's content.
  void append_string(std::string_view literal, std::string& out);
  /// Appends what an escape of Python means; `text` starts after the backslash. Returns its size.
  size_t append_escape(std::string_view text, std::string& out);
  /// Takes one .a, [b] or (c), if there is one.
  bool postfix(std::vector<Access>& out);
  void subscript(std::vector<Access>& out, int line);
  /// Takes one |filter, `is` test or call of their results, if there is one.
  bool filter_or_test(std::vector<Access>& out);
  Access test();

  TemplateHeap& constants_;
};

}  // namespace qvl
