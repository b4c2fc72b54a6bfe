#include <fmt/format.h>

#include "cli/commands.h"
#include "io/dummy.h"
#include "model/model_files.h"

namespace qvl {
namespace {

int make_dummy(const std::string& preset, const std::string& folder) {
  const Result<ModelConfig> config = preset_config(preset);
  if (!config) return fail(config.error());
  const Result<std::string> data = data_folder();
  if (!data) return fail(data.error());
  const Variant variant = preset_variant(preset);
  const Status written =
      write_dummy_checkpoint(*config, *data + "/" + text_folder_name(variant), folder, variant);
  if (!written) return fail(written.error());
  fmt::print("{}: random weights of the {} shape\n", folder, preset);
  return kSuccess;
}

}  // namespace

void add_make_dummy(CLI::App& app, int& exit_code) {
  struct Flags {
    std::string preset;
    std::string folder;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App& dummy_app = *app.add_subcommand(
      "make-dummy", "write a checkpoint folder with random weights of a real shape");
  dummy_app
      .add_option("preset", flags->preset,
                  "2b, 4b, 8b, 32b, 30b-a3b or 235b-a22b, with or without -thinking; with -awq at "
                  "its end 4-bit text layers")
      ->required();
  dummy_app.add_option("folder", flags->folder, "where to write it")->required();
  dummy_app.callback([flags, &exit_code] { exit_code = make_dummy(flags->preset, flags->folder); });
}

}  // namespace qvl
