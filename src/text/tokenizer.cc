#include "text/tokenizer.h"

#include <fmt/core.h>

#include <filesystem>
#include <fstream>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace qvl {
namespace {

constexpr size_t kMaxFileBytes = 64 << 20;
/// The BPE counts positions in 32 bits; a piece that no tokenizer file could have a token for is
/// cut there. It takes a gigabyte of letters without a space.
constexpr size_t kMaxPieceBytes = 1 << 30;

/// One text with the origin of each of its bytes.
class TracedText {
 public:
  explicit TracedText(std::span<const TextPiece> pieces) {
    size_t bytes = 0;
    for (const TextPiece& piece : pieces) bytes += piece.text.size();
    text_.reserve(bytes);
    for (const TextPiece& piece : pieces) {
      if (piece.text.empty()) continue;  // its origin would cut the reach of its neighbours
      if (is_valid_utf8(piece.text)) {
        text_ += piece.text;
      } else {
        text_ += replace_invalid_utf8(piece.text);
      }
      runs_.push_back({text_.size(), piece.origin});
    }
    // From the end, how far each run's origin goes on.
    size_t special = text_.size();
    size_t plain = text_.size();
    bool special_open = true;
    bool plain_open = true;
    for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
      if (!special_open) special = run->end;
      if (!plain_open) plain = run->end;
      special_open = run->origin == Origin::template_text;
      plain_open = run->origin != Origin::user;
      run->special_end = special_open ? special : 0;
      run->plain_end = plain_open ? plain : 0;
    }
  }

  struct Run {
    size_t end;
    Origin origin;
    size_t special_end = 0;  ///< end of the template text that goes on from here; 0: none
    size_t plain_end = 0;    ///< the same with assistant history
  };

  std::string_view text() const { return text_; }
  std::span<const Run> runs() const { return runs_; }

 private:
  std::string text_;
  std::vector<Run> runs_;
};

size_t reach(size_t end, size_t position) { return end > position ? end - position : 0; }

}  // namespace

struct Tokenizer::Tables {
  Bpe bpe;
  AddedTokens added;

  /// Appends the tokens of a text without added tokens.
  void encode_plain(std::string_view raw, Bpe::Scratch& scratch, std::vector<int32_t>& out) const {
    const std::string text = to_nfc(raw);
    std::string_view rest = text;
    while (!rest.empty()) {
      std::string_view piece = rest.substr(0, next_piece(rest));
      rest.remove_prefix(piece.size());
      for (; piece.size() > kMaxPieceBytes; piece.remove_prefix(kMaxPieceBytes)) {
        bpe.encode(piece.substr(0, kMaxPieceBytes), scratch, out);
      }
      bpe.encode(piece, scratch, out);
    }
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const Tables> tables) : tables_(std::move(tables)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::load(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return Error{ErrorCode::file_not_found, {}, path};
  if (!std::filesystem::is_regular_file(status)) {
    return Error{ErrorCode::file_unreadable, "it is not a regular file", path};
  }
  const auto bytes = std::filesystem::file_size(path, error);
  if (error) return Error{ErrorCode::file_unreadable, error.message(), path};
  if (bytes > kMaxFileBytes) {
    return Error{ErrorCode::file_too_large,
                 fmt::format("found {} bytes, expected at most {}", bytes, kMaxFileBytes), path};
  }
  std::string text(bytes, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return Error{ErrorCode::file_unreadable, "reading it failed", path};
  }
  Result<Tokenizer> tokenizer = parse(text);
  if (tokenizer) return tokenizer;
  return Error{tokenizer.error().code, tokenizer.error().detail, path};
}

Result<Tokenizer> Tokenizer::parse(std::string_view json) {
  if (json.size() > kMaxFileBytes) {
    return Error{ErrorCode::file_too_large,
                 fmt::format("found {} bytes, expected at most {}", json.size(), kMaxFileBytes),
                 {}};
  }
  Result<TokenizerFile> file = parse_tokenizer_json(json);
  if (!file) return file.error();
  Result<AddedTokens> added =
      AddedTokens::create(std::move(file->added_tokens), file->bpe.vocabulary());
  if (!added) return added.error();
  return Tokenizer(std::make_unique<const Tables>(Tables{std::move(file->bpe), std::move(*added)}));
}

std::vector<int32_t> Tokenizer::encode(std::span<const TextPiece> pieces) const {
  const TracedText traced(pieces);
  const std::string_view text = traced.text();
  const AddedTokens& added = tables_->added;
  std::vector<int32_t> ids;
  Bpe::Scratch scratch;
  size_t plain_start = 0;
  size_t i = 0;
  for (const TracedText::Run& run : traced.runs()) {
    while (i < run.end) {
      const size_t end = std::max(run.special_end, run.plain_end);
      while (i < run.end && (i >= end || !added.may_start(text[i]))) i = i < end ? i + 1 : run.end;
      if (i >= run.end) break;
      const AddedToken* token =
          added.match(text.substr(i), {reach(run.special_end, i), reach(run.plain_end, i)});
      if (token == nullptr) {
        ++i;
        continue;
      }
      tables_->encode_plain(text.substr(plain_start, i - plain_start), scratch, ids);
      ids.push_back(token->id);
      i += token->content.size();
      plain_start = i;
    }
  }
  tables_->encode_plain(text.substr(plain_start), scratch, ids);
  return ids;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, Origin origin) const {
  const TextPiece piece{std::string(text), origin};
  return encode(std::span(&piece, 1));
}

std::string_view Tokenizer::bytes(int32_t id) const {
  const AddedToken* token = tables_->added.find(id);
  return token != nullptr ? token->content : tables_->bpe.vocabulary().bytes(id);
}

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* token = tables_->added.find(id);
  return token != nullptr && token->special;
}

std::optional<int32_t> Tokenizer::added_token(std::string_view text) const {
  const AddedToken* token = tables_->added.find(text);
  return token != nullptr ? std::optional(token->id) : std::nullopt;
}

int32_t Tokenizer::size() const {
  return std::max(tables_->bpe.vocabulary().size(), tables_->added.end_id());
}

}  // namespace qvl
