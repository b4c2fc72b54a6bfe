#include "text/template_expressions.h"

#include <array>
#include <charconv>

#include "text/unicode.h"

namespace qvl {

bool ExpressionParser::at_tuple_end() const {
  return at(Type::print_end) || at(Type::statement_end) || at_symbol(")") || at_end();
}

template <class ParseItem>
ExpressionPtr ExpressionParser::tuple_or(ParseItem parse_item) {
  const int line = token().line;
  ExpressionPtr first = parse_item();
  if (!at_symbol(",")) return first;
  Sequence tuple{Value::Kind::tuple, {}};
  tuple.items.push_back(std::move(first));
  while (skip_symbol(",") && !at_tuple_end()) tuple.items.push_back(parse_item());
  return make(line, std::move(tuple));
}

ExpressionPtr ExpressionParser::tuple_or_expression() {
  return tuple_or([this] { return expression(); });
}

ExpressionPtr ExpressionParser::tuple_or_unconditional() {
  return tuple_or([this] { return logic_or(); });
}

ExpressionPtr ExpressionParser::expression() {
  const Level level(*this);
  const int line = token().line;
  ExpressionPtr value = logic_or();
  if (!skip_name("if")) return value;
  Conditional conditional{logic_or(), std::move(value), nullptr};
  if (skip_name("else")) conditional.otherwise = expression();
  return make(line, std::move(conditional));
}

ExpressionPtr ExpressionParser::logic_or() {
  return logic("or", [this] { return logic_and(); });
}

ExpressionPtr ExpressionParser::logic_and() {
  return logic("and", [this] { return logic_not(); });
}

template <class Operand>
ExpressionPtr ExpressionParser::logic(std::string_view word, Operand operand) {
  const int line = token().line;
  ExpressionPtr first = operand();
  if (!at_name(word)) return first;
  Logic out{word == "and", {}};
  out.operands.push_back(std::move(first));
  while (skip_name(word)) out.operands.push_back(operand());
  return make(line, std::move(out));
}

ExpressionPtr ExpressionParser::logic_not() {
  const int line = token().line;
  if (!skip_name("not")) return compare();
  const Level level(*this);
  return make(line, Not{logic_not()});
}

std::optional<Comparison> ExpressionParser::comparison() {
  struct Spelling {
    std::string_view symbol;
    Comparison comparison;
  };
  constexpr std::array<Spelling, 6> kSpellings = {{{"==", Comparison::equal},
                                                   {"!=", Comparison::not_equal},
                                                   {"<", Comparison::less},
                                                   {"<=", Comparison::less_equal},
                                                   {">", Comparison::greater},
                                                   {">=", Comparison::greater_equal}}};
  for (const Spelling& s : kSpellings) {
    if (skip_symbol(s.symbol)) return s.comparison;
  }
  if (skip_name("in")) return Comparison::in;
  if (at_name("not") && at_name("in", 1)) {
    take();
    take();
    return Comparison::not_in;
  }
  return std::nullopt;
}

ExpressionPtr ExpressionParser::compare() {
  const int line = token().line;
  ExpressionPtr first = sum();
  Compare out{nullptr, {}};
  while (const auto op = comparison()) out.rest.emplace_back(*op, sum());
  if (out.rest.empty()) return first;
  out.first = std::move(first);
  return make(line, std::move(out));
}

template <class Operand>
ExpressionPtr ExpressionParser::arithmetic(std::initializer_list<OperatorSpelling> spellings,
                                           Operand operand) {
  const int line = token().line;
  ExpressionPtr first = operand();
  Arithmetic out{nullptr, {}};
  while (true) {
    const auto* found = std::find_if(spellings.begin(), spellings.end(),
                                     [&](const auto& s) { return at_symbol(s.symbol); });
    if (found == spellings.end()) break;
    take();
    out.rest.emplace_back(found->op, operand());
  }
  if (out.rest.empty()) return first;
  out.first = std::move(first);
  return make(line, std::move(out));
}

ExpressionPtr ExpressionParser::sum() {
  return arithmetic({{"+", ArithmeticOperator::add}, {"-", ArithmeticOperator::subtract}},
                    [this] { return concatenation(); });
}

ExpressionPtr ExpressionParser::concatenation() {
  const int line = token().line;
  ExpressionPtr first = product();
  if (!at_symbol("~")) return first;
  Concatenation out;
  out.parts.push_back(std::move(first));
  while (skip_symbol("~")) out.parts.push_back(product());
  return make(line, std::move(out));
}

ExpressionPtr ExpressionParser::product() {
  return arithmetic({{"*", ArithmeticOperator::multiply},
                     {"/", ArithmeticOperator::divide},
                     {"//", ArithmeticOperator::floor_divide},
                     {"%", ArithmeticOperator::modulo}},
                    [this] { return power(); });
}

ExpressionPtr ExpressionParser::power() {
  return arithmetic({{"**", ArithmeticOperator::power}}, [this] { return filtered(); });
}

ExpressionPtr ExpressionParser::filtered() {
  const int line = token().line;
  ExpressionPtr base = unary();
  AccessChain chain;
  while (!failed() && filter_or_test(chain.accesses)) {
  }
  if (chain.accesses.empty()) return base;
  chain.base = std::move(base);
  return make(line, std::move(chain));
}

ExpressionPtr ExpressionParser::unary() {
  const int line = token().line;
  ExpressionPtr base;
  if (at_symbol("-") || at_symbol("+")) {
    const Level level(*this);
    const bool minus = take().text == "-";
    base = make(line, Sign{minus, unary()});
  } else {
    base = primary();
  }
  AccessChain chain;
  while (!failed() && postfix(chain.accesses)) {
  }
  if (chain.accesses.empty()) return base;
  chain.base = std::move(base);
  return make(line, std::move(chain));
}

ExpressionPtr ExpressionParser::primary() {
  const int line = token().line;
  switch (token().type) {
    case Type::name:
      return name_or_constant();
    case Type::string: {
      std::string text;
      while (at(Type::string)) append_string(take().text, text);
      return make(line, Literal{text_constant(text)});
    }
    case Type::integer:
    case Type::real:
      return number();
    default:
      break;
  }
  if (skip_symbol("(")) {
    if (skip_symbol(")")) return make(line, Sequence{Value::Kind::tuple, {}});
    ExpressionPtr inner = tuple_or_expression();
    expect(skip_symbol(")"), "')'");
    return inner;
  }
  if (skip_symbol("[")) {
    Sequence list{Value::Kind::list, {}};
    while (!failed() && !at_symbol("]")) {
      list.items.push_back(expression());
      if (!skip_symbol(",")) break;
    }
    expect(skip_symbol("]"), "']'");
    return make(line, std::move(list));
  }
  if (skip_symbol("{")) {
    DictDisplay dict;
    while (!failed() && !at_symbol("}")) {
      ExpressionPtr key = expression();
      expect(skip_symbol(":"), "':'");
      dict.entries.emplace_back(std::move(key), expression());
      if (!skip_symbol(",")) break;
    }
    expect(skip_symbol("}"), "'}'");
    return make(line, std::move(dict));
  }
  unexpected("an expression");
  return make(line, Literal{});
}

ExpressionPtr ExpressionParser::name_or_constant() {
  const int line = token().line;
  const std::string_view name = take().text;
  if (name == "true" || name == "True") return make(line, Literal{Value::of(true)});
  if (name == "false" || name == "False") return make(line, Literal{Value::of(false)});
  if (name == "none" || name == "None") return make(line, Literal{Value::none()});
  if (name == "caller") implicit_.caller = true;
  if (name == "kwargs") implicit_.kwargs = true;
  if (name == "varargs") implicit_.varargs = true;
  return make(line, Name{std::string(name)});
}

ExpressionPtr ExpressionParser::number() {
  const TemplateToken taken = take();
  std::string digits(taken.text);
  std::erase(digits, '_');
  const char* const begin = digits.data();
  const char* const end = begin + digits.size();
  Value value;
  std::errc error{};
  if (taken.type == Type::integer) {
    int64_t integer = 0;
    error = std::from_chars(begin, end, integer).ec;
    value = Value::of(integer);
  } else {
    double real = 0;
    error = std::from_chars(begin, end, real).ec;
    value = Value::of(real);
  }
  if (error != std::errc{}) fail(fmt::format("the number {} is too large", digits.substr(0, 40)));
  return make(taken.line, Literal{value});
}

void ExpressionParser::append_string(std::string_view literal, std::string& out) {
  literal = literal.substr(1, literal.size() - 2);
  while (!literal.empty()) {
    if (literal[0] != '\\' || literal.size() == 1) {
      out += literal[0];
      literal.remove_prefix(1);
    } else {
      literal.remove_prefix(1 + append_escape(literal.substr(1), out));
    }
  }
}

size_t ExpressionParser::append_escape(std::string_view text, std::string& out) {
  constexpr std::string_view kLetters = "abfnrtv\\'\"";
  constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
  const char c = text[0];
  if (const size_t i = kLetters.find(c); i != std::string_view::npos) {
    out += kMeanings[i];
    return 1;
  }
  if (c == '\n') return 1;
  const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits == 0) {
    if ((c >= '0' && c <= '7') || c == 'N')
      fail(fmt::format("the escape \\{} is not supported", c));
    out += '\\';  // an unknown escape stands for itself
    return 0;
  }
  const std::string_view hex = text.substr(1, digits);
  uint32_t code_point = 0;
  const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), code_point, 16);
  if (hex.size() != digits || error != std::errc{} || end != hex.data() + hex.size() ||
      code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) {
    fail(
        fmt::format("\\{} is not followed by the {} hexadecimal digits of a character", c, digits));
    return 1;
  }
  append_utf8(out, code_point);
  return 1 + digits;
}

