/// Puts a reference model together from a complete one and its own tensors.
///
///   assemble_golden BASE OWN OUT
///
/// OUT becomes a checkpoint folder of two shards: OWN/own.safetensors, and the tensors of BASE that
/// OWN/shared_tensors.txt names. Other files are OWN's, or else BASE's.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/check.h"
#include "io/mapped_file.h"
#include "io/safetensors.h"

namespace {

namespace fs = std::filesystem;
using qvl::MappedFile;
using qvl::SafetensorsEntry;

struct Shard {
  MappedFile file;
  std::vector<SafetensorsEntry> entries;
};

Shard open_shard(const fs::path& path) {
  auto file = MappedFile::open(path.string());
  qvl::require(static_cast<bool>(file), "cannot open a shard");
  auto entries = qvl::parse_safetensors_header(file->bytes(), file->bytes().size());
  qvl::require(static_cast<bool>(entries), "cannot read a shard's header");
  return {std::move(*file), std::move(*entries)};
}

std::set<std::string> read_lines(const fs::path& path) {
  std::ifstream in(path);
  std::set<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

/// Writes the named tensors of `shard`; returns how many there were.
size_t write_subset(const Shard& shard, const std::set<std::string>& names, const fs::path& path) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const SafetensorsEntry& entry : shard.entries) {
    if (!names.contains(entry.info.name)) continue;
    const size_t begin = data.size();
    const auto* const bytes = reinterpret_cast<const char*>(shard.file.bytes().data());
    data.append(bytes + entry.begin, bytes + entry.end);
    header[entry.info.name] = {{"dtype", dtype_name(entry.info.dtype)},
                               {"shape", entry.info.shape},
                               {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  std::ofstream out(path, std::ios::binary);
  for (size_t i = 0; i < 8; ++i) out.put(static_cast<char>(text.size() >> (8 * i) & 255));
  out << text << data;
  return header.size();
}

void link_files(const fs::path& from, const fs::path& to) {
  for (const auto& file : fs::directory_iterator(from)) {
    const fs::path name = file.path().filename();
    if (name.extension() == ".safetensors" || name.extension() == ".txt") continue;
    if (fs::is_symlink(to / name)) continue;
    if (fs::is_directory(file) && name != "cases") continue;
    fs::create_symlink(fs::absolute(file.path()), to / name);
  }
}

int assemble(const fs::path& base, const fs::path& own, const fs::path& out) {
  fs::remove_all(out);
  fs::create_directories(out);
  const std::set<std::string> shared = read_lines(own / "shared_tensors.txt");
  const size_t found =
      write_subset(open_shard(base / "model.safetensors"), shared, out / "shared.safetensors");
  if (found != shared.size()) {
    std::fprintf(stderr, "assemble_golden: %zu of %zu shared tensors found\n", found,
                 shared.size());
    return 1;
  }
  fs::create_symlink(fs::absolute(own / "own.safetensors"), out / "own.safetensors");
  nlohmann::json map;
  for (const std::string& name : shared) map[name] = "shared.safetensors";
  for (const SafetensorsEntry& entry : open_shard(own / "own.safetensors").entries) {
    map[entry.info.name] = "own.safetensors";
  }
  std::ofstream(out / "model.safetensors.index.json") << nlohmann::json{{"weight_map", map}};
  link_files(own, out);
  link_files(base, out);
  const fs::path media = out.parent_path() / "media";
  if (!fs::exists(media))
    fs::create_directory_symlink(fs::absolute(base.parent_path() / "media"), media);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4) return assemble(argv[1], argv[2], argv[3]);
  std::fprintf(stderr, "usage: assemble_golden BASE OWN OUT\n");
  return 1;
}
