#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "text/chat_template.h"
#include "text/unicode.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const qvl::TemplateLimits limits{.max_steps = 100'000, .max_output_bytes = 1 << 20};
  const auto parsed = qvl::ChatTemplate::parse(source, "fuzzed", limits);
  if (!parsed) {
    if (parsed.error().message().empty()) std::abort();
    return 0;
  }
  const nlohmann::ordered_json context = {
      {"messages",
       {{{"role", "user"}, {"content", {{{"type", "image"}}, {{"type", "text"}, {"text", "é <"}}}}},
        {{"role", "assistant"}, {"content", "x"}, {"n", 1.5}, {"b", true}, {"none", nullptr}}}},
      {"s", "\uE000 b,\uE000"},
      {"d", {{"\uE000", 2}, {"k", nlohmann::ordered_json::array({"\uE000", 1, "A"})}}},
      {"n", 7}};
  const auto pieces = parsed->render(context);
  if (!pieces) return 0;
  // Characters of the context that the template neither has nor spells cannot be its own.
  const bool foreign = source.find('\xEE') == std::string_view::npos &&
                       source.find("\\u") == std::string_view::npos &&
                       source.find("\\U") == std::string_view::npos;
  for (size_t i = 0; i < pieces->size(); ++i) {
    const qvl::TextPiece& piece = (*pieces)[i];
    if (piece.text.empty() || !qvl::is_valid_utf8(piece.text)) std::abort();
    const bool own = piece.origin == qvl::Origin::template_text;
    if (foreign && own && piece.text.find("\uE000") != std::string::npos) std::abort();
    if (i > 0 && piece.origin == (*pieces)[i - 1].origin) std::abort();
  }
  return 0;
}
