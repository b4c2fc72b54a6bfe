#include "io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <span>
#include <system_error>
#include <tuple>
#include <utility>

#include "core/check.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "io/safetensors.h"

namespace qvl {
namespace {

using nlohmann::json;

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = size_t{64} << 20;
constexpr size_t kMaxIndexValues = 1'000'000;
constexpr size_t kMaxShards = 1024;

/// A tensor and where it lies. Every TensorInfo that a Checkpoint gives out is one of these.
struct StoredTensor : TensorInfo {
  size_t shard = 0;
  uint64_t begin = 0;
  std::string stored_name;
};

class Checkpoint final : public TensorSource {
 public:
  Checkpoint(std::vector<MappedFile> shards, std::vector<StoredTensor> tensors)
      : shards_(std::move(shards)), tensors_(std::move(tensors)) {}

  const TensorInfo* find(std::string_view name) const override {
    const auto at = std::lower_bound(
        tensors_.begin(), tensors_.end(), name,
        [](const StoredTensor& tensor, std::string_view key) { return tensor.name < key; });
    return at == tensors_.end() || at->name != name ? nullptr : &*at;
  }

  std::vector<const TensorInfo*> tensors() const override {
    std::vector<const TensorInfo*> all;
    all.reserve(tensors_.size());
    for (const StoredTensor& tensor : tensors_) all.push_back(&tensor);
    return all;
  }

  const void* rows(const TensorInfo& tensor, int64_t first, int64_t count,
                   void* scratch) const override {
    require(first >= 0 && count >= 0 && first <= tensor.rows() && count <= tensor.rows() - first,
            "rows outside the tensor");
    const auto& stored = static_cast<const StoredTensor&>(tensor);
    const auto element_bytes = static_cast<size_t>(dtype_bytes(tensor.dtype));
    const auto row_bytes = static_cast<size_t>(tensor.cols()) * element_bytes;
    const std::byte* const data = shards_[stored.shard].bytes().data() + stored.begin +
                                  static_cast<size_t>(first) * row_bytes;
    // The format does not promise alignment: a header of odd length shifts every tensor.
    if (reinterpret_cast<uintptr_t>(data) % element_bytes == 0) return data;
    std::memcpy(scratch, data, static_cast<size_t>(count) * row_bytes);
    return scratch;
  }

  void release(const TensorInfo& tensor, int64_t first, int64_t count) const override {
    const auto& stored = static_cast<const StoredTensor&>(tensor);
    const auto row_bytes = static_cast<size_t>(tensor.cols() * dtype_bytes(tensor.dtype));
    shards_[stored.shard].release(stored.begin + static_cast<size_t>(first) * row_bytes,
                                  static_cast<size_t>(count) * row_bytes);
  }

 private:
  const std::vector<MappedFile> shards_;
  const std::vector<StoredTensor> tensors_;  ///< sorted by name
};

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::string in_folder(const std::string& folder, std::string_view file) {
  return (std::filesystem::path(folder) / file).string();
}

/// The index is foreign: its names must not lead out of the folder.
bool is_plain_file_name(std::string_view name) {
  const bool is_printable = std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != '/' && c != '\\';
  });
  return is_printable && name.size() <= 255 && name.ends_with(".safetensors") &&
         !name.starts_with('.');
}

/// Adds the tensors of one file, and the file itself.
Status add_shard(const std::string& path, std::vector<MappedFile>& shards,
                 std::vector<StoredTensor>& tensors) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file) return file.error();
  Result<std::vector<SafetensorsEntry>> entries =
      parse_safetensors_header(file->bytes(), file->bytes().size());
  if (!entries) {
    Error error = entries.error();
    error.field = path;
    return error;
  }
  for (SafetensorsEntry& entry : *entries) {
    std::string stored_name = std::move(entry.info.name);
    entry.info.name = canonical_tensor_name(stored_name);
    tensors.push_back({std::move(entry.info), shards.size(), entry.begin, std::move(stored_name)});
  }
  shards.push_back(*std::move(file));
  return {};
}

/// The weight_map: which file holds which tensor, by the names of the files' own headers.
using WeightMap = std::vector<std::pair<std::string, std::string>>;

Result<WeightMap> read_index(const std::string& path) {
  const Result<std::string> text = read_file(path, kMaxIndexBytes);
  if (!text) return text.error();
  const Result<json> index =
      parse_json(*text, {.max_bytes = kMaxIndexBytes, .max_values = kMaxIndexValues});
  const auto bad = [&](std::string detail) {
    return Error{ErrorCode::bad_checkpoint, std::move(detail), path};
  };
  if (!index) return bad(index.error().detail);
  const auto found = index->find("weight_map");
  const auto* members = index->is_object() && found != index->end()
                            ? found->get_ptr<const json::object_t*>()
                            : nullptr;
  if (members == nullptr || members->empty()) {
    return bad("weight_map: expected an object of tensor names and file names");
  }
  WeightMap map;
  map.reserve(members->size());
  for (const auto& [name, file] : *members) {
    const auto* file_name = file.get_ptr<const json::string_t*>();
    if (file_name == nullptr || !is_plain_file_name(*file_name)) {
      return bad(fmt::format(
          "weight_map: {} is in {}, expected the name of a .safetensors file in the same folder",
          in_quotes(name), describe(file)));
    }
    map.emplace_back(name, *file_name);
  }
  return map;
}

