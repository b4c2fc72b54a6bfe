#include "io/hf_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <system_error>

#include "io/json.h"
#include "io/mapped_file.h"

namespace qvl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxIdBytes = 96;  // of an org and of a name, as the Hub's
constexpr size_t kMaxRevisionBytes = 200;
constexpr size_t kMaxRefBytes = 256;
constexpr size_t kMaxConfigBytes = size_t{4} << 20;
constexpr size_t kMaxIndexBytes = size_t{64} << 20;
constexpr std::string_view kModelPrefix = "models--";

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_but_for_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

bool is_id_part(std::string_view text) {
  const auto is_allowed = [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '_' || c == '.';
  };
  const auto is_edge = [](char c) { return is_alphanumeric(c) || c == '_'; };
  return !text.empty() && text.size() <= kMaxIdBytes && is_edge(text.front()) &&
         is_edge(text.back()) && std::all_of(text.begin(), text.end(), is_allowed) &&
         text.find("--") == std::string_view::npos && text.find("..") == std::string_view::npos;
}

/// A branch, tag or commit: path components that stay below refs/ or snapshots/.
bool is_revision(std::string_view text) {
  if (text.empty() || text.size() > kMaxRevisionBytes) return false;
  while (true) {
    const size_t slash = text.find('/');
    const std::string_view part = text.substr(0, slash);
    const bool is_plain = std::all_of(part.begin(), part.end(), [](char c) {
      return is_alphanumeric(c) || c == '-' || c == '_' || c == '.' || c == '+';
    });
    if (part.empty() || part.front() == '.' || !is_plain) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

/// The names in a folder, sorted; none if it cannot be read.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_there(const fs::path& path) {  // follows links: a link to a missing blob is no file
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// "models--Qwen--Qwen3-VL-2B-Instruct" → the id; nothing for other folders.
std::optional<HfId> id_of_folder(std::string_view name) {
  if (!name.starts_with(kModelPrefix)) return {};
  name.remove_prefix(kModelPrefix.size());
  HfId id;
  if (const size_t dashes = name.find("--"); dashes != std::string_view::npos) {
    id.org = name.substr(0, dashes);
    if (!is_id_part(id.org)) return {};
    name.remove_prefix(dashes + 2);
  }
  if (!is_id_part(name)) return {};
  id.name = name;
  return id;
}

/// The command that fetches a model, or what is missing of it.
std::string fetch_command(const HfId& id) {
  const std::string name = id.org.empty() ? "ORG/" + id.name : id.text();
  return fmt::format("`hf download {}{}{}`", name, id.revision.empty() ? "" : " --revision ",
                     id.revision);
}

Error not_found(const std::string& hub, const HfId& id) {
  return {ErrorCode::model_not_found,
          fmt::format("found neither a folder of this name nor the model in {}; {} fetches it", hub,
                      fetch_command(id)),
          id.text()};
}

/// The files of weights that the snapshot's index names and that are not there.
std::vector<std::string> missing_shards(const fs::path& folder) {
  const Result<std::string> text =
      read_file((folder / "model.safetensors.index.json").string(), kMaxIndexBytes);
  if (!text) return {};
  const Result<json> index =
      parse_json(*text, {.max_bytes = kMaxIndexBytes, .max_values = 1'000'000});
  if (!index || !index->is_object()) return {};  // open_checkpoint says what is wrong with it
  const auto map = index->find("weight_map");
  if (map == index->end() || !map->is_object()) return {};
  std::set<std::string> missing;
  for (const json& file : *map) {
    const auto* name = file.get_ptr<const json::string_t*>();
    if (name != nullptr && name->find('/') == std::string::npos && !is_there(folder / *name)) {
      missing.insert(*name);
    }
  }
  return {missing.begin(), missing.end()};
}

/// What a snapshot lacks to be used; empty if nothing.
std::string find_gap(const fs::path& model, const fs::path& folder) {
  std::vector<std::string> missing;
  for (const char* name : {"config.json", "tokenizer.json"}) {
    if (!is_there(folder / name)) missing.emplace_back(name);
  }
  if (!is_there(folder / "model.safetensors")) {
    if (is_there(folder / "model.safetensors.index.json")) {
      const std::vector<std::string> shards = missing_shards(folder);
      missing.insert(missing.end(), shards.begin(), shards.end());
    } else {
      missing.emplace_back("model.safetensors or its index");
    }
  }
  if (missing.empty()) return "";
  constexpr size_t kNamed = 2;
  std::string gap = fmt::format(
      "{}",
      fmt::join(missing.begin(),
                missing.begin() + static_cast<std::ptrdiff_t>(std::min(missing.size(), kNamed)),
                ", "));
  if (missing.size() > kNamed) gap += fmt::format(" and {} more", missing.size() - kNamed);
  gap += missing.size() > 1 ? " are missing" : " is missing";
  const std::vector<std::string> blobs = names_in(model / "blobs");
  const auto partial = std::count_if(blobs.begin(), blobs.end(), [](const std::string& name) {
    return name.ends_with(".incomplete");
  });
  if (partial > 0) gap += fmt::format("; an interrupted download left {} partial files", partial);
  return gap;
}

/// The commit a ref file names; empty if there is no usable one.
std::string read_ref(const fs::path& file) {
  const Result<std::string> text = read_file(file.string(), kMaxRefBytes);
  if (!text) return "";
  const size_t end = text->find_last_not_of(" \t\r\n");
  const std::string commit = end == std::string::npos ? "" : text->substr(0, end + 1);
  return is_revision(commit) && commit.find('/') == std::string::npos ? commit : "";
}

/// The folder name of the snapshot that `id` means.
Result<std::string> choose_snapshot(const fs::path& model, const HfId& id) {
  const auto has = [&](const std::string& commit) {
    return !commit.empty() && is_there(model / "snapshots" / commit);
  };
  const std::string ref = read_ref(model / "refs" / (id.revision.empty() ? "main" : id.revision));
  if (has(ref)) return ref;
  if (!id.revision.empty() && id.revision.find('/') == std::string::npos && has(id.revision)) {
    return id.revision;
  }
  const std::vector<std::string> all = names_in(model / "snapshots");
  if (id.revision.empty() && all.size() == 1) return all[0];
  const std::string what = id.revision.empty() ? "main" : id.revision;
  if (all.empty()) {
    return Error{ErrorCode::model_incomplete,
                 fmt::format("no snapshot is there yet; {} fetches it", fetch_command(id)),
                 id.text()};
  }
  return Error{
      ErrorCode::model_not_found,
      fmt::format("found no revision {}, only {}; name one as {}@{}, or {} fetches it",
                  in_quotes(what), fmt::join(all, ", "), id.text(), all[0], fetch_command(id)),
      id.text()};
}

struct CachedModel {
  HfId id;
  fs::path folder;
};

std::vector<CachedModel> cached_models(const std::string& hub) {
  std::vector<CachedModel> models;
  for (const std::string& name : names_in(hub)) {
    if (std::optional<HfId> id = id_of_folder(name)) {
      models.push_back({*std::move(id), fs::path(hub) / name});
    }
  }
  return models;
}

bool is_qwen3_vl(const fs::path& snapshot) {
  const Result<std::string> text = read_file((snapshot / "config.json").string(), kMaxConfigBytes);
  if (!text) return false;
  const Result<json> config = parse_json(*text);
  if (!config || !config->is_object()) return false;
  const auto type = config->find("model_type");
  return type != config->end() && (*type == "qwen3_vl" || *type == "qwen3_vl_moe");
}

}  // namespace

std::optional<HfId> parse_hf_id(std::string_view text) {
  HfId id;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    id.revision = text.substr(at + 1);
    if (!is_revision(id.revision)) return {};
    text = text.substr(0, at);
  }
  if (const size_t slash = text.find('/'); slash != std::string_view::npos) {
    id.org = text.substr(0, slash);
    if (!is_id_part(id.org)) return {};
    text.remove_prefix(slash + 1);
  }
  if (!is_id_part(text)) return {};
  id.name = text;
  return id;
}

