#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace {

qvl::ChatTemplate load(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string source(std::istreambuf_iterator<char>(file), {});
  auto parsed =
      qvl::ChatTemplate::parse(source, path, {.max_steps = 1'000'000, .max_output_bytes = 1 << 22});
  if (!parsed || source.empty()) std::abort();
  return std::move(*parsed);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::array<qvl::ChatTemplate, 5> templates = {
      load(QVL_SOURCE_DIR "/models/qwen3-vl-tokenizer/chat_template.jinja"),
      load(QVL_SOURCE_DIR "/tests/text/instruct_macros.jinja"),
      load(QVL_SOURCE_DIR "/tests/text/thinking.jinja"),
      load(QVL_SOURCE_DIR "/tests/text/thinking_macros.jinja"),
      load(QVL_SOURCE_DIR "/tests/text/hybrid.jinja")};
  const auto context =
      nlohmann::ordered_json::parse(data, data + size, nullptr, /*allow_exceptions=*/false);
  if (context.is_discarded()) return 0;
  for (const qvl::ChatTemplate& t : templates) {
    const auto pieces = t.render(context);
    if (!pieces) continue;
    for (const qvl::TextPiece& piece : *pieces) {
      // Text that these templates do not have cannot be theirs.
      if (piece.origin == qvl::Origin::template_text &&
          piece.text.find("forged") != std::string::npos) {
        std::abort();
      }
    }
  }
  return 0;
}
