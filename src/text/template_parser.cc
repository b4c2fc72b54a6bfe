#include "text/template_parser.h"

#include <algorithm>
#include <charconv>

#include "text/template_lexer.h"
#include "text/unicode.h"

namespace qvl {
namespace {

using Type = TemplateToken::Type;

/// Recursive descent. After the first error the tokens are at their end, so that every loop ends.
class Parser {
 public:
  Parser(std::vector<TemplateToken> tokens, int max_depth, TemplateHeap& constants)
      : tokens_(std::move(tokens)), max_depth_(max_depth), constants_(constants) {}

  Result<Block> run() {
    Block body = block({});
    if (error_) return *error_;
    return body;
  }

 private:
  /// Counts one level of nesting for as long as it lives.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > parser_.max_depth_) {
        parser_.fail(ErrorCode::template_limit,
                     fmt::format("nested more than {} levels deep", parser_.max_depth_));
      }
    }
    ~Level() { --parser_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

  // Tokens.

  const TemplateToken& token(size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  bool at_end() const { return token().type == Type::end; }
  bool at(Type type) const { return token().type == type; }
  bool at_symbol(std::string_view text, size_t ahead = 0) const {
    return token(ahead).type == Type::symbol && token(ahead).text == text;
  }
  bool at_name(std::string_view text, size_t ahead = 0) const {
    return token(ahead).type == Type::name && token(ahead).text == text;
  }
  TemplateToken take() {
    const TemplateToken taken = token();
    if (next_ + 1 < tokens_.size()) ++next_;
    return taken;
  }
  bool skip_symbol(std::string_view text) {
    const bool found = at_symbol(text);
    if (found) take();
    return found;
  }
  bool skip_name(std::string_view text) {
    const bool found = at_name(text);
    if (found) take();
    return found;
  }
  void expect(bool found, std::string_view what) {
    if (!found) unexpected(what);
  }
  void expect(Type type, std::string_view what) {
    expect(at(type), what);
    take();
  }
  std::string expect_name() {
    expect(at(Type::name), "a name");
    return std::string(take().text);
  }

  void fail(ErrorCode code, std::string_view what) {
    if (!error_) error_ = Error{code, fmt::format("line {}: {}", token().line, what), {}};
    next_ = tokens_.size() - 1;
  }
  void fail(std::string_view what) { fail(ErrorCode::bad_template, what); }
  void unexpected(std::string_view expected) {
    const std::string_view text = token().text.substr(0, 40);
    const bool cut = !is_valid_utf8(text);
    fail(at_end() ? fmt::format("the template ends, expected {}", expected)
                  : fmt::format("found '{}', expected {}", cut ? "…" : text, expected));
  }

  // Statements.

  /// Statements up to a tag with one of the names in `ends`, whose name is left as the next token;
  /// without any, to the end of the source.
  Block block(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Block statements;
    while (!at_end()) {
      const int line = token().line;
      if (at(Type::text)) {
        const Value text = constants_.text(take().text, Origin::template_text);
        statements.push_back({line, Literal{text}});
      } else if (at(Type::print_begin)) {
        take();
        ExpressionPtr value = tuple_or_expression();
        expect(Type::print_end, "'}}'");
        statements.push_back({line, Print{std::move(value)}});
      } else {
        expect(Type::statement_begin, "a tag");
        if (at(Type::name) && std::find(ends.begin(), ends.end(), token().text) != ends.end()) {
          return statements;
        }
        if (error_) break;
        statement(statements, line);
        expect(Type::statement_end, "'%}'");
      }
    }
    if (ends.size() > 0) unexpected(fmt::format("{{% {} %}}", *ends.begin()));
    return statements;
  }

  /// The body of a statement whose opening tag ends here, with the name of the end tag.
  Block body(std::initializer_list<std::string_view> ends) {
    expect(Type::statement_end, "'%}'");
    return block(ends);
  }

  void statement(Block& out, int line) {
    if (!at(Type::name)) {
      unexpected("the name of a tag");
      return;
    }
    const std::string_view tag = take().text;
    if (tag == "if") {
      out.push_back({line, if_statement()});
    } else if (tag == "for") {
      out.push_back({line, for_statement()});
    } else if (tag == "set") {
      set_statement(out, line);
    } else if (tag == "macro") {
      out.push_back({line, macro()});
    } else if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail(fmt::format("'{}' outside a loop", tag));
      out.push_back({line, LoopControl{tag == "break"}});
    } else if (tag == "filter") {
      CaptureStatement capture;
      capture.filters.push_back(filter());
      while (skip_symbol("|")) capture.filters.push_back(filter());
      capture.body = body({"endfilter"});
      take();
      out.push_back({line, std::move(capture)});
    } else if (tag == "generation") {
      // Marks what a model has written, for training; prints as if it were not there.
      out.push_back({line, Group{body({"endgeneration"})}});
      take();
    } else {
      fail(fmt::format("the tag '{}' is not supported here", tag));
    }
  }

  IfStatement if_statement() {
    IfStatement out;
    while (true) {
      ExpressionPtr condition = tuple_or_expression(/*with_conditional=*/false);
      Block then = body({"elif", "else", "endif"});
      out.branches.emplace_back(std::move(condition), std::move(then));
      if (error_) return out;
      const std::string_view end = take().text;
      if (end == "endif") return out;
      if (end == "else") {
        out.otherwise = body({"endif"});
        take();
        return out;
      }
    }
  }

  ForStatement for_statement() {
    ForStatement out;
    out.targets = targets(/*with_attributes=*/false);
    expect(skip_name("in"), "'in'");
    out.items = tuple_or_expression(/*with_conditional=*/false);
    if (skip_name("if")) out.condition = expression();
    if (at_name("recursive")) fail("recursive loops are not supported");
    ++loops_;
    out.body = body({"endfor", "else"});
    --loops_;
    if (!error_ && take().text == "else") {
      out.otherwise = body({"endfor"});
      take();
    }
    return out;
  }

  void set_statement(Block& out, int line) {
    Targets to = targets(/*with_attributes=*/true);
    if (skip_symbol("=")) {
      out.push_back({line, SetStatement{std::move(to), tuple_or_expression()}});
      return;
    }
    if (to.unpacks) fail("a block can be set to one name only");
    CaptureStatement capture;
    while (skip_symbol("|")) capture.filters.push_back(filter());
    capture.body = body({"endset"});
    capture.target = std::move(to.targets);
    take();
    out.push_back({line, std::move(capture)});
  }

  MacroStatement macro() {
    MacroStatement out;
    // A macro sees the variables of the template, not those of a loop around it.
    if (loops_ > 0 || in_macro_) fail("a macro inside a loop or a macro is not supported");
    out.name = expect_name();
    expect(skip_symbol("("), "'('");
    while (!error_ && !at_symbol(")")) {
      std::string name = expect_name();
      ExpressionPtr value;
      if (skip_symbol("=")) {
        value = expression();
      } else if (!out.parameters.empty() && out.parameters.back().second != nullptr) {
        fail("a parameter without a default follows one with a default");
      }
      out.parameters.emplace_back(std::move(name), std::move(value));
      if (!skip_symbol(",")) break;
    }
    expect(skip_symbol(")"), "')'");
    in_macro_ = true;
    out.body = body({"endmacro"});
    in_macro_ = false;
    take();
    return out;
  }

  Targets targets(bool with_attributes) {
    Targets out{{}, false};
    const bool brackets = skip_symbol("(");
    while (!error_) {
      Target target{expect_name(), {}};
      if (with_attributes && skip_symbol(".")) target.attribute = expect_name();
      out.targets.push_back(std::move(target));
      if (!skip_symbol(",")) break;
      out.unpacks = true;
      if (at_name("in") || at_symbol("=") || at_symbol(")")) break;
    }
    if (brackets) expect(skip_symbol(")"), "')'");
    return out;
  }

  // Expressions, from the loosest binding to the tightest.

  template <class Node>
  ExpressionPtr make(int line, Node node) {
    return std::make_unique<Expression>(Expression{line, std::move(node)});
  }

  bool at_tuple_end() const {
    return at(Type::print_end) || at(Type::statement_end) || at_symbol(")") || at_end();
  }

  /// a, b, c without brackets is a tuple.
  ExpressionPtr tuple_or_expression(bool with_conditional = true) {
    const int line = token().line;
    const auto item = [&] { return with_conditional ? expression() : logic_or(); };
    ExpressionPtr first = item();
    if (!at_symbol(",")) return first;
    Sequence tuple{Value::Kind::tuple, {}};
    tuple.items.push_back(std::move(first));
    while (skip_symbol(",") && !at_tuple_end()) tuple.items.push_back(item());
    return make(line, std::move(tuple));
  }

  ExpressionPtr expression() {
    const Level level(*this);
    const int line = token().line;
    ExpressionPtr value = logic_or();
    while (skip_name("if")) {
      Conditional conditional{logic_or(), std::move(value), nullptr};
      if (skip_name("else")) conditional.otherwise = expression();
      value = make(line, std::move(conditional));
      if (!error_ && at_name("if")) fail("put brackets around one of two conditions in a row");
    }
    return value;
  }

  ExpressionPtr logic_or() {
    return logic("or", [this] { return logic_and(); });
  }
  ExpressionPtr logic_and() {
    return logic("and", [this] { return logic_not(); });
  }

  template <class Operand>
  ExpressionPtr logic(std::string_view word, Operand operand) {
    const int line = token().line;
    ExpressionPtr first = operand();
    if (!at_name(word)) return first;
    Logic out{word == "and", {}};
    out.operands.push_back(std::move(first));
    while (skip_name(word)) out.operands.push_back(operand());
    return make(line, std::move(out));
  }

  ExpressionPtr logic_not() {
    const int line = token().line;
    if (!skip_name("not")) return compare();
    const Level level(*this);
    return make(line, Not{logic_not()});
  }

  std::optional<Comparison> comparison() {
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

  ExpressionPtr compare() {
    const int line = token().line;
    ExpressionPtr first = sum();
    Compare out{nullptr, {}};
    while (const auto op = comparison()) out.rest.emplace_back(*op, sum());
    if (out.rest.empty()) return first;
    out.first = std::move(first);
    return make(line, std::move(out));
  }

  struct OperatorSpelling {
    std::string_view symbol;
    ArithmeticOperator op;
  };

  template <class Operand>
  ExpressionPtr arithmetic(std::initializer_list<OperatorSpelling> spellings, Operand operand) {
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

  ExpressionPtr sum() {
    return arithmetic({{"+", ArithmeticOperator::add}, {"-", ArithmeticOperator::subtract}},
                      [this] { return concatenation(); });
  }

  ExpressionPtr concatenation() {
    const int line = token().line;
    ExpressionPtr first = product();
    if (!at_symbol("~")) return first;
    Concatenation out;
    out.parts.push_back(std::move(first));
    while (skip_symbol("~")) out.parts.push_back(product());
    return make(line, std::move(out));
  }

  ExpressionPtr product() {
    return arithmetic({{"*", ArithmeticOperator::multiply},
                       {"/", ArithmeticOperator::divide},
                       {"//", ArithmeticOperator::floor_divide},
                       {"%", ArithmeticOperator::modulo}},
                      [this] { return power(); });
  }

  ExpressionPtr power() {
    return arithmetic({{"**", ArithmeticOperator::power}},
                      [this] { return unary(/*with_filters=*/true); });
  }

  ExpressionPtr unary(bool with_filters) {
    const int line = token().line;
    ExpressionPtr base;
    if (at_symbol("-") || at_symbol("+")) {
      const Level level(*this);
      const bool minus = take().text == "-";
      base = make(line, Sign{minus, unary(/*with_filters=*/false)});
    } else {
      base = primary();
    }
    AccessChain chain;
    while (!error_ && postfix(chain.accesses)) {
    }
    while (with_filters && !error_ && filter_or_test(chain.accesses)) {
    }
    if (chain.accesses.empty()) return base;
    chain.base = std::move(base);
    return make(line, std::move(chain));
  }

  ExpressionPtr primary() {
    const int line = token().line;
    switch (token().type) {
      case Type::name:
        return name_or_constant();
      case Type::string: {
        std::string text;
        while (at(Type::string)) append_string(take().text, text);
        return make(line, Literal{constants_.text(text, Origin::template_text)});
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
      while (!error_ && !at_symbol("]")) {
        list.items.push_back(expression());
        if (!skip_symbol(",")) break;
      }
      expect(skip_symbol("]"), "']'");
      return make(line, std::move(list));
    }
    if (skip_symbol("{")) {
      DictDisplay dict;
      while (!error_ && !at_symbol("}")) {
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

  ExpressionPtr name_or_constant() {
    const int line = token().line;
    const std::string_view name = take().text;
    if (name == "true" || name == "True") return make(line, Literal{Value::of(true)});
    if (name == "false" || name == "False") return make(line, Literal{Value::of(false)});
    if (name == "none" || name == "None") return make(line, Literal{Value::none()});
    return make(line, Name{std::string(name)});
  }

  ExpressionPtr number() {
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

  /// Appends a string literal's content.
  void append_string(std::string_view literal, std::string& out) {
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

  /// Appends what an escape of Python means; `text` starts after the backslash. Returns its size.
  size_t append_escape(std::string_view text, std::string& out) {
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
      fail(fmt::format("\\{} is not followed by the {} hexadecimal digits of a character", c,
                       digits));
      return 1;
    }
    append_utf8(out, code_point);
    return 1 + digits;
  }

  /// Takes one .a, [b] or (c), if there is one.
  bool postfix(std::vector<Access>& out) {
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

  void subscript(std::vector<Access>& out, int line) {
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
      out.push_back(
          {line, Slice{std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2])}});
    } else if (bounds[0] == nullptr) {
      unexpected("an expression");
    } else {
      out.push_back({line, Item{std::move(bounds[0])}});
    }
  }

  /// Takes one |filter, `is` test or call of their results, if there is one.
  bool filter_or_test(std::vector<Access>& out) {
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

  Access filter() {
    const int line = token().line;
    const std::string name = expect_name();
    const TemplateFilter found = find_filter(name);
    if (found == nullptr) fail(fmt::format("there is no filter '{}'", name));
    return {line, FilterUse{found, at_symbol("(") ? arguments() : CallArguments{}}};
  }

  Access test() {
    const int line = token().line;
    const bool negated = skip_name("not");
    const std::string name = expect_name();
    const TemplateTest found = find_test(name);
    if (found == nullptr) fail(fmt::format("there is no test '{}'", name));
    TestUse use{found, negated, {}};
    const bool at_word = at(Type::name) && !at_name("else") && !at_name("or") && !at_name("and") &&
                         !at_name("is") && !at_name("if") && !at_name("in") && !at_name("not");
    if (at_symbol("(")) {
      use.arguments = arguments();
    } else if (at_word || at(Type::string) || at(Type::integer) || at(Type::real) ||
               at_symbol("[") || at_symbol("{")) {
      AccessChain chain;
      ExpressionPtr argument = primary();
      while (!error_ && postfix(chain.accesses)) {
      }
      if (!chain.accesses.empty()) {
        chain.base = std::move(argument);
        argument = make(line, std::move(chain));
      }
      use.arguments.positional.push_back(std::move(argument));
    }
    return {line, std::move(use)};
  }

  CallArguments arguments() {
    CallArguments out;
    take();
    while (!error_ && !at_symbol(")")) {
      if (at_symbol("*") || at_symbol("**"))
        fail("arguments from a list or dict are not supported");
      if (at(Type::name) && at_symbol("=", 1)) {
        std::string name(take().text);
        take();
        out.named.emplace_back(std::move(name), expression());
      } else {
        if (!out.named.empty()) fail("an argument without a name follows one with a name");
        out.positional.push_back(expression());
      }
      if (!skip_symbol(",")) break;
    }
    expect(skip_symbol(")"), "')'");
    return out;
  }

  std::vector<TemplateToken> tokens_;
  size_t next_ = 0;
  int depth_ = 0;
  int max_depth_;
  int loops_ = 0;
  bool in_macro_ = false;
  TemplateHeap& constants_;
  std::optional<Error> error_;
};

}  // namespace

Result<ParsedTemplate> parse_template(std::string_view source, const TemplateLimits& limits) {
  if (source.size() > static_cast<size_t>(limits.max_source_bytes)) {
    return Error{
        ErrorCode::template_limit,
        fmt::format("found {} bytes, expected at most {}", source.size(), limits.max_source_bytes),
        {}};
  }
  const std::string text = normalized_template_source(replace_invalid_utf8(source));
  Result<std::vector<TemplateToken>> tokens = lex_template(text);
  if (!tokens) return tokens.error();
  ParsedTemplate out;
  Result<Block> body = Parser(std::move(*tokens), limits.max_depth, out.constants).run();
  if (!body) return body.error();
  out.body = std::move(*body);
  return out;
}

}  // namespace qvl