std::string hf_hub_folder(Environment environment) {
  const auto value = [&](const char* name) {
    const char* const set = environment(name);
    return std::string(set == nullptr ? "" : set);
  };
  const std::string home = value("HOME");
  const auto expanded = [&](const std::string& path) {
    return path == "~" || path.starts_with("~/") ? home + path.substr(1) : path;
  };
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string set = value(name); !set.empty()) return expanded(set);
  }
  if (const std::string set = value("HF_HOME"); !set.empty()) return expanded(set) + "/hub";
  const std::string xdg = value("XDG_CACHE_HOME");
  return (xdg.empty() ? home + "/.cache" : expanded(xdg)) + "/huggingface/hub";
}

std::string hf_hub_folder() {
  return hf_hub_folder([](const char* name) -> const char* { return std::getenv(name); });
}

Result<HfSnapshot> find_in_hf_cache(const std::string& hub, const HfId& id) {
  std::vector<CachedModel> matches;
  for (CachedModel& model : cached_models(hub)) {
    if (!same_but_for_case(model.id.name, id.name)) continue;
    if (!id.org.empty() && !same_but_for_case(model.id.org, id.org)) continue;
    if (model.id.name == id.name && model.id.org == id.org) {  // the exact spelling wins
      matches = {std::move(model)};
      break;
    }
    matches.push_back(std::move(model));
  }
  if (matches.empty()) return not_found(hub, id);
  if (matches.size() > 1) {
    std::vector<std::string> names;
    names.reserve(matches.size());
    for (const CachedModel& model : matches) names.push_back(model.id.text());
    return Error{ErrorCode::bad_flag,
                 fmt::format("found {} in the cache, expected one of them", fmt::join(names, ", ")),
                 id.text()};
  }
  const CachedModel& model = matches[0];
  const HfId found{model.id.org, model.id.name, id.revision};
  const Result<std::string> commit = choose_snapshot(model.folder, found);
  if (!commit) return commit.error();
  const fs::path folder = model.folder / "snapshots" / *commit;
  if (const std::string gap = find_gap(model.folder, folder); !gap.empty()) {
    return Error{
        ErrorCode::model_incomplete,
        fmt::format("{} in {}; {} completes it", gap, folder.string(), fetch_command(found)),
        found.text()};
  }
  return HfSnapshot{found.text(), *commit, folder.string()};
}

std::vector<HfCachedModel> list_hf_cache(const std::string& hub) {
  std::vector<HfCachedModel> list;
  for (const CachedModel& model : cached_models(hub)) {
    const Result<std::string> commit = choose_snapshot(model.folder, model.id);
    if (!commit) continue;
    const fs::path folder = model.folder / "snapshots" / *commit;
    if (!is_qwen3_vl(folder)) continue;
    list.push_back({{model.id.text(), *commit, folder.string()}, find_gap(model.folder, folder)});
  }
  return list;
}

}  // namespace qvl
