#pragma once

#include <cstdint>
#include <string>

#include "core/clock.h"
#include "io/tensor_source.h"
#include "qvl/engine.h"

namespace qvl {

/// What is shown while weights load: on a terminal one line on the standard error, rewritten ten
/// times a second, otherwise nothing.
///
///   LoadBar bar(*model->weights, *config);
///   Result<std::unique_ptr<Engine>> engine = make_engine(*model, *config);
///   bar.finish();
class LoadBar {
 public:
  /// Sets config.load_progress; the bar must live while the engine loads.
  LoadBar(const TensorSource& weights, EngineConfig& config);
  LoadBar(const LoadBar&) = delete;
  LoadBar& operator=(const LoadBar&) = delete;
  /// Wipes the line.
  void finish();

 private:
  void update(double fraction);

  int64_t total_bytes_ = 0;
  Stopwatch clock_;
  double shown_ms_ = -1;  ///< when the line was last written; -1: never
};

/// "loading  42 %  1.79 of 4.26 GB  2.10 GB/s  2 s left". Speed and time left appear after the
/// first quarter of a second.
std::string load_bar_text(double fraction, int64_t total_bytes, double seconds);

}  // namespace qvl
