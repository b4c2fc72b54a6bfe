#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cli/saved_conversation.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parsed = qvl::parse_conversation({reinterpret_cast<const char*>(data), size});
  if (!parsed) {
    if (parsed.error().message().empty()) std::abort();
    return 0;
  }
  for (size_t i = 0; i < parsed->turns.size(); ++i) {
    const auto& turn = parsed->turns[i];
    if (turn.is_answer != (i % 2 == 1)) std::abort();
    if (turn.is_answer ? !turn.content.is_string() : turn.content.empty()) std::abort();
  }
  return 0;
}
