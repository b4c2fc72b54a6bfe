#include "model/processor.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/clock.h"
#include "io/mapped_file.h"
#include "media/patches.h"
#include "media/resize.h"
#include "media/smart_resize.h"

namespace qvl {
namespace {

constexpr size_t kMaxConfigBytes = 4U << 20;

/// chat_template.jinja, or the template inside chat_template.json or tokenizer_config.json, as the
/// reference looks.
Result<std::string> find_template(const std::string& folder, const std::string& file) {
  if (!file.empty()) return read_file(file, kMaxConfigBytes);
  const std::string jinja = folder + "/chat_template.jinja";
  if (std::filesystem::exists(jinja)) return read_file(jinja, kMaxConfigBytes);
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const std::string path = folder + "/" + name;
    if (!std::filesystem::exists(path)) continue;
    const Result<std::string> text = read_file(path, kMaxConfigBytes);
    if (!text) return text.error();
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    if (json.is_discarded()) return Error{ErrorCode::bad_json, "", path};
    if (json.is_object() && json.contains("chat_template") && json["chat_template"].is_string()) {
      return json["chat_template"].get<std::string>();
    }
  }
  return Error{ErrorCode::file_not_found, "looked for chat_template.jinja and chat_template.json",
               folder};
}

PixelBudget pixel_budget(const ProcessorConfig& c) {
  return {c.min_pixels, c.max_pixels, c.patch_size * c.merge_size};
}

/// The smaller of two limits of the longer side, where 0 is none.
ImageOptions within_edge(ImageOptions options, int max_edge) {
  if (options.max_edge == 0 || (max_edge > 0 && max_edge < options.max_edge)) {
    options.max_edge = max_edge;
  }
  return options;
}

}  // namespace

Result<Processor> Processor::load(const ModelFiles& model, const ProcessorOptions& options) {
  Result<Tokenizer> tokenizer = Tokenizer::load(model.text_folder + "/tokenizer.json");
  if (!tokenizer) return tokenizer.error();
  const Result<std::string> source = find_template(model.text_folder, options.chat_template_file);
  if (!source) return source.error();
  Result<ChatTemplate> chat_template = ChatTemplate::parse(*source);
  if (!chat_template) return chat_template.error();

  Processor processor(std::move(*tokenizer), std::move(*chat_template), model.config);
  processor.image_config_ = model.image_processor;
  processor.video_config_ = model.video_processor;
  processor.video_wrapper_ = options.video_wrapper;
  processor.max_image_edge_ = options.max_image_edge;
  for (ProcessorConfig* c : {&processor.image_config_, &processor.video_config_}) {
    if (options.min_pixels > 0) c->min_pixels = options.min_pixels;
    if (options.max_pixels > 0) c->max_pixels = options.max_pixels;
    c->min_pixels = std::min(c->min_pixels, c->max_pixels);
  }
  processor.image_budgets_ = {.checkpoint = pixel_budget(model.image_processor),
                              .in_force = pixel_budget(processor.image_config_)};
  return processor;
}

Result<MediaItem> Processor::image(const std::string& path, MediaTimings& timings,
                                   const ImageOptions& options) const {
  const Stopwatch decode;
  const Result<Image> image = load_image(path);
  if (!image) return image.error();
  timings.decode_ms += decode.ms();
  const Stopwatch resize;
  const ProcessorConfig& c = image_config_;
  const Result<Size> size =
      scaled_size(image->size, within_edge(options, max_image_edge_), image_budgets_);
  if (!size) return Error{size.error().code, size.error().detail, path};
  const Image resized = resize_bicubic(*image, *size);
  MediaItem item;
  item.source = image->size;
  item.patches = make_patches({&resized, 1}, {c.patch_size, c.temporal_patch_size, c.merge_size});
  timings.resize_ms += resize.ms();
  return item;
}

Result<MediaItem> Processor::frames(const std::string& folder, double fps,
                                    MediaTimings& timings) const {
  const Stopwatch decode;
  const ProcessorConfig& c = video_config_;
  Result<Video> video = load_frame_folder(folder, fps, {c.fps, c.min_frames, c.max_frames});
  if (!video) return video.error();
  timings.decode_ms += decode.ms();
  const Stopwatch resize;
  const Result<Size> size =
      smart_resize_video(static_cast<int>(video->frames.size()), video->frames[0].size,
                         c.temporal_patch_size, pixel_budget(c));
  if (!size) return Error{size.error().code, size.error().detail, folder};
  const Size source = video->frames[0].size;
  for (Image& frame : video->frames) frame = resize_bicubic(frame, *size);
  MediaItem item;
  item.kind = MediaKind::video;
  item.source = source;
  item.patches = make_patches(video->frames, {c.patch_size, c.temporal_patch_size, c.merge_size});
  item.timestamps =
      patch_timestamps(video->frame_indices, video->source_fps, c.temporal_patch_size);
  timings.resize_ms += resize.ms();
  return item;
}

namespace {

nlohmann::ordered_json template_context(const nlohmann::ordered_json& messages,
                                        const nlohmann::ordered_json& tools) {
  nlohmann::ordered_json context;
  context["messages"] = messages;
  context["tools"] = tools;
  context["add_generation_prompt"] = true;
  return context;
}

}  // namespace

Result<Prompt> Processor::prompt(const nlohmann::ordered_json& messages,
                                 const nlohmann::ordered_json& tools,
                                 std::span<const MediaItem> media) const {
  Result<std::vector<TextPiece>> pieces = template_.render(template_context(messages, tools));
  if (!pieces) return pieces.error();
  return build_prompt(tokenizer_, config_, std::move(*pieces), media, video_wrapper_);
}

Result<std::string> Processor::render(const nlohmann::ordered_json& messages,
                                      const nlohmann::ordered_json& tools) const {
  const Result<std::vector<TextPiece>> pieces = template_.render(template_context(messages, tools));
  if (!pieces) return pieces.error();
  std::string text;
  for (const TextPiece& piece : *pieces) text += piece.text;
  return text;
}

int64_t Processor::max_patches() const {
  const int64_t patch = int64_t{image_config_.patch_size} * image_config_.patch_size;
  return std::max(image_config_.max_pixels / patch,
                  video_config_.max_pixels / patch / video_config_.temporal_patch_size);
}

}  // namespace qvl
