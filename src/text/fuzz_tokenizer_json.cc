#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "text/tokenizer.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const qvl::Result<qvl::Tokenizer> tokenizer = qvl::Tokenizer::parse(input);
  if (!tokenizer) {
    if (tokenizer.error().message().empty()) std::abort();
    return 0;
  }
  // The file itself is as good a text as any.
  for (const qvl::Origin origin : {qvl::Origin::template_text, qvl::Origin::user}) {
    for (const int32_t id : tokenizer->encode(input, origin)) {
      if (id < 0 || id >= tokenizer->size() || tokenizer->bytes(id).empty()) std::abort();
    }
  }
  return 0;
}
