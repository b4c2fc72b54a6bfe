#pragma once

/// Settings from the environment. Every option of every command can be set as QVL_<FLAG>; names
/// that other programs use for the same thing stand in one table. A flag on the command line wins.

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace qvl {

/// --max-model-len → QVL_MAX_MODEL_LEN
std::string environment_name(const std::string& flag);

/// The variable to read for a flag: its own, or a foreign name that is set.
std::string environment_variable(const std::string& flag);

/// Lets the options of the command that will run be set from the environment; to be called when all
/// commands are declared. Other commands' options are left alone, so that a setting for one does
/// not break another.
void read_environment(CLI::App& root);

struct Setting {
  std::string name;
  std::string value;      ///< "(set)" instead of a key
  bool is_known = false;  ///< some command has the option; otherwise a typing error is likely
};

/// What of this the environment holds, by name: all QVL_… and the foreign names of the table.
std::vector<Setting> environment_settings(const CLI::App& root);

}  // namespace qvl
