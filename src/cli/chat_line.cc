#include "cli/chat_line.h"

#include <fmt/format.h>

namespace qvl {
namespace {

constexpr std::string_view kBlock = "\"\"\"";
constexpr std::string_view kSpace = " \t\n";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// An even number of backslashes is text.
bool ends_with_backslash(std::string_view line) {
  const size_t last = line.find_last_not_of('\\');
  const size_t count = last == std::string_view::npos ? line.size() : line.size() - last - 1;
  return count % 2 == 1;
}

ChatEntry parse_entry(std::string_view text) {
  if (text.starts_with(" /")) return {"", std::string(text.substr(1))};
  if (!text.starts_with('/')) return {"", std::string(text)};
  const size_t end = std::min(text.find_first_of(kSpace), text.size());
  return {std::string(text.substr(1, end - 1)), std::string(trimmed(text.substr(end)))};
}

}  // namespace

std::optional<ChatEntry> ChatLines::add(std::string_view line) {
  const bool pasted = line.find('\n') != std::string_view::npos;
  const bool joins = unfinished();
  continued_ = false;
  if (!joins && !pasted && line.starts_with(kBlock)) {
    block_ = literal_ = true;
    line.remove_prefix(kBlock.size());
    if (line.empty()) return {};
  } else if (joins && !(block_ && text_.empty())) {
    text_ += '\n';
  }
  if (!joins && pasted) literal_ = true;
  if (block_ && !pasted && line.ends_with(kBlock)) {
    line.remove_suffix(kBlock.size());
    text_ += line;
    if (line.empty() && text_.ends_with('\n')) text_.pop_back();
    return complete(literal_);
  }
  if (!block_ && !pasted && ends_with_backslash(line)) {
    text_ += line.substr(0, line.size() - 1);
    continued_ = true;
    return {};
  }
  text_ += line;
  if (block_) return {};
  return complete(literal_);
}

std::optional<ChatEntry> ChatLines::complete(bool is_literal) {
  ChatEntry entry = is_literal ? ChatEntry{"", text_} : parse_entry(text_);
  clear();
  if (entry.command.empty() && trimmed(entry.text).empty()) return {};
  return entry;
}

std::optional<ChatEntry> ChatLines::finish() { return complete(literal_); }

void ChatLines::clear() {
  text_.clear();
  block_ = continued_ = literal_ = false;
}

Result<std::vector<std::string>> split_words(std::string_view text, const std::string& home) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0 && c == quote) {
      quote = 0;
    } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      word += text[++i];
      in_word = true;
    } else if (quote != 0) {
      word += c;
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (kSpace.find(c) != std::string_view::npos) {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else if (c == '~' && !in_word &&
               (i + 1 == text.size() || text[i + 1] == '/' ||
                kSpace.find(text[i + 1]) != std::string_view::npos)) {
      word = home;
      in_word = true;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) {
    return Error{ErrorCode::bad_command, fmt::format("found no closing {} in {}", quote, text), ""};
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

}  // namespace qvl
