#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cli/yaml_config.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto settings =
      qvl::parse_yaml_settings({reinterpret_cast<const char*>(data), size}, "serve.yaml");
  if (!settings) {
    if (settings.error().message().empty()) std::abort();
    return 0;
  }
  for (const qvl::YamlSetting& setting : *settings) {
    if (setting.line < 1) std::abort();
  }
  return 0;
}
