#include "cli/environment.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <set>
#include <string_view>

namespace qvl {
namespace {

struct Alias {
  const char* foreign;
  const char* flag;
};

/// What other programs call it.
constexpr std::array kAliases = {
    Alias{"MAX_IMAGE_SIZE", "--max-image-size"},
    Alias{"QUANTIZE", "--quantization"},
    Alias{"ENABLE_SLIDING_WINDOW", "--enable-sliding-window"},
    Alias{"VLLM_API_KEY", "--api-key"},
};

/// Variables that are read elsewhere than as a flag.
constexpr std::array kOtherVariables = {"QVL_DATA_DIR"};

bool is_set(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value != nullptr && *value != '\0';
}

/// "--max-model-len"; empty for positional arguments and --help.
std::string flag_of(const CLI::App& app, const CLI::Option& option) {
  const bool is_setting = !option.get_lnames().empty() && &option != app.get_help_ptr() &&
                          &option != app.get_version_ptr();
  return is_setting ? "--" + option.get_lnames()[0] : "";
}

void collect_names(const CLI::App& app, std::set<std::string>& names) {
  for (const CLI::Option* option : app.get_options()) {
    if (const std::string flag = flag_of(app, *option); !flag.empty()) {
      names.insert(environment_name(flag));
    }
    if (!option->get_envname().empty()) names.insert(option->get_envname());
  }
  for (const CLI::App* command : app.get_subcommands({})) collect_names(*command, names);
}

}  // namespace

std::string environment_name(const std::string& flag) {
  std::string name = "QVL_" + flag.substr(2);
  for (char& c : name) {
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

std::string environment_variable(const std::string& flag) {
  std::string own = environment_name(flag);
  if (is_set(own)) return own;
  for (const Alias& alias : kAliases) {
    if (flag == alias.flag && is_set(alias.foreign)) return alias.foreign;
  }
  return own;
}

void read_environment(CLI::App& root) {
  for (CLI::App* const command : root.get_subcommands({})) {
    // Called when the command's name is met, before its arguments are read.
    command->preparse_callback([command](size_t) {
      for (CLI::Option* const option : command->get_options()) {
        const std::string flag = flag_of(*command, *option);
        if (!flag.empty()) option->envname(environment_variable(flag));
      }
    });
    read_environment(*command);
  }
}

std::vector<Setting> environment_settings(const CLI::App& root) {
  std::set<std::string> known(kOtherVariables.begin(), kOtherVariables.end());
  collect_names(root, known);
  for (const Alias& alias : kAliases) known.insert(alias.foreign);
  std::vector<Setting> settings;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string name(text.substr(0, equals));
    const bool is_known = known.contains(name);
    if (!is_known && !name.starts_with("QVL_")) continue;
    const bool is_secret = name.ends_with("_KEY");
    settings.push_back(
        {name, is_secret ? "(set)" : std::string(text.substr(equals + 1)), is_known});
  }
  std::sort(settings.begin(), settings.end(),
            [](const Setting& a, const Setting& b) { return a.name < b.name; });
  return settings;
}

}  // namespace qvl
