#include "cli/saved_conversation.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <filesystem>

namespace qvl {
namespace {

constexpr std::string_view kFileScheme = "file://";
constexpr size_t kMaxTurns = 10'000;

std::string file_address(const std::string& path) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  if (error) absolute = path;
  std::string out(kFileScheme);
  for (const char c : absolute) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("/-._~").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out;
}

/// The path of a file address; empty if it is none.
std::string address_path(std::string_view address) {
  if (!address.starts_with("file:///")) return {};
  address.remove_prefix(kFileScheme.size());
  std::string path;
  while (!address.empty()) {
    unsigned byte = 0;
    if (address[0] == '%') {
      if (address.size() < 3) return {};
      const auto read = std::from_chars(address.data() + 1, address.data() + 3, byte, 16);
      if (read.ptr != address.data() + 3 || byte == 0) return {};
      path += static_cast<char>(byte);
      address.remove_prefix(3);
    } else {
      path += address[0];
      address.remove_prefix(1);
    }
  }
  return path;
}

/// "image" ↔ "image_url", "video" ↔ "video_url"
Json saved_part(const Json& part) {
  const auto kind = part["type"].get<std::string>();
  if (kind == "text") return part;
  const std::string key = kind + "_url";
  return {{"type", key}, {key, {{"url", file_address(part[kind].get<std::string>())}}}};
}

/// Null if it is not as expected.
Json parsed_part(const Json& part) {
  if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) return nullptr;
  const auto type = part["type"].get<std::string>();
  if (type == "text") {
    if (!part.contains("text") || !part["text"].is_string()) return nullptr;
    return {{"type", "text"}, {"text", part["text"]}};
  }
  if (type != "image_url" && type != "video_url") return nullptr;
  if (!part.contains(type) || !part[type].is_object()) return nullptr;
  const Json& holder = part[type];
  if (!holder.contains("url") || !holder["url"].is_string()) return nullptr;
  const std::string path = address_path(holder["url"].get<std::string>());
  if (path.empty()) return nullptr;
  const std::string kind = type.substr(0, type.find('_'));
  return {{"type", kind}, {kind, path}};
}

Error bad(size_t message, const std::string& expected) {
  return {ErrorCode::bad_messages, fmt::format("message {}: expected {}", message, expected), ""};
}

Result<Json> question_content(const Json& content, size_t message) {
  if (content.is_string()) return Json::array({{{"type", "text"}, {"text", content}}});
  if (!content.is_array() || content.empty()) {
    return bad(message, "a text or a list of parts as its content");
  }
  Json parts = Json::array();
  for (const Json& part : content) {
    Json parsed = parsed_part(part);
    if (parsed.is_null()) {
      return bad(message, "parts of type text, image_url or video_url, the latter file:///…");
    }
    parts.push_back(std::move(parsed));
  }
  return parts;
}

/// "3,5"
std::set<size_t> message_numbers(const Json& document) {
  std::set<size_t> out;
  if (!document.contains("metadata") || !document["metadata"].is_object()) return out;
  const Json& metadata = document["metadata"];
  if (!metadata.contains("interrupted") || !metadata["interrupted"].is_string()) return out;
  const auto text = metadata["interrupted"].get<std::string>();
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    size_t number = 0;
    const auto read = std::from_chars(at, end, number);
    if (read.ec != std::errc()) break;
    out.insert(number);
    at = read.ptr + 1;
  }
  return out;
}

}  // namespace

std::string saved_conversation(const Conversation& conversation, const std::string& model) {
  Json messages = Json::array();
  for (const Json& message : conversation.messages()) {
    const Json& content = message["content"];
    Json saved = content;
    if (content.is_array()) {
      const bool only_text = content.size() == 1 && content[0]["type"] == "text";
      saved = only_text ? content[0]["text"] : Json::array();
      if (!only_text) {
        for (const Json& part : content) saved.push_back(saved_part(part));
      }
    }
    messages.push_back({{"role", message["role"]}, {"content", saved}});
  }
  Json document = {{"model", model}, {"messages", messages}};
  const std::set<size_t> interrupted = conversation.interrupted();
  if (!interrupted.empty()) {
    document["metadata"] = {{"interrupted", fmt::format("{}", fmt::join(interrupted, ","))}};
  }
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<SavedConversation> parse_conversation(std::string_view text) {
  const Json document = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return Error{ErrorCode::bad_json, "", ""};
  if (!document.is_object() || !document.contains("messages") || !document["messages"].is_array()) {
    return Error{ErrorCode::bad_messages, "expected an object with a list of messages", ""};
  }
  const Json& messages = document["messages"];
  if (messages.size() > kMaxTurns) {
    return Error{ErrorCode::bad_messages,
                 fmt::format("found {} messages, expected at most {}", messages.size(), kMaxTurns),
                 ""};
  }
  const std::set<size_t> interrupted = message_numbers(document);
  SavedConversation out;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages[i];
    const bool readable = message.is_object() && message.contains("role") &&
                          message["role"].is_string() && message.contains("content");
    if (!readable) return bad(i, "a role and a content");
    const auto role = message["role"].get<std::string>();
    const Json& content = message["content"];
    const char* const turn = out.turns.size() % 2 == 0 ? "user" : "assistant";
    if (role == "system" && i == 0) {
      if (!content.is_string()) return bad(i, "a text as its content");
      out.system = content.get<std::string>();
    } else if (role != turn) {
      return bad(i, fmt::format("the role {}", turn));
    } else if (role == "user") {
      Result<Json> parts = question_content(content, i);
      if (!parts) return parts.error();
      out.turns.push_back({std::move(*parts), false, false});
    } else {
      if (!content.is_string()) return bad(i, "a text as its content");
      out.turns.push_back({content, true, interrupted.count(i) > 0});
    }
  }
  return out;
}

Result<Conversation> load_conversation(std::string_view text, const Processor& processor,
                                       double fps) {
  Result<SavedConversation> saved = parse_conversation(text);
  if (!saved) return saved.error();
  Conversation conversation;
  conversation.set_system(saved->system);
  for (const SavedConversation::Turn& turn : saved->turns) {
    if (turn.is_answer) {
      conversation.answer(turn.content.get<std::string>(),
                          turn.interrupted ? AnswerEnd::interrupted : AnswerEnd::complete);
      continue;
    }
    UserMessage question;
    for (const Json& part : turn.content) {
      const auto kind = part["type"].get<std::string>();
      if (kind == "text") {
        question.add_text(part["text"].get<std::string>());
        continue;
      }
      const Status attached = attach_file(question, part[kind].get<std::string>(), processor, fps);
      if (!attached) return attached.error();
    }
    conversation.ask(std::move(question));
  }
  return conversation;
}

}  // namespace qvl
