#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "text/detokenizer.h"
#include "text/unicode.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const qvl::Result<qvl::Tokenizer> tokenizer =
      qvl::Tokenizer::load(QVL_SOURCE_DIR "/models/qwen3-vl-tokenizer/tokenizer.json");
  if (!tokenizer) std::abort();
  using Special = qvl::Detokenizer::Special;
  for (const Special special : {Special::keep, Special::skip}) {
    qvl::Detokenizer detokenizer(*tokenizer, special);
    std::string streamed;
    std::string bytes;
    for (size_t i = 0; i + 3 <= size; i += 3) {
      // Three bytes an id; ids without a token and negative ones come up too.
      const int32_t id = (data[i] | data[i + 1] << 8 | data[i + 2] << 16) - 1000;
      const std::string step = detokenizer.push(id);
      if (!qvl::is_valid_utf8(step)) std::abort();
      streamed += step;
      if (special == Special::keep || !tokenizer->is_special(id)) bytes += tokenizer->bytes(id);
    }
    streamed += detokenizer.finish();
    if (streamed != qvl::replace_invalid_utf8(bytes)) std::abort();
  }
  return 0;
}
