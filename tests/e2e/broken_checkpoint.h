#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace qvl {

/// A copy of the tiny test checkpoint whose weights file can be bent out of shape.
class BrokenCheckpoint {
 public:
  explicit BrokenCheckpoint(const std::string& folder);

  nlohmann::ordered_json& header() { return header_; }
  std::string& data() { return data_; }
  /// Writes the file; `header_length` lies about the header if it is not negative.
  void save(long long header_length = -1) const;
  /// The file cut to this many bytes.
  void truncate(size_t bytes) const;
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  nlohmann::ordered_json header_;
  std::string data_;
};

}  // namespace qvl
