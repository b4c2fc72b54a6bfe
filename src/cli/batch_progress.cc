#include "cli/batch_progress.h"

#include <fmt/format.h>

#include <cmath>

namespace qvl {
namespace {

std::string errors_text(int64_t errors) {
  return fmt::format("{} error{}", errors, errors == 1 ? "" : "s");
}

double per_second(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

/// "0:42", "1:02:03"
std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(seconds));
  const int64_t minutes = whole / 60;
  if (minutes < 60) return fmt::format("{}:{:02}", minutes, whole % 60);
  return fmt::format("{}:{:02}:{:02}", minutes / 60, minutes % 60, whole % 60);
}

}  // namespace

std::string batch_progress_text(const BatchCounts& c, double seconds) {
  std::string text = fmt::format("{}/{} requests", c.done(), c.total);
  if (c.errors > 0) text += "  " + errors_text(c.errors);
  text += fmt::format("  {:.1f} tok/s", per_second(c.completion_tokens, seconds));
  const int64_t done_now = c.answered + c.errors;
  if (done_now == 0) return text;
  const auto left = static_cast<double>(c.total - c.done());
  return text +
         fmt::format("  {} left", clock_text(left * seconds / static_cast<double>(done_now)));
}

std::string batch_summary_text(const BatchCounts& c, double seconds) {
  std::string text = fmt::format("{} request{}: {} answered, {}", c.done(),
                                 c.done() == 1 ? "" : "s", c.answered, errors_text(c.errors));
  if (c.skipped > 0) text += fmt::format(", {} done before", c.skipped);
  return text + fmt::format("; {} tokens of prompt, {} of answer in {:.1f} s, {:.1f} tok/s",
                            c.prompt_tokens, c.completion_tokens, seconds,
                            per_second(c.completion_tokens, seconds));
}

}  // namespace qvl
