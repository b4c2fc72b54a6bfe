#pragma once

/// What the tests of chat templates share: one template, rendered to text or to an error.

#include <nlohmann/json.hpp>
#include <string>

#include "text/chat_template.h"

namespace qvl {

/// The rendered text, or the error's code and detail.
inline std::string render(std::string_view source,
                          const nlohmann::ordered_json& context = nlohmann::ordered_json::object(),
                          TemplateLimits limits = {}) {
  const auto describe = [](const Error& e) {
    return std::string(error_info(e.code).name) + ": " + e.detail;
  };
  const Result<ChatTemplate> parsed = ChatTemplate::parse(source, "t", limits);
  if (!parsed) return describe(parsed.error());
  const auto pieces = parsed->render(context, /*now=*/1772366400);
  if (!pieces) return describe(pieces.error());
  std::string out;
  for (const TextPiece& piece : *pieces) out += piece.text;
  return out;
}

/// The pieces with their origins: t(emplate), a(ssistant), u(ser).
inline std::string origins(std::string_view source, const nlohmann::ordered_json& context) {
  const Result<ChatTemplate> parsed = ChatTemplate::parse(source);
  if (!parsed) return parsed.error().message();
  const auto pieces = parsed->render(context);
  if (!pieces) return pieces.error().message();
  std::string out;
  for (const TextPiece& piece : *pieces) {
    out += "tau"[static_cast<int>(piece.origin)];
    out += "(" + piece.text + ")";
  }
  return out;
}

}  // namespace qvl
