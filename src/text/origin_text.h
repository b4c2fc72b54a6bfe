#pragma once

/// Valid UTF-8 that remembers where each of its bytes came from.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace qvl {

class OriginText {
 public:
  struct Run {
    size_t end;  ///< one past the run's last byte
    Origin origin;
  };

  OriginText() = default;
  OriginText(std::string_view text, Origin origin) { append(text, origin); }

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  /// Neighbours differ in origin; the last ends at size().
  const std::vector<Run>& runs() const { return runs_; }

  void append(std::string_view text, Origin origin);
  void append(const OriginText& text);
  /// The bytes [begin, end) of `text`.
  void append(const OriginText& text, size_t begin, size_t end);
  OriginText slice(size_t begin, size_t end) const;

  std::vector<TextPiece> pieces() const;

 private:
  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace qvl
