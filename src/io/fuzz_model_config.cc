/// Foreign config.json files: what is accepted survives being written and read again.

#include "core/check.h"
#include "io/dummy.h"
#include "io/model_config.h"

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = qvl::parse_model_config({reinterpret_cast<const char*>(data), size});
  if (!config) {
    qvl::require(!config.error().message().empty(), "an error without a message");
    return 0;
  }
  const std::string written = qvl::model_config_json(*config);
  const auto again = qvl::parse_model_config(written);
  qvl::require(static_cast<bool>(again), "a written config that cannot be read");
  qvl::require(qvl::model_config_json(*again) == written, "a config that changes when read again");
  int64_t elements = 0;
  for (const qvl::TensorInfo& tensor : qvl::expected_tensors(*config)) {
    elements += tensor.elements();
    qvl::require(tensor.elements() > 0 && elements > 0, "sizes that overflow");
  }
  return 0;
}
