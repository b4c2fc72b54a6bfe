#include "model/model_files.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "io/checkpoint.h"
#include "io/dummy.h"
#include "io/hf_cache.h"
#include "io/mapped_file.h"
#include "io/model_tensors.h"

namespace qvl {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMaxConfigBytes = 4U << 20;

Error in_file(const Error& error, const std::string& path) {
  return {error.code, error.detail, error.field.empty() ? path : error.field};
}

/// The published video processor's class defaults, for a folder without the file.
constexpr int64_t kVideoMinPixels = int64_t{128} * 32 * 32;
constexpr int64_t kVideoMaxPixels = int64_t{768} * 32 * 32;

/// Reads folder/name into `config`; an absent file leaves it as it is.
template <class Config>
Status read_optional(const std::string& folder, const char* name,
                     Result<Config> (*parse)(std::string_view), Config& config) {
  const std::string path = folder + "/" + name;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  const Result<std::string> text = read_file(path, kMaxConfigBytes);
  if (!text) return in_file(text.error(), path);
  Result<Config> parsed = parse(*text);
  if (!parsed) return in_file(parsed.error(), path);
  config = *parsed;
  return {};
}

Status check_patches(const ProcessorConfig& processor, const VisionConfig& vision,
                     const std::string& path) {
  if (processor.patch_size == vision.patch_size &&
      processor.merge_size == vision.spatial_merge_size &&
      processor.temporal_patch_size == vision.temporal_patch_size) {
    return {};
  }
  return Error{ErrorCode::bad_config,
               fmt::format("patches of {}×{}×{} merged by {}, but the model's are {}×{}×{} by {}",
                           processor.temporal_patch_size, processor.patch_size,
                           processor.patch_size, processor.merge_size, vision.temporal_patch_size,
                           vision.patch_size, vision.patch_size, vision.spatial_merge_size),
               path};
}

Result<ModelFiles> open_preset(const std::string& preset) {
  Result<ModelConfig> config = preset_config(preset);
  if (!config) return config.error();
  const Result<std::string> data = data_folder();
  if (!data) return data.error();
  ModelFiles files;
  files.name = preset + " (random weights)";
  files.text_folder = *data + "/" + text_folder_name(preset_variant(preset));
  files.config = *config;
  files.generation.eos_token_ids = {151645, 151643};
  files.video_processor.min_pixels = 4096;
  files.video_processor.max_pixels = 25'165'824;
  Result<std::unique_ptr<TensorSource>> weights =
      model_tensors(make_dummy_source(*config), *config);
  if (!weights) return weights.error();
  files.weights = *std::move(weights);
  return files;
}

}  // namespace

std::string text_folder_name(Variant variant) {
  return variant == Variant::thinking ? "qwen3-vl-thinking" : "qwen3-vl-tokenizer";
}

Result<std::string> data_folder() {
  if (const char* set = std::getenv("QVL_DATA_DIR"); set != nullptr && *set != '\0')
    return std::string(set);
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    fs::path folder = program.parent_path();
    for (int up = 0; up < 5; ++up, folder = folder.parent_path()) {
      for (const fs::path& candidate : {folder / "models", folder / "share" / "qvl"}) {
        if (fs::exists(candidate / "qwen3-vl-tokenizer" / "tokenizer.json", error))
          return candidate.string();
      }
    }
  }
  return Error{ErrorCode::file_not_found,
               "the data that ships with qvl was not found beside the program; QVL_DATA_DIR may "
               "name its folder",
               ""};
}

Result<ModelFolder> find_model(const std::string& model) {
  std::error_code ignored;
  if (fs::is_directory(model, ignored)) {
    const fs::path path = fs::absolute(model, ignored).lexically_normal();
    return ModelFolder{
        (path.has_filename() ? path.filename() : path.parent_path().filename()).string(), model};
  }
  if (preset_config(model)) {
    return Error{
        ErrorCode::file_not_found,
        "'" + model + "' is a preset; add --load-format dummy for random weights of its shape", ""};
  }
  const std::optional<HfId> id = parse_hf_id(model);
  if (!id || fs::exists(model, ignored)) {
    return Error{ErrorCode::file_not_found,
                 "expected a checkpoint folder or an id such as Qwen/Qwen3-VL-2B-Instruct", model};
  }
  const Result<HfSnapshot> snapshot = find_in_hf_cache(hf_hub_folder(), *id);
  if (!snapshot) return snapshot.error();
  return ModelFolder{snapshot->id, snapshot->folder};
}

Result<ModelFiles> open_model(const std::string& model, LoadFormat format) {
  if (format == LoadFormat::dummy) return open_preset(model);
  const Result<ModelFolder> found = find_model(model);
  if (!found) return found.error();
  const std::string& folder = found->folder;
  ModelFiles files;
  files.name = found->name;
  files.text_folder = folder;
  const std::string config_path = folder + "/config.json";
  const Result<std::string> text = read_file(config_path, kMaxConfigBytes);
  if (!text) return in_file(text.error(), config_path);
  Result<ModelConfig> config = parse_model_config(*text);
  if (!config) return in_file(config.error(), config_path);
  files.config = *config;

  files.video_processor.min_pixels = kVideoMinPixels;
  files.video_processor.max_pixels = kVideoMaxPixels;
  for (const Status& read :
       {read_optional(folder, "generation_config.json", parse_generation_config, files.generation),
        read_optional(folder, "preprocessor_config.json", parse_image_processor,
                      files.image_processor),
        read_optional(folder, "video_preprocessor_config.json", parse_video_processor,
                      files.video_processor),
        check_patches(files.image_processor, files.config.vision,
                      folder + "/preprocessor_config.json"),
        check_patches(files.video_processor, files.config.vision,
                      folder + "/video_preprocessor_config.json")}) {
    if (!read) return read.error();
  }
  Result<std::unique_ptr<TensorSource>> weights = open_checkpoint(folder);
  if (!weights) return in_file(weights.error(), folder);
  weights = model_tensors(std::move(*weights), files.config);
  if (!weights) return in_file(weights.error(), folder);
  files.weights = std::move(*weights);
  return files;
}

}  // namespace qvl
