#include "text/tokenizer_json.h"

#include <fmt/core.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "text/pretokenizer.h"
#include "text/unicode.h"

namespace qvl {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxSmallNodes = 1 << 17;  ///< values outside vocabulary and merges
constexpr size_t kMaxTokenBytes = 1 << 16;
/// A span of the text is written down as two 32-bit numbers.
constexpr size_t kMaxJsonBytes = std::numeric_limits<uint32_t>::max();

Error bad_tokenizer(std::string detail) {
  return Error{ErrorCode::bad_tokenizer, std::move(detail), {}};
}

/// The printable characters by which GPT-2's byte-level alphabet writes the 256 bytes: printable
/// Latin-1 stands for itself, the other bytes follow from U+0100 on.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    bytes_.fill(-1);
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
      bytes_[printable ? byte : next++] = byte;
    }
  }

  /// Appends the bytes that `text` stands for; false if a character is not of the alphabet.
  bool append_bytes(std::string_view text, std::string& out) const {
    while (!text.empty()) {
      const CodePoint c = first_code_point(text);
      if (c.value >= bytes_.size() || bytes_[c.value] < 0) return false;
      out += static_cast<char>(bytes_[c.value]);
      text.remove_prefix(c.size);
    }
    return true;
  }

 private:
  std::array<int, 256 + 68> bytes_;
};

/// Where a token's bytes lie in the blob.
struct ByteSpan {
  uint32_t start;
  uint32_t size;
};

/// Receives the parser's events. model.vocab and model.merges go to flat lists, all else to a small
/// document. Returns false, with an error noted, to stop the parser.
class TokenizerSax : public nlohmann::json_sax<json> {
 public:
  struct VocabEntry {
    ByteSpan span;
    int32_t id;
  };

  json document;
  std::string blob;
  std::vector<VocabEntry> vocab;
  std::vector<ByteSpan> merge_parts;  ///< two for each merge
  bool has_vocab = false;
  bool has_merges = false;
  std::optional<Error> error;

  bool null() override { return value(nullptr); }
  bool boolean(bool v) override { return value(v); }
  bool number_float(double v, const std::string&) override { return value(v); }
  bool number_integer(int64_t v) override { return number(v); }
  bool number_unsigned(uint64_t v) override {
    return number(v > INT64_MAX ? INT64_MAX : static_cast<int64_t>(v));
  }
  bool string(std::string& v) override {
    if (place_ == Place::merges) return merge_line(v);
    if (place_ == Place::merge) return merge_part(v);
    return value(v);
  }
  bool binary(json::binary_t&) override { return fail("binary data"); }

  bool start_object(size_t) override { return start(json::object()); }
  bool end_object() override { return end(); }
  bool start_array(size_t) override { return start(json::array()); }
  bool end_array() override { return end(); }

  bool key(std::string& k) override {
    if (place_ != Place::document) return append_token(k, vocab_key_);
    if (stack_.back()->contains(k)) return fail(fmt::format("key \"{}\" appears twice", k));
    key_ = k;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error = Error{ErrorCode::bad_json, fmt::format("unexpected text at byte {}", position), {}};
    return false;
  }

 private:
  /// The kind of the innermost open value.
  enum class Place { document, vocab, merges, merge };

  bool fail(std::string detail) {
    error = bad_tokenizer(std::move(detail));
    return false;
  }