bool ExpressionParser::postfix(std::vector<Access>& out) {
  const int line = token().line;
  if (skip_symbol(".")) {
    if (at(Type::integer)) {
      out.push_back({line, Item{number()}});
    } else {
      out.push_back({line, Attribute{expect_name()}});
    }
    return true;
  }
  if (skip_symbol("[")) {
    subscript(out, line);
    expect(skip_symbol("]"), "']'");
    return true;
  }
  if (at_symbol("(")) {
    out.push_back({line, Call{arguments()}});
    return true;
  }
  return false;
}

void ExpressionParser::subscript(std::vector<Access>& out, int line) {
  std::array<ExpressionPtr, 3> bounds;
  size_t count = 0;
  bool slice = false;
  for (; count < bounds.size(); ++count) {
    if (!at_symbol(":") && !at_symbol("]")) bounds[count] = expression();
    if (!at_symbol(":") || count == 2) break;
    take();
    slice = true;
  }
  if (slice) {
    out.push_back({line, Slice{std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2])}});
  } else if (bounds[0] == nullptr) {
    unexpected("an expression");
  } else {
    out.push_back({line, Item{std::move(bounds[0])}});
  }
}

bool ExpressionParser::filter_or_test(std::vector<Access>& out) {
  if (skip_symbol("|")) {
    out.push_back(filter());
    return true;
  }
  if (skip_name("is")) {
    out.push_back(test());
    return true;
  }
  if (at_symbol("(")) {
    const int line = token().line;
    out.push_back({line, Call{arguments()}});
    return true;
  }
  return false;
}

