#include "cli/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

#include "text/unicode.h"

namespace qvl {
namespace {

constexpr size_t kMaxTextBytes = size_t{16} << 20;

bool exists(const std::string& text) {
  std::error_code error;
  return text.size() < 4096 && std::filesystem::exists(text, error);
}

bool has_space(const std::string& text) { return text.find_first_of(" \n\t") != std::string::npos; }

/// "https://…", without a space: a question may mention an address.
bool is_address(const std::string& text) {
  const size_t scheme = text.find("://");
  if (scheme == std::string::npos || scheme == 0 || has_space(text)) return false;
  return std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(scheme),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '+' || c == '-'; });
}

/// A name that looks like a file but is none is more likely a typing error than a question.
bool looks_like_file(const std::string& text) {
  if (has_space(text)) return false;
  std::string extension = std::filesystem::path(text).extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  constexpr std::array<std::string_view, 8> kKnown = {".png", ".jpg", ".jpeg", ".webp",
                                                      ".gif", ".bmp", ".mp4",  ".pdf"};
  return std::find(kKnown.begin(), kKnown.end(), extension) != kKnown.end();
}

Result<std::string> read_text(std::FILE* file) {
  std::string text;
  std::array<char, 65536> block{};
  while (const size_t got = std::fread(block.data(), 1, block.size(), file)) {
    text.append(block.data(), got);
    if (text.size() > kMaxTextBytes) {
      return Error{ErrorCode::file_too_large,
                   fmt::format("expected at most {} bytes of text", kMaxTextBytes),
                   "standard input"};
    }
  }
  if (std::ferror(file) != 0) return Error{ErrorCode::file_unreadable, "", "standard input"};
  const Status valid = check_utf8(text, "standard input");
  if (!valid) return valid.error();
  return text;
}

}  // namespace

void UserMessage::add_text(const std::string& text) {
  content.push_back({{"type", "text"}, {"text", text}});
}

void UserMessage::append(UserMessage other) {
  for (Json& part : other.content) content.push_back(std::move(part));
  for (MediaItem& item : other.media) media.push_back(std::move(item));
  timings.decode_ms += other.timings.decode_ms;
  timings.resize_ms += other.timings.resize_ms;
}

Status check_utf8(std::string_view text, const std::string& field) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Part part = first_utf8_part(text.substr(at));
    if (part.kind != Utf8Part::Kind::valid) {
      return Error{
          ErrorCode::bad_text,
          fmt::format("found byte 0x{:02x} at offset {}", static_cast<uint8_t>(text[at]), at),
          field};
    }
    at += part.size;
  }
  return {};
}

Status attach_file(UserMessage& message, const std::string& path, const Processor& processor,
                   double fps) {
  if (is_address(path)) return Error{ErrorCode::remote_input, "", path};
  if (!exists(path)) return Error{ErrorCode::file_not_found, "", path};
  const Status name = check_utf8(path, path);  // it goes into the conversation, which is JSON
  if (!name) return name.error();
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  Result<MediaItem> item = folder ? processor.frames(path, fps, message.timings)
                                  : processor.image(path, message.timings);
  if (!item) return item.error();
  message.media.push_back(std::move(*item));
  const char* kind = folder ? "video" : "image";
  message.content.push_back({{"type", kind}, {kind, path}});
  return {};
}

Json one_question(const std::string& system, const UserMessage& question) {
  Json messages = Json::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
  messages.push_back({{"role", "user"}, {"content", question.content}});
  return messages;
}

Result<UserMessage> read_inputs(const std::vector<std::string>& inputs, const Processor& processor,
                                const InputOptions& options) {
  if (std::count(inputs.begin(), inputs.end(), "-") > 1) {
    return Error{ErrorCode::bad_flag, "found '-' twice, expected the standard input once",
                 "inputs"};
  }
  UserMessage message;
  for (const std::string& input : inputs) {
    if (input == "-") {
      const Result<std::string> text = read_text(options.standard_input);
      if (!text) return text.error();
      message.add_text(*text);
    } else if (exists(input) || looks_like_file(input) || is_address(input)) {
      const Status attached = attach_file(message, input, processor, options.fps);
      if (!attached) return attached.error();
    } else {
      const Status valid = check_utf8(input, "inputs");
      if (!valid) return valid.error();
      message.add_text(input);
    }
  }
  return message;
}

}  // namespace qvl
