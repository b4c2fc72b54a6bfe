#include "cli/serve_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/serve_flag_table.h"

namespace qvl {
namespace {

const char* type_name(FlagKind kind) {
  switch (kind) {
    case FlagKind::integer:
    case FlagKind::count:
      return "N";
    case FlagKind::number:
      return "X";
    case FlagKind::size:
      return "SIZE";
    case FlagKind::list:
      return "TEXT ...";
    case FlagKind::json:
      return "JSON";
    case FlagKind::boolean:
    case FlagKind::text:
    case FlagKind::choice:
      return "TEXT";
  }
  return "";
}

/// As --help shows it; empty if a flag left out stands for nothing.
std::string default_text(const ServeFlag& flag) {
  const ServeFlags initial;
  if (const auto* text = std::get_if<std::string ServeFlags::*>(&flag.field)) {
    return initial.**text;
  }
  if (const auto* whole = std::get_if<int64_t ServeFlags::*>(&flag.field)) {
    return initial.**whole == 0 ? "" : fmt::format("{}", initial.**whole);
  }
  if (const auto* real = std::get_if<double ServeFlags::*>(&flag.field)) {
    return initial.**real == 0 ? "" : fmt::format("{}", initial.**real);
  }
  return "";
}

void declare(CLI::App& app, const ServeFlag& flag, ServeFlags& flags) {
  const auto set = [&flags, &flag](const std::vector<std::string>& values) {
    const Status status = set_serve_flag(flags, flag, values);
    if (!status) throw CLI::ValidationError(flag.name, status.error().detail);
  };
  if (const auto* field = std::get_if<bool ServeFlags::*>(&flag.field)) {
    app.add_flag(flag.name, flags.**field, flag.text);
    return;
  }
  const std::string name = flag.name == "--model" ? "model,--model" : flag.name;
  CLI::Option& option = *app.add_option_function<std::vector<std::string>>(name, set, flag.text);
  option.expected(1)->allow_extra_args(false)->type_name(type_name(flag.kind));
  if (flag.kind == FlagKind::list) option.take_all();
  if (flag.kind == FlagKind::choice) {
    std::string values = flag.values;
    std::replace(values.begin(), values.end(), '|', ',');
    option.type_name("{" + values + "}");
  }
  if (const std::string initial = default_text(flag); !initial.empty()) {
    option.default_str(initial);
  }
}

}  // namespace

void add_serve_flags(CLI::App& app, ServeFlags& flags) {
  add_engine_flags(app, flags.engine);
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment != Treatment::honour) continue;
    if (app.get_option_no_throw(flag.name) == nullptr) declare(app, flag, flags);
    app.get_option(flag.name)->group(flag.group);
  }
  app.footer(
      "vLLM's other flags are taken, too: those that make no difference in silence, others with a "
      "line that says why they have no effect.");
}

Result<int64_t> memory_cap(const ServeFlags& flags, int64_t total_bytes) {
  int64_t cap = 0;
  if (!flags.engine.memory.empty()) {
    const Result<int64_t> bytes = parse_size(flags.engine.memory, "--memory");
    if (!bytes) return bytes.error();
    cap = *bytes;
  }
  if (flags.gpu_memory_utilization > 0) {
    const auto share = static_cast<int64_t>(
        std::floor(flags.gpu_memory_utilization * static_cast<double>(total_bytes)));
    cap = cap == 0 ? share : std::min(cap, share);
  }
  return cap;
}

}  // namespace qvl