/// Opens the shards that the index names and checks that they hold what it says.
Status add_shards(const std::string& folder, std::vector<MappedFile>& shards,
                  std::vector<StoredTensor>& tensors) {
  const std::string index_path = in_folder(folder, kIndexFile);
  const Result<WeightMap> map = read_index(index_path);
  if (!map) return map.error();

  std::vector<std::string> files;
  for (const auto& [name, file] : *map) files.push_back(file);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  if (files.size() > kMaxShards) {
    return Error{ErrorCode::bad_checkpoint,
                 fmt::format("found {} files, expected at most {}", files.size(), kMaxShards),
                 index_path};
  }

  std::vector<std::pair<std::string, std::string>> held;  // (name, file) as the headers say
  for (const std::string& file : files) {
    const size_t first = tensors.size();
    if (Status status = add_shard(in_folder(folder, file), shards, tensors); !status) {
      return status;
    }
    for (size_t i = first; i < tensors.size(); ++i) held.emplace_back(tensors[i].stored_name, file);
  }
  std::sort(held.begin(), held.end());
  for (const auto& place : *map) {
    if (!std::binary_search(held.begin(), held.end(), place)) {
      return Error{ErrorCode::missing_tensor,
                   fmt::format("the index places {} in {}, which does not hold it",
                               in_quotes(place.first), in_quotes(place.second)),
                   index_path};
    }
  }
  return {};
}

/// `text` without `prefix`, if it starts with it.
bool strip(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

struct Rename {
  std::string_view from;
  std::string_view to;
};

/// The first rule that matches the beginning of `text` rewrites it.
void rename_prefix(std::string& text, std::span<const Rename> rules) {
  for (const Rename& rule : rules) {
    if (!text.starts_with(rule.from)) continue;
    text.replace(0, rule.from.size(), rule.to);
    return;
  }
}

void erase_all(std::string& text, std::string_view part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
}

/// "merger.ln_q.weight", "deepstack_merger_list.0.mlp.2.bias": the older names of a merger's parts.
void rename_merger_part(std::string& name) {
  constexpr std::array kParts = {Rename{"ln_q.", "norm."}, Rename{"mlp.0.", "linear_fc1."},
                                 Rename{"mlp.2.", "linear_fc2."}};
  std::string_view rest = name;
  if (!strip(rest, "merger.")) {
    if (!strip(rest, "deepstack_merger_list.")) return;
    const size_t dot = rest.find('.');
    if (dot == std::string_view::npos) return;
    rest.remove_prefix(dot + 1);
  }
  std::string part(rest);
  rename_prefix(part, kParts);
  name.replace(name.size() - rest.size(), rest.size(), part);
}

/// The name of a vision tensor below "model.visual.".
void rename_vision(std::string& name) {
  constexpr std::array kLists = {Rename{"merger_list.", "deepstack_merger_list."}};
  constexpr std::string_view kOldQkv = ".attn.qkv_proj.";
  rename_prefix(name, kLists);
  rename_merger_part(name);
  if (!name.starts_with("blocks.")) return;
  if (const size_t at = name.find(kOldQkv); at != std::string::npos) {
    name.replace(at, kOldQkv.size(), ".attn.qkv.");
  }
}

}  // namespace

std::string canonical_tensor_name(std::string_view stored) {
  constexpr std::string_view kVision = "model.visual.";
  constexpr std::array kRoots = {
      Rename{"visual.", kVision},
      Rename{"vision_tower.", kVision},
      Rename{"model.vision_tower.", kVision},
      Rename{"language_model.model.", "model.language_model."},
      Rename{"language_model.lm_head.", "lm_head."},
      Rename{"model.lm_head.", "lm_head."},
      Rename{"model.layers.", "model.language_model.layers."},
      Rename{"model.embed_tokens.", "model.language_model.embed_tokens."},
      Rename{"model.norm.", "model.language_model.norm."},
  };
  std::string name(stored);
  erase_all(name, "_orig_mod.");  // what torch.compile adds, anywhere
  std::string_view rest = name;
  while (strip(rest, "base_model.model.") || strip(rest, "thinker.")) {
  }
  name.erase(0, name.size() - rest.size());
  rename_prefix(name, kRoots);
  if (name.starts_with(kVision)) {
    std::string part = name.substr(kVision.size());
    rename_vision(part);
    name.replace(kVision.size(), std::string::npos, part);
  }
  return name;
}

Result<std::unique_ptr<TensorSource>> open_checkpoint(const std::string& folder) {
  const std::string single = in_folder(folder, kSingleFile);
  std::vector<MappedFile> shards;
  std::vector<StoredTensor> tensors;
  Status status;
  if (exists(single)) {
    status = add_shard(single, shards, tensors);
  } else if (exists(in_folder(folder, kIndexFile))) {
    status = add_shards(folder, shards, tensors);
  } else {
    status = Error{ErrorCode::file_not_found,
                   fmt::format("found neither {} nor {}", kSingleFile, kIndexFile), folder};
  }
  if (!status) return status.error();

  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::tie(a.name, a.stored_name) < std::tie(b.name, b.stored_name);
  });
  const auto twin = std::adjacent_find(
      tensors.begin(), tensors.end(),
      [](const StoredTensor& a, const StoredTensor& b) { return a.name == b.name; });
  if (twin != tensors.end()) {
    return Error{ErrorCode::bad_checkpoint,
                 fmt::format("{} and {} are the same tensor, expected it once",
                             in_quotes(twin->stored_name), in_quotes((twin + 1)->stored_name)),
                 folder};
  }
  return std::unique_ptr<TensorSource>(
      std::make_unique<Checkpoint>(std::move(shards), std::move(tensors)));
}

}  // namespace qvl