  /// Where the next value of the small document goes; null if there is no room for it.
  json* add(json v) {
    if (++nodes_ > kMaxSmallNodes) return nullptr;
    if (stack_.empty()) {
      document = std::move(v);
      return &document;
    }
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(v));
      return &parent.back();
    }
    json& slot = parent[key_];
    slot = std::move(v);
    return &slot;
  }

  bool value(json v) {
    if (place_ == Place::vocab) return fail("a token's id is not an integer");
    if (place_ != Place::document) return fail("a merge is not a text");
    return add(std::move(v)) != nullptr || fail("too many values");
  }

  bool number(int64_t v) {
    if (place_ != Place::vocab) return value(v);
    if (v < 0 || v > INT32_MAX) return fail(fmt::format("token id {} is out of range", v));
    vocab.push_back({vocab_key_, static_cast<int32_t>(v)});
    return true;
  }

  bool start(json empty) {
    if (stack_.size() >= kMaxDepth) return fail("values are nested too deeply");
    if (place_ == Place::merges) {
      if (!empty.is_array()) return fail("a merge is neither a text nor a pair");
      place_ = Place::merge;
      merge_start_ = merge_parts.size();
      return true;
    }
    if (place_ != Place::document) return fail("a value in vocab or merges is a list or object");
    const bool in_model =
        stack_.size() == 2 && stack_[0]->is_object() && stack_[1] == model_ && model_ != nullptr;
    if (in_model && key_ == "vocab" && empty.is_object()) {
      place_ = Place::vocab;
      has_vocab = true;
    } else if (in_model && key_ == "merges" && empty.is_array()) {
      place_ = Place::merges;
      has_merges = true;
    }
    const bool is_model = stack_.size() == 1 && stack_[0]->is_object() && key_ == "model";
    json* added = add(std::move(empty));
    if (added == nullptr) return fail("too many values");
    if (is_model) model_ = added;
    stack_.push_back(added);
    return true;
  }

  bool end() {
    if (place_ == Place::merge) {
      if (merge_parts.size() - merge_start_ != 2) return fail("a merge is not a pair");
      place_ = Place::merges;
      return true;
    }
    place_ = Place::document;
    stack_.pop_back();
    return true;
  }

  bool append_token(std::string_view text, ByteSpan& span) {
    if (text.size() > kMaxTokenBytes) return fail("a token is longer than any real one");
    span.start = static_cast<uint32_t>(blob.size());
    if (!alphabet_.append_bytes(text, blob)) {
      return fail(fmt::format("token \"{}\" has a character outside the byte alphabet", text));
    }
    span.size = static_cast<uint32_t>(blob.size()) - span.start;
    return true;
  }

  bool merge_part(std::string_view text) { return append_token(text, merge_parts.emplace_back()); }

  /// The older spelling, "left right".
  bool merge_line(std::string_view line) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      return fail(fmt::format("merge \"{}\" is not two tokens with a space between", line));
    }
    return merge_part(line.substr(0, space)) && merge_part(line.substr(space + 1));
  }

  ByteAlphabet alphabet_;
  std::vector<json*> stack_;  ///< open values of the document; a parent waits while a child fills
  json* model_ = nullptr;
  std::string key_;
  Place place_ = Place::document;
  ByteSpan vocab_key_{};
  size_t merge_start_ = 0;
  size_t nodes_ = 0;
};

using Path = std::initializer_list<std::string_view>;

/// The value at a path of keys; null where there is none.
const json* find(const json& document, Path path) {
  const json* value = &document;
  for (const std::string_view key : path) {
    if (!value->is_object()) return nullptr;
    const auto found = value->find(key);
    if (found == value->end()) return nullptr;
    value = &*found;
  }
  return value;
}

bool is(const json& document, Path path, const json& expected) {
  const json* value = find(document, path);
  return value != nullptr && *value == expected;
}

bool is_or_absent(const json& document, Path path, const json& expected) {
  const json* value = find(document, path);
  return value == nullptr || value->is_null() || *value == expected;
}

/// "" where the pipeline is the family's, else what differs.
std::string pipeline_difference(const json& document) {
  if (!is(document, {"normalizer", "type"}, "NFC")) return "the normalizer is not NFC";

  const json* steps = find(document, {"pre_tokenizer", "pretokenizers"});
  if (!is(document, {"pre_tokenizer", "type"}, "Sequence") || steps == nullptr ||
      !steps->is_array() || steps->size() != 2) {
    return "the pre-tokenizer is not Split, then ByteLevel";
  }
  const json& split = (*steps)[0];
  if (!is(split, {"type"}, "Split") || !is(split, {"behavior"}, "Isolated") ||
      !is_or_absent(split, {"invert"}, false)) {
    return "the first pre-tokenizer does not split into isolated matches";
  }
  if (!is(split, {"pattern", "Regex"}, kSplitPattern)) {
    return "the pre-tokenizer's pattern is not the one of Qwen2";
  }
  const json& byte_level = (*steps)[1];
  if (!is(byte_level, {"type"}, "ByteLevel") || !is(byte_level, {"add_prefix_space"}, false) ||
      !is(byte_level, {"use_regex"}, false)) {
    return "the second pre-tokenizer is not ByteLevel without prefix space and pattern";
  }

  if (!is(document, {"decoder", "type"}, "ByteLevel")) return "the decoder is not ByteLevel";
  if (!is(document, {"model", "type"}, "BPE")) return "the model is not BPE";
  for (const std::string_view absent : {"dropout", "unk_token"}) {
    if (!is_or_absent(document, {"model", absent}, nullptr)) {
      return fmt::format("the model has {}", absent);
    }
  }
  for (const std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!is_or_absent(document, {"model", affix}, "")) {
      return fmt::format("the model has {}", affix);
    }
  }
  for (const std::string_view flag : {"byte_fallback", "ignore_merges"}) {
    if (!is_or_absent(document, {"model", flag}, false)) {
      return fmt::format("the model has {}", flag);
    }
  }
  return {};
}

