#pragma once

/// For tests: the processor of the tiny checkpoint, loaded once.

#include <cstdlib>
#include <string>

#include "model/processor.h"

namespace qvl {

inline const std::string kTinyModel = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
inline const std::string kTinyMedia = QVL_SOURCE_DIR "/tests/goldens/media/";

inline const Processor& tiny_processor() {
  static const Processor loaded = [] {
    const Result<ModelFiles> model = open_model(kTinyModel, LoadFormat::checkpoint);
    if (!model) std::abort();
    Result<Processor> made = Processor::load(*model, {});
    if (!made) std::abort();
    return std::move(*made);
  }();
  return loaded;
}

}  // namespace qvl
