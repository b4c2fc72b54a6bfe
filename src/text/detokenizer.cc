#include "text/detokenizer.h"

#include "text/unicode.h"

namespace qvl {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, Special special)
    : tokenizer_(&tokenizer), special_(special) {}

std::string Detokenizer::push(int32_t id) {
  if (special_ == Special::skip && tokenizer_->is_special(id)) return {};
  pending_ += tokenizer_->bytes(id);
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Part part = first_utf8_part(rest);
    if (part.kind == Utf8Part::Kind::unfinished) break;
    out += part.kind == Utf8Part::Kind::valid ? rest.substr(0, part.size) : kReplacement;
    rest.remove_prefix(part.size);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string Detokenizer::finish() {
  std::string out = replace_invalid_utf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace qvl
