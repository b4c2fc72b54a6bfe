#include "openai/reasoning.h"

namespace qvl {
namespace {

constexpr std::string_view kMarker = "</think>";

}  // namespace

/// What was held back turned out to be no marker.
void ReasoningSplitter::release(std::string& out) {
  if (reasoning_began_) out.append(newlines_, '\n');
  out += kMarker.substr(0, matched_);
  newlines_ = 0;
  matched_ = 0;
}

void ReasoningSplitter::put_reasoning(char c, std::string& out) {
  if (c == kMarker[matched_]) {
    ++matched_;
    closed_ = matched_ == kMarker.size();
    return;
  }
  if (matched_ > 0) {
    release(out);
    reasoning_began_ = true;
  }
  if (c == kMarker[0]) {  // the marker's first character occurs in it only once
    matched_ = 1;
  } else if (c == '\n') {
    ++newlines_;
  } else {
    release(out);
    reasoning_began_ = true;
    out += c;
  }
}

ReasoningSplitter::Piece ReasoningSplitter::push(std::string_view text) {
  Piece out;
  for (const char c : text) {
    if (!closed_) {
      put_reasoning(c, out.reasoning);
    } else if (content_began_ || c != '\n') {
      content_began_ = true;
      out.content += c;
    }
  }
  return out;
}

ReasoningSplitter::Piece ReasoningSplitter::finish() {
  Piece out;
  if (!closed_) release(out.reasoning);
  return out;
}

}  // namespace qvl
