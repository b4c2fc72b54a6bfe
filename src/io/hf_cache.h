#pragma once

/// Models that Hugging Face's tools have downloaded: the cache folder as huggingface_hub lays it
/// out,
///
///   <hub>/models--org--name/refs/main                    the commit that "main" was
///   <hub>/models--org--name/snapshots/<commit>/…         links into blobs/
///   <hub>/models--org--name/blobs/<hash>[.incomplete]    the files, and what a download left
///   behind
///
/// Nothing here downloads or writes.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/function_ref.h"
#include "qvl/result.h"

namespace qvl {

/// A model's name on the Hub: "org/name" or "name", with "@revision" behind it if one is meant.
struct HfId {
  std::string org;  ///< empty: any
  std::string name;
  std::string revision;  ///< branch, tag or commit; empty: main

  /// Without the revision.
  std::string text() const { return org.empty() ? name : org + "/" + name; }
};

/// Nothing if `text` is no id by the Hub's rules: letters, digits, "-", "_" and ".", no "--" and no
/// "..", neither "." nor "-" at an end. Paths such as "/a/b", "./a", "../a" and "a/b/c" are none.
std::optional<HfId> parse_hf_id(std::string_view text);

/// The value of an environment variable, or null.
using Environment = FunctionRef<const char*(const char* name)>;

/// The folder of the cache: HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else HF_HOME/hub, else
/// XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.
std::string hf_hub_folder(Environment environment);
/// In the environment of this process.
std::string hf_hub_folder();

struct HfSnapshot {
  std::string id;      ///< as the cache spells it: "Qwen/Qwen3-VL-2B-Instruct"
  std::string commit;  ///< name of the snapshot's folder
  std::string folder;
};

/// The snapshot of `id` in the cache `hub`; org and name match whatever their case, a name without
/// an org matches if exactly one org has it. Without a revision: what refs/main says, else the only
/// snapshot there is. Errors model_not_found and model_incomplete give the command that fetches
/// what is missing; bad_flag if the id is ambiguous.
Result<HfSnapshot> find_in_hf_cache(const std::string& hub, const HfId& id);

struct HfCachedModel {
  HfSnapshot snapshot;
  std::string problem;  ///< why it cannot be used; empty if it is complete
};

/// Every cached model whose config.json says Qwen3-VL, in the order of their ids.
std::vector<HfCachedModel> list_hf_cache(const std::string& hub);

}  // namespace qvl
