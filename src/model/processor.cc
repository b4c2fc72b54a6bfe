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

struct TemplateSource {
  std::string text;
  std::string path;  ///< for messages
};

Result<TemplateSource> read_template(const std::string& path) {
  Result<std::string> text = read_file(path, kMaxConfigBytes);
  if (!text) return text.error();
  return TemplateSource{std::move(*text), path};
}

/// The field of a JSON file: a text, or a list of named ones of which "default" counts.
const std::string* template_field(const nlohmann::json& document) {
  const auto field = document.find("chat_template");
  if (!document.is_object() || field == document.end()) return nullptr;
  if (field->is_string()) return field->get_ptr<const std::string*>();
  for (const nlohmann::json& entry : *field) {
    if (!entry.is_object() || entry.value("name", nlohmann::json()) != "default") continue;
    const auto text = entry.find("template");
    if (text != entry.end() && text->is_string()) return text->get_ptr<const std::string*>();
  }
  return nullptr;
}

/// `file` if given, else the checkpoint's own, in the places and order in which the reference
/// looks.
Result<TemplateSource> find_template(const std::string& folder, const std::string& file) {
  if (!file.empty()) return read_template(file);
  const std::string jinja = folder + "/chat_template.jinja";
  if (std::filesystem::exists(jinja)) return read_template(jinja);
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const std::string path = folder + "/" + name;
    if (!std::filesystem::exists(path)) continue;
    const Result<std::string> text = read_file(path, kMaxConfigBytes);
    if (!text) return text.error();
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    if (json.is_discarded()) return Error{ErrorCode::bad_json, "", path};
    if (const std::string* found = template_field(json)) return TemplateSource{*found, path};
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
  const Result<TemplateSource> source =
      find_template(model.text_folder, options.chat_template_file);
  if (!source) return source.error();
  // Errors of rendering reach those who sent the conversation: they name the file, not its place.
  Result<ChatTemplate> chat_template =
      ChatTemplate::parse(source->text, std::filesystem::path(source->path).filename());
  if (!chat_template) {
    return Error{chat_template.error().code, chat_template.error().detail, source->path};
  }

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

Result<MediaItem> Processor::scaled(Image image, const ImageOptions& options) const {
  const ProcessorConfig& c = image_config_;
  const Result<Size> size =
      scaled_size(image.size, within_edge(options, max_image_edge_), image_budgets_);
  if (!size) return size.error();
  MediaItem item;
  item.source = image.size;
  image = resize_bicubic(std::move(image), *size);
  item.patches = make_patches({&image, 1}, {c.patch_size, c.temporal_patch_size, c.merge_size});
  return item;
}

Result<MediaItem> Processor::image(std::span<const uint8_t> bytes, const ImageLimits& limits,
                                   MediaTimings& timings, const ImageOptions& options) const {
  const Stopwatch decode;
  Result<Image> image = decode_image(bytes, limits);
  if (!image) return image.error();
  timings.decode_ms += decode.ms();
  const Stopwatch resize;
  Result<MediaItem> item = scaled(std::move(*image), options);
  timings.resize_ms += resize.ms();
  return item;
}

Result<MediaItem> Processor::image(const std::string& path, MediaTimings& timings,
                                   const ImageOptions& options) const {
  const Stopwatch decode;
  Result<Image> image = load_image(path);
  if (!image) return image.error();
  timings.decode_ms += decode.ms();
  const Stopwatch resize;
  Result<MediaItem> item = scaled(std::move(*image), options);
  if (!item) return Error{item.error().code, item.error().detail, path};
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
  for (Image& frame : video->frames) frame = resize_bicubic(std::move(frame), *size);
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
                                        const nlohmann::ordered_json& tools,
                                        const PromptOptions& options) {
  nlohmann::ordered_json context = options.template_variables;
  context["messages"] = messages;
  context["tools"] = tools;
  context["add_generation_prompt"] = options.add_generation_prompt;
  return context;
}

std::string_view stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\r\f\v";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

/// The last text of a message.
std::string final_text(const nlohmann::ordered_json& message) {
  const auto content = message.find("content");
  if (content == message.end()) return {};
  if (content->is_string()) return content->get<std::string>();
  for (auto part = content->rbegin(); part != content->rend(); ++part) {
    if (part->is_object() && part->contains("text")) return (*part)["text"].get<std::string>();
  }
  return {};
}

/// Cuts what the template puts behind the text of the last message.
/// Source: render_jinja_template, transformers utils/chat_template_utils.py.
Status cut_after_final_message(std::vector<TextPiece>& pieces,
                               const nlohmann::ordered_json& messages) {
  const Error missing{ErrorCode::bad_messages,
                      "the text of the last message is not in the rendered conversation, so that "
                      "it cannot be continued",
                      "continue_final_message"};
  if (!messages.is_array() || messages.empty()) return missing;
  const std::string text = final_text(messages.back());
  const std::string_view core = stripped(text);
  std::string rendered;
  for (const TextPiece& piece : pieces) rendered += piece.text;
  const size_t found = rendered.rfind(core);
  if (core.empty() || found == std::string::npos) return missing;
  const bool whole = std::string_view(rendered).substr(found).starts_with(text);
  size_t left = found + (whole ? text.size() : core.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (left > pieces[i].text.size()) {
      left -= pieces[i].text.size();
      continue;
    }
    pieces[i].text.resize(left);
    pieces.resize(i + 1);
  }
  return {};
}

}  // namespace

Result<Prompt> Processor::prompt(const nlohmann::ordered_json& messages,
                                 const nlohmann::ordered_json& tools,
                                 std::span<const MediaItem> media,
                                 const PromptOptions& options) const {
  Result<std::vector<TextPiece>> pieces =
      template_.render(template_context(messages, tools, options));
  if (!pieces) return pieces.error();
  if (options.continue_final_message) {
    const Status cut = cut_after_final_message(*pieces, messages);
    if (!cut) return cut.error();
  }
  return build_prompt(tokenizer_, config_, std::move(*pieces), media, video_wrapper_);
}

Result<std::string> Processor::render(const nlohmann::ordered_json& messages,
                                      const nlohmann::ordered_json& tools) const {
  const Result<std::vector<TextPiece>> pieces =
      template_.render(template_context(messages, tools, {}));
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
