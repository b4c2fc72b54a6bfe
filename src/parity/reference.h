#pragma once

/// A reference case: what transformers computed for one conversation. The format of tests/goldens
/// and of tools/make_reference.py: cases/NAME/{case.json, ref.safetensors}.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/view.h"
#include "io/mapped_file.h"
#include "io/safetensors.h"

namespace qvl {

// NOLINTNEXTLINE(bugprone-exception-escape): the JSON library allocates in its move constructor
struct ReferenceCase {
  std::string name;
  nlohmann::ordered_json messages;
  nlohmann::ordered_json tools;
  std::string prompt;                 ///< rendered by the reference
  double hf_bf16_relative_error = 0;  ///< of transformers' own bfloat16 run
  double logit_std = 0;
  double video_fps = 0;
};

/// The tensors of ref.safetensors; float32, int32 and uint8 only.
class ReferenceTensors {
 public:
  static Result<ReferenceTensors> open(const std::string& path);

  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Empty if absent. Vectors are one row.
  Mat<const float> floats(std::string_view name) const { return matrix<float>(name); }
  Mat<const int32_t> ints(std::string_view name) const { return matrix<int32_t>(name); }
  Mat<const uint8_t> bytes(std::string_view name) const { return matrix<uint8_t>(name); }

 private:
  explicit ReferenceTensors(MappedFile file) : file_(std::move(file)) {}
  const SafetensorsEntry* find(std::string_view name) const;
  template <class T>
  Mat<const T> matrix(std::string_view name) const;

  MappedFile file_;
  std::vector<SafetensorsEntry> entries_;
};

Result<ReferenceCase> load_reference_case(const std::string& folder);

/// Names of the cases of a model folder, sorted. Error bad_reference if there are none.
Result<std::vector<std::string>> list_reference_cases(const std::string& model_folder);

}  // namespace qvl
