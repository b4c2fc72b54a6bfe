#pragma once

/// A checkpoint's chat template, run by an interpreter of the Jinja subset that such templates use.
/// The source is foreign text and so is the conversation: depth, steps and output are limited, and
/// nothing recurses on the depth of the input beyond the limit. Immutable after parsing; safe to
/// share.

#include <cstdint>
#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/result.h"
#include "text/tokenizer.h"

namespace qvl {

struct TemplateLimits {
  int64_t max_source_bytes = 1 << 20;
  int max_depth = 64;              ///< of nested blocks, expressions and values
  int64_t max_steps = 10'000'000;  ///< evaluated nodes of one rendering
  int64_t max_output_bytes = 64LL << 20;
};

class ChatTemplate {
 public:
  /// Errors are "NAME:LINE: what", here and while rendering. `name` is the source's file, say.
  static Result<ChatTemplate> parse(std::string_view source, std::string name = "chat_template",
                                    TemplateLimits limits = {});

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// Renders with the variables of `context`, a JSON object: messages, tools,
  /// add_generation_prompt, … Text of the template itself has Origin::template_text; strings below
  /// a message with role "assistant" have Origin::assistant; every other string of the context has
  /// Origin::user, whatever the template does with it. Neighbouring pieces of one origin are
  /// joined. `now` is the time that strftime_now of the template shows, in local time.
  Result<std::vector<TextPiece>> render(const nlohmann::ordered_json& context,
                                        std::time_t now = std::time(nullptr)) const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

}  // namespace qvl
