#include "cli/serve_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/serve_flag_table.h"

namespace qvl {
namespace {

std::string range_text(const ServeFlag& flag) {
  return fmt::format("{} to {}", flag.min, flag.max);
}

Result<double> parse_number(const ServeFlag& flag, const std::string& text) {
  double value = 0;
  if (flag.kind == FlagKind::count || flag.kind == FlagKind::size) {
    const Result<int64_t> parsed =
        flag.kind == FlagKind::size ? parse_size(text, flag.name) : parse_count(text, flag.name);
    if (!parsed) return parsed.error();
    value = static_cast<double>(*parsed);
  } else {
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value);
    const bool is_whole = flag.kind != FlagKind::integer || value == std::floor(value);
    if (read.ec != std::errc() || read.ptr != end || !is_whole) value = std::nan("");
  }
  if (value >= flag.min && value <= flag.max) return value;
  const char* const what = flag.kind == FlagKind::number ? "number" : "whole number";
  return Error{ErrorCode::bad_flag,
               fmt::format("found '{}', expected a {}, {}", text, what, range_text(flag)),
               flag.name};
}

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

Status set_serve_flag(ServeFlags& flags, const ServeFlag& flag,
                      const std::vector<std::string>& values) {
  if (const auto* field = std::get_if<std::vector<std::string> ServeFlags::*>(&flag.field)) {
    flags.** field = values;
    return {};
  }
  if (values.size() != 1) {
    return Error{ErrorCode::bad_flag, fmt::format("found {} values, expected one", values.size()),
                 flag.name};
  }
  const std::string& value = values[0];
  if (flag.kind == FlagKind::choice && !is_one_of(value, flag.values)) {
    return Error{ErrorCode::bad_flag,
                 fmt::format("found '{}', expected one of {}", value, flag.values), flag.name};
  }
  if (const auto* field = std::get_if<bool ServeFlags::*>(&flag.field)) {
    flags.** field = value == "true";
  } else if (const auto* text_field = std::get_if<std::string ServeFlags::*>(&flag.field)) {
    flags.** text_field = value;
  } else if (const auto* engine_field = std::get_if<std::string EngineFlags::*>(&flag.field)) {
    flags.engine.** engine_field = value;
  } else if (const auto* set =
                 std::get_if<Status (*)(ServeFlags&, const std::string&)>(&flag.field)) {
    const Status status = (*set)(flags, value);
    if (!status) return Error{ErrorCode::bad_flag, status.error().detail, flag.name};
  } else if (!std::holds_alternative<std::monostate>(flag.field)) {
    const Result<double> number = parse_number(flag, value);
    if (!number) return number.error();
    if (const auto* whole = std::get_if<int64_t ServeFlags::*>(&flag.field)) {
      flags.** whole = static_cast<int64_t>(*number);
    } else if (const auto* real = std::get_if<double ServeFlags::*>(&flag.field)) {
      flags.** real = *number;
    }
  }
  return {};
}

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

Result<std::string> check_quantization(const ServeFlags& flags, const QuantizationConfig& found) {
  const std::string& wanted = flags.quantization;
  const auto is = [&](QuantMethod method) { return found.method == method; };
  if (wanted.empty()) return std::string();
  if (is(QuantMethod::none)) {
    return fmt::format(
        "--quantization {} has no effect: the checkpoint is not quantised, and weights are never "
        "quantised while they load",
        wanted);
  }
  if ((wanted == "awq" && is(QuantMethod::awq)) || (wanted == "gptq" && is(QuantMethod::gptq)) ||
      (wanted == "fp8" && is(QuantMethod::fp8)) ||
      (wanted == "compressed-tensors" && is(QuantMethod::compressed_tensors)) ||
      (wanted == "int8" && is(QuantMethod::compressed_tensors) && found.bits == 8)) {
    return std::string();
  }
  return Error{
      ErrorCode::bad_flag,
      fmt::format("found a checkpoint in {}, expected {}", quantization_text(found), wanted),
      "--quantization"};
}

}  // namespace qvl
