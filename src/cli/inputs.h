#pragma once

/// What a user names on the command line or attaches in a chat, in any order → the parts of one
/// user message. Shared by every command that takes inputs.

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/processor.h"

namespace qvl {

using Json = nlohmann::ordered_json;

/// A user message as the chat template takes it.
struct UserMessage {
  Json content = Json::array();  ///< {type: text, text} | {type: image, image: path} | {type:
                                 ///< video, video: path}
  std::vector<MediaItem> media;  ///< of the picture and video parts, in their order
  MediaTimings timings;          ///< of reading them

  bool empty() const { return content.empty(); }
  void add_text(const std::string& text);
  /// Puts `other` behind this message.
  void append(UserMessage other);
};

struct InputOptions {
  double fps = 24.0;  ///< of folders of frames
  std::FILE* standard_input = stdin;
};

/// Reads each input: a folder is a video of frames, a file a picture, "-" the text on the standard
/// input (once, UTF-8, at most 16 MiB), anything else a text. Error for what is neither: an
/// address, or a missing file whose name looks like a picture, a video or a document.
Result<UserMessage> read_inputs(const std::vector<std::string>& inputs, const Processor& processor,
                                const InputOptions& options);

/// A picture or a folder of frames; file_not_found if there is no such path.
Status attach_file(UserMessage& message, const std::string& path, const Processor& processor,
                   double fps);

/// The messages of a conversation of one question; no system message if `system` is empty.
Json one_question(const std::string& system, const UserMessage& question);

/// bad_text, naming the first byte that is not UTF-8, and its offset.
Status check_utf8(std::string_view text, const std::string& field);

}  // namespace qvl
