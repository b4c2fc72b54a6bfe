#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qvl {

/// Ends a growing text at the first stop string in it, however the text is cut into pieces. Of
/// several the one that is complete first counts, of those that end together the longest. Text that
/// may yet turn out to be the beginning of one is held back. Time is linear in the text.
class StopStrings {
 public:
  enum class Include : uint8_t { no, yes };
  /// Whether a stop string that becomes complete now ends the text.
  enum class Ending : uint8_t { allowed, not_yet };

  /// `stops`: not empty strings. Include::yes: the string that ends the text stays in it, and
  /// nothing is held back.
  StopStrings(const std::vector<std::string>& stops, Include include);

  /// What is certain to belong to the text now. Nothing may be pushed after a match.
  std::string push(std::string_view piece, Ending ending);
  /// What was held back when the text ends by itself.
  std::string finish();
  /// The string that ended the text, or null.
  const std::string* matched() const { return matched_ ? &automata_[*matched_].stop : nullptr; }

 private:
  /// Knuth, Morris and Pratt's automaton of one string.
  struct Automaton {
    std::string stop;
    std::vector<size_t> border;  ///< [i]: longest proper border of the first i + 1 bytes
    size_t state = 0;            ///< how many bytes of `stop` the text ends in; never all
  };
  /// True if `byte` completes the string.
  static bool advance(Automaton& automaton, char byte);

  std::vector<Automaton> automata_;
  Include include_;
  std::string held_;
  std::optional<size_t> matched_;  ///< index of the automaton
};

}  // namespace qvl
