#include "openai/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "io/json.h"
#include "openai/base64.h"

namespace qvl {
namespace {

using nlohmann::json;
using Ordered = nlohmann::ordered_json;

struct MediaKindName {
  std::string_view type;
  std::string_view what;
};

/// Parts that other servers take.
constexpr std::array kRefusedParts = {
    MediaKindName{"video_url", "videos"},     MediaKindName{"video", "videos"},
    MediaKindName{"input_video", "videos"},   MediaKindName{"audio_url", "sound"},
    MediaKindName{"input_audio", "sound"},    MediaKindName{"audio", "sound"},
    MediaKindName{"file", "files"},           MediaKindName{"input_file", "files"},
    MediaKindName{"document", "documents"},   MediaKindName{"image_embeds", "tensors"},
    MediaKindName{"image_pil", "PIL objects"}};

Error bad(const std::string& path, std::string detail) {
  return {ErrorCode::bad_request, std::move(detail), path};
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// Null unless `object` has a string of this name.
const std::string* text_of(const json& object, const char* name) {
  const auto member = object.find(name);
  return member == object.end() ? nullptr : member->get_ptr<const std::string*>();
}

/// The base64 text of "data:image/png;base64,…", or all of a text that is no address.
Result<std::string_view> base64_of(std::string_view url, const std::string& path) {
  constexpr size_t kLongestHead = 256;
  const std::string head = lower(url.substr(0, kLongestHead));
  if (head.starts_with("http://") || head.starts_with("https://")) {
    return Error{ErrorCode::unsupported_field,
                 "addresses on the network are not read; send the picture itself as "
                 "data:image/png;base64,…",
                 path};
  }
  if (head.starts_with("file:")) {
    return Error{ErrorCode::unsupported_field,
                 "files of the server are not read; send the picture itself as "
                 "data:image/png;base64,…",
                 path};
  }
  if (!head.starts_with("data:")) {
    if (head.find(':') == std::string::npos) return url;
    return bad(path, fmt::format("found {}, expected data:image/png;base64,…", in_quotes(url)));
  }
  const size_t comma = head.find(',');
  if (comma == std::string::npos || !head.substr(0, comma).ends_with(";base64")) {
    return bad(path, fmt::format("found {}, expected data:image/png;base64,…",
                                 in_quotes(url.substr(0, std::min<size_t>(url.size(), 40)))));
  }
  const std::string type = head.substr(5, head.find_first_of(";,") - 5);
  const bool is_picture =
      type.empty() || type.starts_with("image/") || type == "application/octet-stream";
  if (!is_picture) {
    return Error{ErrorCode::unsupported_field,
                 fmt::format("found {}, expected a picture such as image/png", in_quotes(type)),
                 path};
  }
  return url.substr(comma + 1);
}

/// Fills the limits that `fields` names.
void read_limits(const FieldReader& fields, ImageOptions& out) {
  if (const auto found = fields.integer("min_pixels")) out.min_pixels = *found;
  if (const auto found = fields.integer("max_pixels")) out.max_pixels = *found;
  if (fields.find("detail") == nullptr) return;
  const std::string detail = *fields.text("detail");
  out.detail = detail == "low"    ? ImageDetail::low
               : detail == "high" ? ImageDetail::high
                                  : ImageDetail::automatic;
}

class MessageReader {
 public:
  MessageReader(const FieldOptions& options, const ImageOptions& defaults, ChatRequest& out)
      : options_(options), limits_(options.limits), defaults_(defaults), out_(out) {}

  Status read(const json& messages);

 private:
  Status read_message(const json& message, const std::string& path);
  Status read_content(const json& content, const std::string& path, Ordered& out);
  Status read_part(const json& part, const std::string& path, Ordered& out);
  Status read_image(const json& part, const std::string& path);
  Status read_tool_calls(const json& calls, const std::string& path, Ordered& out);

  const FieldOptions& options_;
  const WireLimits& limits_;
  const ImageOptions& defaults_;
  ChatRequest& out_;
  int64_t parts_ = 0;
};

Status MessageReader::read(const json& messages) {
  const auto count = static_cast<int64_t>(messages.size());
  if (count == 0 || count > limits_.max_messages) {
    return bad("messages",
               fmt::format("found {} messages, expected 1 to {}", count, limits_.max_messages));
  }
  out_.messages = Ordered::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    Status read = read_message(messages[i], fmt::format("messages[{}]", i));
    if (!read) return read;
  }
  return {};
}

Status MessageReader::read_message(const json& message, const std::string& path) {
  if (!message.is_object()) {
    return bad(path, fmt::format("found {}, expected an object", describe(message)));
  }
  const std::string* const found = text_of(message, "role");
  constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant",
                                                      "tool"};
  if (found == nullptr || std::find(kRoles.begin(), kRoles.end(), *found) == kRoles.end()) {
    return bad(path + ".role",
               fmt::format("found {}, expected system, user, assistant or tool",
                           found == nullptr ? std::string("no role") : in_quotes(*found)));
  }
  Ordered result;
  result["role"] = *found == "developer" ? "system" : *found;
  const auto content = message.find("content");
  const bool has_content = content != message.end() && !content->is_null();
  const bool is_assistant = *found == "assistant";
  if (has_content) {
    Status read = read_content(*content, path + ".content", result["content"]);
    if (!read) return read;
  } else if (is_assistant) {
    result["content"] = "";
  } else {
    return bad(path + ".content", "found nothing, expected a string or a list of parts");
  }
  for (const char* name : {"reasoning", "reasoning_content"}) {
    if (!is_assistant) break;
    if (const std::string* const text = text_of(message, name)) result["reasoning_content"] = *text;
  }
  const auto calls = message.find("tool_calls");
  if (is_assistant && calls != message.end() && !calls->is_null()) {
    Status read = read_tool_calls(*calls, path + ".tool_calls", result["tool_calls"]);
    if (!read) return read;
  }
  out_.messages.push_back(std::move(result));
  return {};
}

Status MessageReader::read_content(const json& content, const std::string& path, Ordered& out) {
  if (content.is_string()) {
    out = content.get<std::string>();
    return {};
  }
  if (!content.is_array()) {
    return bad(path,
               fmt::format("found {}, expected a string or a list of parts", describe(content)));
  }
  const auto count = static_cast<int64_t>(content.size());
  parts_ += count;
  if (count > limits_.max_parts_per_message || parts_ > limits_.max_parts) {
    return bad(path, fmt::format("found {} parts, {} so far, expected at most {} in a message and "
                                 "{} in all",
                                 count, parts_, limits_.max_parts_per_message, limits_.max_parts));
  }
  out = Ordered::array();
  for (size_t i = 0; i < content.size(); ++i) {
    Status read = read_part(content[i], fmt::format("{}[{}]", path, i), out);
    if (!read) return read;
  }
  return {};
}

Status MessageReader::read_part(const json& part, const std::string& path, Ordered& out) {
  if (const auto* const text = part.get_ptr<const std::string*>()) {
    out.push_back({{"type", "text"}, {"text", *text}});
    return {};
  }
  const std::string* const type = part.is_object() ? text_of(part, "type") : nullptr;
  if (type == nullptr) {
    return bad(path, fmt::format("found {}, expected an object with a type", describe(part)));
  }
  if (*type == "text" || *type == "input_text" || *type == "output_text") {
    const std::string* const text = text_of(part, "text");
    if (text == nullptr) return bad(path + ".text", "expected a string");
    out.push_back({{"type", "text"}, {"text", *text}});
    return {};
  }
  if (*type == "image_url" || *type == "input_image" || *type == "image") {
    out.push_back({{"type", "image"}});
    return read_image(part, path);
  }
  const auto* const refused =
      std::find_if(kRefusedParts.begin(), kRefusedParts.end(),
                   [&](const MediaKindName& kind) { return kind.type == *type; });
  if (refused != kRefusedParts.end()) {
    return Error{ErrorCode::unsupported_field,
                 fmt::format("{} as {} are not taken, expected parts of type text and image_url",
                             refused->what, in_quotes(*type)),
                 path};
  }
  return bad(path, fmt::format("found type {}, expected text or image_url", in_quotes(*type)));
}

Status MessageReader::read_image(const json& part, const std::string& path) {
  if (static_cast<int64_t>(out_.images.size()) >= limits_.max_images) {
    return bad(path, fmt::format("found more than {} pictures", limits_.max_images));
  }
  const Result<FieldReader> fields =
      FieldReader::check(part, Place::image_part, path + ".", options_, out_.options.warnings);
  if (!fields) return fields.error();
  ImageInput image;
  image.path = path;
  image.options = defaults_;
  read_limits(*fields, image.options);

  const json* source = nullptr;
  for (const char* name : {"image_url", "image", "url"}) {
    if (source == nullptr) source = fields->find(name);
  }
  if (source != nullptr && source->is_object()) {
    const Result<FieldReader> inner = FieldReader::check(
        *source, Place::image_part, path + ".image_url.", options_, out_.options.warnings);
    if (!inner) return inner.error();
    read_limits(*inner, image.options);
    source = inner->find("url");
  }
  if (source == nullptr) {
    return bad(path, "found no picture, expected image_url with a url of data:image/png;base64,…");
  }
  const Result<std::string_view> text = base64_of(source->get_ref<const std::string&>(), path);
  if (!text) return text.error();
  const auto most = static_cast<size_t>(limits_.max_image_bytes);
  const size_t size = base64_decoded_size(*text);
  if (text->empty() || size > most) {
    return Error{text->empty() ? ErrorCode::bad_image : ErrorCode::image_too_large,
                 fmt::format("found {} bytes, expected 1 to {}", size, most), path};
  }
  Result<std::vector<uint8_t>> bytes = decode_base64(*text);
  if (!bytes) return bad(path, bytes.error().detail);
  image.bytes = std::move(*bytes);
  out_.images.push_back(std::move(image));
  return {};
}

/// Calls that an earlier answer made, as the template shows them.
Status MessageReader::read_tool_calls(const json& calls, const std::string& path, Ordered& out) {
  constexpr size_t kMaxCalls = 128;
  if (!calls.is_array() || calls.size() > kMaxCalls) {
    return bad(path,
               fmt::format("found {}, expected a list of at most {}", describe(calls), kMaxCalls));
  }
  out = Ordered::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto function = calls[i].is_object() ? calls[i].find("function") : calls[i].end();
    const bool has_function =
        calls[i].is_object() && function != calls[i].end() && function->is_object();
    const std::string* const name = has_function ? text_of(*function, "name") : nullptr;
    const std::string* const arguments = has_function ? text_of(*function, "arguments") : nullptr;
    if (name == nullptr || arguments == nullptr) {
      return bad(fmt::format("{}[{}]", path, i),
                 "expected a function with a name and arguments, both strings");
    }
    out.push_back(
        {{"type", "function"}, {"function", {{"name", *name}, {"arguments", *arguments}}}});
  }
  return {};
}

}  // namespace

Result<ImageOptions> read_processor_kwargs(const FieldReader& fields, const FieldOptions& options,
                                           std::vector<std::string>& warnings) {
  ImageOptions out;
  const json* const object = fields.find("mm_processor_kwargs");
  if (object == nullptr) return out;
  const std::string path = fields.path_of("mm_processor_kwargs.");
  const Result<FieldReader> inner =
      FieldReader::check(*object, Place::processor_kwargs, path, options, warnings);
  if (!inner) return inner.error();
  if (const json* const size = inner->find("size")) {
    const Result<FieldReader> edges =
        FieldReader::check(*size, Place::pixel_size, path + "size.", options, warnings);
    if (!edges) return edges.error();
    out.min_pixels = edges->integer("shortest_edge").value_or(0);
    out.max_pixels = edges->integer("longest_edge").value_or(0);
  }
  if (const auto found = inner->integer("min_pixels")) out.min_pixels = *found;
  if (const auto found = inner->integer("max_pixels")) out.max_pixels = *found;
  return out;
}

Status read_messages(const json& messages, const FieldOptions& options,
                     const ImageOptions& defaults, ChatRequest& out) {
  return MessageReader(options, defaults, out).read(messages);
}

}  // namespace qvl
