#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "text/template_evaluator.h"
#include "text/template_parser.h"

namespace qvl {

struct ChatTemplate::Program {
  ParsedTemplate parsed;
  std::string name;
  TemplateLimits limits;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string name,
                                         TemplateLimits limits) {
  Result<ParsedTemplate> parsed = parse_template(source, name, limits);
  if (!parsed) return parsed.error();
  return ChatTemplate(
      std::make_unique<const Program>(Program{std::move(*parsed), std::move(name), limits}));
}

Result<std::vector<TextPiece>> ChatTemplate::render(const nlohmann::ordered_json& context,
                                                    std::time_t now) const {
  TemplateRuntime runtime(program_->limits, program_->name, now);
  const Value variables = context_from_json(runtime, context);
  if (runtime.failed()) return runtime.error();
  const OriginText out = evaluate_template(runtime, program_->parsed.body, variables);
  if (runtime.failed()) return runtime.error();
  return out.pieces();
}

}  // namespace qvl
