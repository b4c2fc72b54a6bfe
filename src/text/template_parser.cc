#include "text/template_parser.h"

#include <algorithm>

#include "text/template_expressions.h"
#include "text/template_lexer.h"
#include "text/unicode.h"

namespace qvl {
namespace {

class StatementParser : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Block> run() {
    Block body = block({});
    if (failed()) return *error();
    return body;
  }

 private:
  /// Statements up to a tag with one of the names in `ends`, whose name is left as the next token;
  /// without any, to the end of the source.
  Block block(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Block statements;
    while (!at_end()) {
      const int line = token().line;
      if (at(Type::text)) {
        const Value text = text_constant(take().text);
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
        if (failed()) break;
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
    } else if (tag == "call") {
      out.push_back({line, call_block()});
    } else if (tag == "with") {
      out.push_back({line, with_statement()});
    } else if (tag == "generation") {
      // Marks what a model has written, for training; prints as if it were not there.
      WithStatement out_of_sight;
      const int loops = std::exchange(loops_, 0);
      out_of_sight.body = body({"endgeneration"});
      loops_ = loops;
      take();
      out.push_back({line, std::move(out_of_sight)});
    } else {
      fail(fmt::format("the tag '{}' is not supported here", tag));
    }
  }

  IfStatement if_statement() {
    ++conditional_depth_;
    IfStatement out = branches();
    --conditional_depth_;
    return out;
  }

  IfStatement branches() {
    IfStatement out;
    while (true) {
      ExpressionPtr condition = tuple_or_unconditional();
      Block then = body({"elif", "else", "endif"});
      out.branches.emplace_back(std::move(condition), std::move(then));
      if (failed()) return out;
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
    out.targets = targets(Attributes::not_allowed);
    expect(skip_name("in"), "'in'");
    out.items = tuple_or_unconditional();
    if (skip_name("if")) out.condition = expression();
    out.is_recursive = skip_name("recursive");
    ++loops_;
    out.body = body({"endfor", "else"});
    --loops_;
    if (!failed() && take().text == "else") {
      out.otherwise = body({"endfor"});
      take();
    }
    return out;
  }

  void set_statement(Block& out, int line) {
    Targets to = targets(Attributes::allowed);
    if (skip_symbol("=")) {
      out.push_back({line, SetStatement{std::move(to), tuple_or_expression()}});
      return;
    }
    if (to.unpacks || to.targets.empty() || to.targets.front().name.empty()) {
      fail("a block can be set to one name only");
    }
    CaptureStatement capture;
    while (skip_symbol("|")) capture.filters.push_back(filter());
    capture.body = body({"endset"});
    capture.target = std::move(to.targets);
    take();
    out.push_back({line, std::move(capture)});
  }

  MacroStatement macro() {
    MacroStatement out;
    out.name = expect_name();
    expect(at_symbol("("), "'('");
    out.parameters = parameters();
    finish(out, "endmacro");
    return out;
  }

  /// Takes the body of a macro or a call block.
  void finish(MacroStatement& macro, std::string_view end) {
    const Implicit around = std::exchange(implicit_, {});
    const int loops = std::exchange(loops_, 0);  // its body cannot leave a loop around it
    macro.body = body({end});
    take();
    loops_ = loops;
    macro.uses_caller = implicit_.caller;
    macro.uses_kwargs = implicit_.kwargs;
    macro.uses_varargs = implicit_.varargs;
    implicit_ = {around.caller || implicit_.caller, around.kwargs || implicit_.kwargs,
                 around.varargs || implicit_.varargs};
  }

  std::vector<std::pair<std::string, ExpressionPtr>> parameters() {
    std::vector<std::pair<std::string, ExpressionPtr>> out;
    take();
    while (!failed() && !at_symbol(")")) {
      std::string name = expect_name();
      ExpressionPtr value;
      if (std::any_of(out.begin(), out.end(), [&](const auto& p) { return p.first == name; })) {
        fail(fmt::format("two parameters are called '{}'", name));
      }
      if (skip_symbol("=")) {
        value = expression();
      } else if (!out.empty() && out.back().second != nullptr) {
        fail("a parameter without a default follows one with a default");
      }
      out.emplace_back(std::move(name), std::move(value));
      if (!skip_symbol(",")) break;
    }
    expect(skip_symbol(")"), "')'");
    return out;
  }

  CallBlock call_block() {
    CallBlock out;
    out.caller.name = "caller";
    if (at_symbol("(")) out.caller.parameters = parameters();
    out.callee = expression();
    // The call itself takes place after the body, which it is given.
    auto* chain = std::get_if<AccessChain>(&out.callee->node);
    auto* call = chain != nullptr ? std::get_if<Call>(&chain->accesses.back().what) : nullptr;
    if (call == nullptr) {
      unexpected("a call of a macro before it");
      return out;
    }
    out.arguments = std::move(call->arguments);
    chain->accesses.pop_back();
    finish(out.caller, "endcall");
    return out;
  }

  WithStatement with_statement() {
    WithStatement out;
    while (!failed() && !at(Type::statement_end)) {
      Targets to = one_target(Attributes::not_allowed);
      expect(skip_symbol("="), "'='");
      out.variables.emplace_back(std::move(to), expression());
      if (!skip_symbol(",")) break;
    }
    out.body = body({"endwith"});
    take();
    return out;
  }

  enum class Attributes { allowed, not_allowed };

  Target target(Attributes attributes) {
    const Level level(*this);
    Target out;
    if (skip_symbol("(")) {
      out.nested = targets(Attributes::not_allowed);
      expect(skip_symbol(")"), "')'");
      return out;
    }
    out.name = expect_name();
    if (attributes == Attributes::allowed && skip_symbol(".")) out.attribute = expect_name();
    return out;
  }

  Targets one_target(Attributes attributes) {
    Targets out{{}, false};
    out.targets.push_back(target(attributes));
    return out;
  }

  /// a, b, (c, d)
  Targets targets(Attributes attributes) {
    Targets out = one_target(attributes);
    while (!failed() && skip_symbol(",")) {
      out.unpacks = true;
      if (at_name("in") || at_symbol("=") || at_symbol(")")) break;
      out.targets.push_back(target(attributes));
    }
    return out;
  }

  int loops_ = 0;  ///< around this place that `break` can leave
};

}  // namespace

Result<ParsedTemplate> parse_template(std::string_view source, std::string_view name,
                                      const TemplateLimits& limits) {
  if (source.size() > static_cast<size_t>(limits.max_source_bytes)) {
    return Error{ErrorCode::template_limit,
                 fmt::format("{}: found {} bytes, expected at most {}", name, source.size(),
                             limits.max_source_bytes),
                 {}};
  }
  const std::string text = normalized_template_source(replace_invalid_utf8(source));
  Result<std::vector<TemplateToken>> tokens = lex_template(text, name);
  if (!tokens) return tokens.error();
  ParsedTemplate out;
  Result<Block> body =
      StatementParser(std::move(*tokens), name, limits.max_depth, out.constants).run();
  if (!body) return body.error();
  out.body = std::move(*body);
  return out;
}

}  // namespace qvl
