#include "parity/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace qvl {
namespace {

constexpr size_t kMaxCaseBytes = 64U << 20;

Error bad(const std::string& path, const std::string& detail) {
  return {ErrorCode::bad_reference, detail, path};
}

double number(const nlohmann::ordered_json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number() ? it->get<double>() : 0.0;
}

}  // namespace

Result<ReferenceTensors> ReferenceTensors::open(const std::string& path) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file) return file.error();
  ReferenceTensors out(std::move(*file));
  Result<std::vector<SafetensorsEntry>> entries =
      parse_safetensors_header(out.file_.bytes(), out.file_.bytes().size());
  if (!entries) return Error{entries.error().code, entries.error().detail, path};
  out.entries_ = std::move(*entries);
  for (const SafetensorsEntry& e : out.entries_) {
    const DType dtype = e.info.dtype;
    if ((dtype != DType::f32 && dtype != DType::i32 && dtype != DType::u8) ||
        e.info.shape.empty()) {
      return bad(path,
                 fmt::format("{} is a {} of rank {}, expected F32, I32 or U8 of rank 1 or more",
                             e.info.name, dtype_name(dtype), e.info.shape.size()));
    }
    if (e.begin % static_cast<uint64_t>(dtype_bytes(dtype)) != 0) {
      return bad(path, fmt::format("{} is not aligned", e.info.name));
    }
  }
  return out;
}

const SafetensorsEntry* ReferenceTensors::find(std::string_view name) const {
  for (const SafetensorsEntry& e : entries_) {
    if (e.info.name == name) return &e;
  }
  return nullptr;
}

template <class T>
Mat<const T> ReferenceTensors::matrix(std::string_view name) const {
  const SafetensorsEntry* e = find(name);
  if (e == nullptr || e->info.dtype != dtype_of<T>()) return {};
  const auto* data = reinterpret_cast<const T*>(file_.bytes().data() + e->begin);
  if (e->info.shape.size() == 1) return make_mat(data, 1, e->info.shape[0]);
  return make_mat(data, e->info.rows(), e->info.cols());
}

template Mat<const float> ReferenceTensors::matrix(std::string_view) const;
template Mat<const int32_t> ReferenceTensors::matrix(std::string_view) const;
template Mat<const uint8_t> ReferenceTensors::matrix(std::string_view) const;

Result<ReferenceCase> load_reference_case(const std::string& folder) {
  const std::string path = folder + "/case.json";
  const Result<std::string> text = read_file(path, kMaxCaseBytes);
  if (!text) return text.error();
  const auto json = nlohmann::ordered_json::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("messages") || !json["messages"].is_array()) {
    return bad(path, "expected an object with a list of messages");
  }
  ReferenceCase out;
  out.name = std::filesystem::path(folder).filename().string();
  out.messages = json["messages"];
  if (json.contains("tools")) out.tools = json["tools"];
  if (json.contains("prompt") && json["prompt"].is_string())
    out.prompt = json["prompt"].get<std::string>();
  out.hf_bf16_relative_error = number(json, "hf_bf16_relative_error");
  out.logit_std = number(json, "logit_std");
  if (json.contains("video") && json["video"].is_object())
    out.video_fps = number(json["video"], "fps");
  return out;
}

Result<std::vector<std::string>> list_reference_cases(const std::string& model_folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(model_folder + "/cases", error)) {
    if (std::filesystem::exists(entry.path() / "case.json", error)) {
      names.push_back(entry.path().filename().string());
    }
  }
  if (names.empty()) return bad(model_folder, "no cases/NAME/case.json was found");
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace qvl
