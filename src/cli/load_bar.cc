#include "cli/load_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace qvl {

std::string load_bar_text(double fraction, int64_t total_bytes, double seconds) {
  constexpr double kFirstEstimate = 0.25;
  const double done = std::clamp(fraction, 0.0, 1.0);
  const double total_gb = static_cast<double>(total_bytes) / 1e9;
  std::string text = fmt::format("loading {:3.0f} %  {:.2f} of {:.2f} GB", std::floor(100 * done),
                                 done * total_gb, total_gb);
  if (seconds < kFirstEstimate || done <= 0) return text;
  return text + fmt::format("  {:.2f} GB/s  {:.0f} s left", done * total_gb / seconds,
                            std::ceil(seconds * (1 - done) / done));
}

LoadBar::LoadBar(const TensorSource& weights, EngineConfig& config) {
  if (isatty(STDERR_FILENO) == 0) return;
  for (const TensorInfo* tensor : weights.tensors()) {
    total_bytes_ += tensor->elements() * dtype_bytes(tensor->dtype);
  }
  config.load_progress = [this](double fraction) { update(fraction); };
}

void LoadBar::update(double fraction) {
  constexpr double kBetweenMs = 100;
  const double now = clock_.ms();
  if (shown_ms_ >= 0 && now - shown_ms_ < kBetweenMs) return;
  shown_ms_ = now;
  fmt::print(stderr, "\r{}\x1b[K", load_bar_text(fraction, total_bytes_, now / 1000));
  std::fflush(stderr);
}

void LoadBar::finish() {
  if (shown_ms_ >= 0) fmt::print(stderr, "\r\x1b[K");
}

}  // namespace qvl
