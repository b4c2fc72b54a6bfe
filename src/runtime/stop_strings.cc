#include "runtime/stop_strings.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace qvl {

StopStrings::StopStrings(const std::vector<std::string>& stops, Include include)
    : include_(include) {
  for (const std::string& stop : stops) {
    require(!stop.empty(), "an empty stop string");
    std::vector<size_t> border(stop.size());
    for (size_t i = 1, length = 0; i < stop.size(); ++i) {
      while (length > 0 && stop[i] != stop[length]) length = border[length - 1];
      if (stop[i] == stop[length]) ++length;
      border[i] = length;
    }
    automata_.push_back({stop, std::move(border)});
  }
}

bool StopStrings::advance(Automaton& a, char byte) {
  while (a.state > 0 && byte != a.stop[a.state]) a.state = a.border[a.state - 1];
  if (byte == a.stop[a.state]) ++a.state;
  if (a.state < a.stop.size()) return false;
  a.state = a.border[a.state - 1];
  return true;
}

std::string StopStrings::push(std::string_view piece, Ending ending) {
  require(!matched_, "text after its stop string");
  std::string text = std::exchange(held_, {});
  for (const char byte : piece) {
    text += byte;
    for (size_t i = 0; i < automata_.size(); ++i) {
      if (!advance(automata_[i], byte) || ending == Ending::not_yet) continue;
      if (!matched_ || automata_[i].stop.size() > matched()->size()) matched_ = i;
    }
    if (!matched_) continue;
    if (include_ == Include::no)
      text.resize(text.size() - std::min(text.size(), matched()->size()));
    return text;
  }
  if (include_ == Include::yes) return text;
  size_t tail = 0;
  for (const Automaton& a : automata_) tail = std::max(tail, a.state);
  held_ = text.substr(text.size() - tail);
  text.resize(text.size() - tail);
  return text;
}

std::string StopStrings::finish() { return std::exchange(held_, {}); }

}  // namespace qvl
