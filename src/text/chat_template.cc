#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "text/template_evaluator.h"
#include "text/template_parser.h"

namespace qvl {

struct ChatTemplate::Program {
  ParsedTemplate parsed;
  TemplateLimits limits;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, TemplateLimits limits) {
  Result<ParsedTemplate> parsed = parse_template(source, limits);
  if (!parsed) return parsed.error();
  return ChatTemplate(std::make_unique<const Program>(Program{std::move(*parsed), limits}));
}

Result<std::vector<TextPiece>> ChatTemplate::render(const nlohmann::ordered_json& context) const {
  TemplateRuntime runtime(program_->limits);
  const Value variables = context_from_json(runtime, context);
  if (runtime.failed()) return runtime.error();
  const OriginText out = evaluate_template(runtime, program_->parsed.body, variables);
  if (runtime.failed()) return runtime.error();
  return out.pieces();
}

}  // namespace qvl
