#include "text/origin_text.h"

#include <algorithm>

namespace qvl {

void OriginText::append(std::string_view text, Origin origin) {
  if (text.empty()) return;
  bytes_ += text;
  if (runs_.empty() || runs_.back().origin != origin) {
    runs_.push_back({bytes_.size(), origin});
  } else {
    runs_.back().end = bytes_.size();
  }
}

void OriginText::append(const OriginText& text) { append(text, 0, text.size()); }

void OriginText::append(const OriginText& text, size_t begin, size_t end) {
  auto run = std::upper_bound(text.runs_.begin(), text.runs_.end(), begin,
                              [](size_t at, const Run& r) { return at < r.end; });
  while (begin < end) {
    const size_t stop = std::min(end, run->end);
    append(std::string_view(text.bytes_).substr(begin, stop - begin), run->origin);
    begin = stop;
    ++run;
  }
}

OriginText OriginText::slice(size_t begin, size_t end) const {
  OriginText out;
  out.append(*this, begin, end);
  return out;
}

std::vector<TextPiece> OriginText::pieces() const {
  std::vector<TextPiece> out;
  out.reserve(runs_.size());
  size_t begin = 0;
  for (const Run& run : runs_) {
    out.push_back({bytes_.substr(begin, run.end - begin), run.origin});
    begin = run.end;
  }
  return out;
}

}  // namespace qvl
