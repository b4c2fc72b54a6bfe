#include "broken_checkpoint.h"

#include <cstdint>
#include <cstring>
#include <filesystem>

#include "program.h"

namespace qvl {

BrokenCheckpoint::BrokenCheckpoint(const std::string& folder) : folder_(folder) {
  const std::filesystem::path source = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
  for (const auto& entry : std::filesystem::directory_iterator(source)) {
    if (entry.is_regular_file()) {
      std::filesystem::copy_file(entry.path(),
                                 std::filesystem::path(folder) / entry.path().filename());
    }
  }
  const std::string file = read_all((source / "model.safetensors").string());
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  header_ = nlohmann::ordered_json::parse(file.substr(8, length));
  data_ = file.substr(8 + length);
}

void BrokenCheckpoint::save(long long header_length) const {
  const std::string header = header_.dump();
  const uint64_t length = header_length < 0 ? header.size() : static_cast<uint64_t>(header_length);
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  write_all(folder_ + "/model.safetensors", file + header + data_);
}

void BrokenCheckpoint::truncate(size_t bytes) const {
  std::filesystem::resize_file(folder_ + "/model.safetensors", bytes);
}

}  // namespace qvl