Access ExpressionParser::filter() {
  const int line = token().line;
  std::string name = expect_name();
  const TemplateFilter found = find_filter(name);
  if (found == nullptr && conditional_depth_ == 0) {
    fail(fmt::format("there is no filter '{}'", name));
  }
  return {line, FilterUse{found, std::move(name), at_symbol("(") ? arguments() : CallArguments{}}};
}

Access ExpressionParser::test() {
  const int line = token().line;
  const bool negated = skip_name("not");
  std::string name = expect_name();
  const TemplateTest found = find_test(name);
  if (found == nullptr && conditional_depth_ == 0) fail(fmt::format("there is no test '{}'", name));
  TestUse use{found, std::move(name), negated, {}};
  const bool at_word = at(Type::name) && !at_name("else") && !at_name("or") && !at_name("and") &&
                       !at_name("is") && !at_name("if") && !at_name("in") && !at_name("not");
  if (at_symbol("(")) {
    use.arguments = arguments();
  } else if (at_word || at(Type::string) || at(Type::integer) || at(Type::real) || at_symbol("[") ||
             at_symbol("{")) {
    AccessChain chain;
    ExpressionPtr argument = primary();
    while (!failed() && postfix(chain.accesses)) {
    }
    if (!chain.accesses.empty()) {
      chain.base = std::move(argument);
      argument = make(line, std::move(chain));
    }
    use.arguments.positional.push_back(std::move(argument));
  }
  return {line, std::move(use)};
}

CallArguments ExpressionParser::arguments() {
  CallArguments out;
  take();
  while (!failed() && !at_symbol(")")) {
    if (at_symbol("*") && out.more_positional == nullptr && out.more_named == nullptr) {
      take();
      out.more_positional = expression();
    } else if (at_symbol("**") && out.more_named == nullptr) {
      take();
      out.more_named = expression();
    } else if (at(Type::name) && at_symbol("=", 1) && out.more_named == nullptr) {
      const Value name = text_constant(take().text);
      take();
      out.named.emplace_back(name, expression());
    } else {
      if (!out.named.empty() || out.more_positional != nullptr || out.more_named != nullptr) {
        fail("an argument by position follows one that is not");
      }
      out.positional.push_back(expression());
    }
    if (!skip_symbol(",")) break;
  }
  expect(skip_symbol(")"), "')'");
  return out;
}

}  // namespace qvl