Result<std::vector<AddedToken>> read_added_tokens(const json& document) {
  std::vector<AddedToken> tokens;
  const json* list = find(document, {"added_tokens"});
  if (list == nullptr || list->is_null()) return tokens;
  if (!list->is_array()) return bad_tokenizer("added_tokens is not a list");
  for (const json& entry : *list) {
    const json* id = find(entry, {"id"});
    const json* content = find(entry, {"content"});
    const json* special = find(entry, {"special"});
    if (id == nullptr || !id->is_number_integer() || content == nullptr || !content->is_string() ||
        special == nullptr || !special->is_boolean()) {
      return bad_tokenizer("an added token lacks id, content or special");
    }
    const auto& text = content->get_ref<const std::string&>();
    const auto value = id->get<int64_t>();
    if (value < 0 || value > INT32_MAX) {
      return bad_tokenizer(fmt::format("added token \"{}\" has id {}", text, value));
    }
    for (const std::string_view flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
      if (!is_or_absent(entry, {flag}, false)) {
        return bad_tokenizer(fmt::format("added token \"{}\" has {} set", text, flag));
      }
    }
    tokens.push_back({static_cast<int32_t>(value), text, special->get<bool>()});
  }
  return tokens;
}

Result<Bpe> make_bpe(const TokenizerSax& sax) {
  const auto bytes = [&](ByteSpan span) {
    return std::string_view(sax.blob).substr(span.start, span.size);
  };
  std::vector<Vocabulary::Token> tokens;
  tokens.reserve(sax.vocab.size());
  for (const auto& entry : sax.vocab) tokens.push_back({bytes(entry.span), entry.id});
  Result<Vocabulary> vocabulary = Vocabulary::create(tokens);
  if (!vocabulary) return vocabulary.error();

  std::vector<Bpe::Merge> merges;
  merges.reserve(sax.merge_parts.size() / 2);
  std::string joined;
  for (size_t i = 0; i + 1 < sax.merge_parts.size(); i += 2) {
    const std::string_view left = bytes(sax.merge_parts[i]);
    const std::string_view right = bytes(sax.merge_parts[i + 1]);
    joined.assign(left).append(right);
    const Bpe::Merge merge{vocabulary->find(left), vocabulary->find(right),
                           vocabulary->find(joined)};
    if (merge.left < 0 || merge.right < 0 || merge.joined < 0) {
      return bad_tokenizer(
          fmt::format("merge {} uses a token that is not in the vocabulary", i / 2));
    }
    merges.push_back(merge);
  }
  return Bpe::create(std::move(*vocabulary), merges);
}

}  // namespace

Result<TokenizerFile> parse_tokenizer_json(std::string_view text) {
  if (text.size() > kMaxJsonBytes) return bad_tokenizer("it is larger than any real one");
  TokenizerSax sax;
  if (!json::sax_parse(text, &sax) || sax.error) {
    if (sax.error) return *sax.error;
    return Error{ErrorCode::bad_json, "it ends too early", {}};
  }
  if (std::string difference = pipeline_difference(sax.document); !difference.empty()) {
    return bad_tokenizer(std::move(difference));
  }
  if (!sax.has_vocab) return bad_tokenizer("the model has no object vocab");
  if (!sax.has_merges) return bad_tokenizer("the model has no list merges");
  Result<std::vector<AddedToken>> added = read_added_tokens(sax.document);
  if (!added) return added.error();
  Result<Bpe> bpe = make_bpe(sax);
  if (!bpe) return bpe.error();
  return TokenizerFile{std::move(*bpe), std::move(*added)};
}

}  // namespace qvl
