#pragma once

/// Everything between a conversation and a request: chat template, pictures and videos, tokens. The
/// counterpart of transformers' Qwen3VLProcessor. Immutable after loading; safe to share.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "media/image.h"
#include "media/image_options.h"
#include "media/video.h"
#include "model/model_files.h"
#include "model/prompt.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace qvl {

struct ProcessorOptions {
  int64_t max_pixels = 0;  ///< per picture; 0: as the checkpoint says
  int64_t min_pixels = 0;
  int max_image_edge = 0;  ///< longer side of a scaled picture at most; 0: no limit of its own
  VideoWrapper video_wrapper = VideoWrapper::replaced;
  std::string chat_template_file;  ///< instead of the checkpoint's own
};

struct MediaTimings {
  double decode_ms = 0;  ///< files → pixels
  double resize_ms = 0;  ///< pixels → patches
};

/// How a conversation is rendered. Source: apply_chat_template, transformers.
struct PromptOptions {
  bool add_generation_prompt = true;
  /// The prompt ends where the text of the last message does, so that the answer goes on with it.
  bool continue_final_message = false;
  /// More variables for the template, an object; it names none of those that are always there.
  nlohmann::ordered_json template_variables = nlohmann::ordered_json::object();
};

class Processor {
 public:
  /// Reads the tokenizer and the chat template of `model`.
  static Result<Processor> load(const ModelFiles& model, const ProcessorOptions& options);

  Result<MediaItem> image(const std::string& path, MediaTimings& timings,
                          const ImageOptions& options = {}) const;
  /// The same for the bytes of an encoded picture.
  Result<MediaItem> image(std::span<const uint8_t> bytes, const ImageLimits& limits,
                          MediaTimings& timings, const ImageOptions& options = {}) const;
  Result<MediaItem> frames(const std::string& folder, double fps, MediaTimings& timings) const;

  /// `messages` as the template takes them; media in the order of their parts. `tools` may be null.
  Result<Prompt> prompt(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& tools,
                        std::span<const MediaItem> media, const PromptOptions& options = {}) const;
  /// The rendered text alone, all origins joined.
  Result<std::string> render(const nlohmann::ordered_json& messages,
                             const nlohmann::ordered_json& tools) const;

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ModelConfig& config() const { return config_; }
  /// Largest number of patches a picture or video may have under these options.
  int64_t max_patches() const;

 private:
  Result<MediaItem> scaled(Image image, const ImageOptions& options) const;

  Processor(Tokenizer tokenizer, ChatTemplate chat_template, const ModelConfig& config)
      : tokenizer_(std::move(tokenizer)), template_(std::move(chat_template)), config_(config) {}

  Tokenizer tokenizer_;
  ChatTemplate template_;
  ModelConfig config_;
  ImageBudgets image_budgets_;
  ProcessorConfig image_config_;
  ProcessorConfig video_config_;
  VideoWrapper video_wrapper_ = VideoWrapper::replaced;
  int max_image_edge_ = 0;
};

}  // namespace qvl
