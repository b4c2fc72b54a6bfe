#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include "io/dummy.h"
#include "io/file_writer.h"
#include "io/json.h"
#include "io/mapped_file.h"

namespace qvl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxTextBytes = size_t{64} << 20;
constexpr int64_t kChunkBytes = int64_t{1} << 20;

struct TextFile {
  std::string name;
  std::string text;
};

json processor_json(const ModelConfig& config, int64_t min_pixels, int64_t max_pixels) {
  const VisionConfig& vision = config.vision;
  return {
      {"image_mean", {0.5, 0.5, 0.5}},
      {"image_std", {0.5, 0.5, 0.5}},
      {"merge_size", vision.spatial_merge_size},
      {"patch_size", vision.patch_size},
      {"processor_class", "Qwen3VLProcessor"},
      {"size", {{"longest_edge", max_pixels}, {"shortest_edge", min_pixels}}},
      {"temporal_patch_size", vision.temporal_patch_size},
  };
}

std::vector<TextFile> config_files(const ModelConfig& config, Variant variant) {
  json image = processor_json(config, 65'536, 16'777'216);
  image["image_processor_type"] = "Qwen2VLImageProcessorFast";
  json video = processor_json(config, 4096, 25'165'824);
  video["video_processor_type"] = "Qwen3VLVideoProcessor";
  const bool is_thinking = variant == Variant::thinking;
  const json generation = {
      {"bos_token_id", 151'643},
      {"do_sample", true},
      {"eos_token_id", {151'645, 151'643}},
      {"pad_token_id", 151'643},
      {"repetition_penalty", 1.0},
      {"temperature", is_thinking ? 1.0 : 0.7},
      {"top_k", 20},
      {"top_p", is_thinking ? 0.95 : 0.8},
  };
  const json tokenizer = {
      {"bos_token", nullptr},
      {"eos_token", "<|im_end|>"},
      {"model_max_length", config.text.max_position_embeddings},
      {"pad_token", "<|endoftext|>"},
      {"tokenizer_class", "Qwen2Tokenizer"},
  };
  return {
      {"config.json", model_config_json(config)},
      {"preprocessor_config.json", image.dump(4) + "\n"},
      {"video_preprocessor_config.json", video.dump(4) + "\n"},
      {"generation_config.json", generation.dump(4) + "\n"},
      {"tokenizer_config.json", tokenizer.dump(4) + "\n"},
  };
}

std::string header_text(const std::vector<const TensorInfo*>& tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  int64_t offset = 0;
  for (const TensorInfo* tensor : tensors) {
    const int64_t end = offset + tensor->elements() * dtype_bytes(tensor->dtype);
    header[tensor->name] = {{"dtype", dtype_name(tensor->dtype)},
                            {"shape", tensor->shape},
                            {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data begins aligned
  return text;
}

Status write_tensor(const TensorSource& source, const TensorInfo& tensor,
                    std::vector<std::byte>& scratch, FileWriter& file) {
  const int64_t row_bytes = tensor.cols() * dtype_bytes(tensor.dtype);
  const int64_t rows_per_chunk = std::max<int64_t>(1, kChunkBytes / row_bytes);
  for (int64_t first = 0; first < tensor.rows(); first += rows_per_chunk) {
    const int64_t count = std::min(rows_per_chunk, tensor.rows() - first);
    const auto bytes = static_cast<size_t>(count * row_bytes);
    if (scratch.size() < bytes) scratch.resize(bytes);
    const void* const data = source.rows(tensor, first, count, scratch.data());
    if (Status status = file.write({static_cast<const std::byte*>(data), bytes}); !status) {
      return status;
    }
  }
  return {};
}

Status write_weights(const ModelConfig& config, const std::string& path) {
  const std::unique_ptr<TensorSource> source = make_dummy_source(config);
  const std::vector<const TensorInfo*> tensors = source->tensors();
  const std::string header = header_text(tensors);
  std::array<std::byte, 8> length{};
  for (size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<std::byte>(uint64_t{header.size()} >> (8 * i));
  }

  Result<FileWriter> file = FileWriter::create(path);
  if (!file) return file.error();
  if (Status status = file->write(length); !status) return status;
  if (Status status = file->write(std::as_bytes(std::span(header))); !status) return status;
  std::vector<std::byte> scratch;
  for (const TensorInfo* tensor : tensors) {
    if (Status status = write_tensor(*source, *tensor, scratch, *file); !status) return status;
  }
  return file->commit();
}

}  // namespace

Status write_dummy_checkpoint(const ModelConfig& config, const std::string& text_folder,
                              const std::string& folder, Variant variant) {
  // Everything that can fail early does so before gigabytes are written.
  std::vector<TextFile> files = config_files(config, variant);
  for (const char* name : {"tokenizer.json", "chat_template.jinja"}) {
    Result<std::string> text = read_file((fs::path(text_folder) / name).string(), kMaxTextBytes);
    if (!text) return text.error();
    files.push_back({name, *std::move(text)});
  }
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) return Error{ErrorCode::write_failed, code.message(), folder};
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if (fs::exists(fs::path(folder) / name, code)) {
      return Error{ErrorCode::write_failed,
                   fmt::format("found {} there, expected a folder without a model", name), folder};
    }
  }
  for (const TextFile& file : files) {
    if (Status status = write_file((fs::path(folder) / file.name).string(), file.text); !status) {
      return status;
    }
  }
  // Last: a folder with weights is complete.
  return write_weights(config, (fs::path(folder) / "model.safetensors").string());
}

}  // namespace qvl
