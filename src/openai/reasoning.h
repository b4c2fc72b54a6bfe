#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace qvl {

/// Splits the text of a thinking model at the first </think>: what it thought, and its answer. Line
/// ends around the marker, and before the first thought, belong to neither. Text that may yet
/// become the marker is held back.
class ReasoningSplitter {
 public:
  struct Piece {
    std::string reasoning;
    std::string content;
  };

  /// The next text, of any length → what became certain.
  Piece push(std::string_view text);
  /// What is left when the text ends.
  Piece finish();

 private:
  void put_reasoning(char c, std::string& out);
  void release(std::string& out);

  size_t newlines_ = 0;  ///< held back: line ends …
  size_t matched_ = 0;   ///< … and behind them this much of the marker
  bool closed_ = false;
  bool reasoning_began_ = false;
  bool content_began_ = false;
};

}  // namespace qvl
