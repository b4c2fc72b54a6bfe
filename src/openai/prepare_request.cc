#include "openai/prepare_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "io/json.h"

namespace qvl {
namespace {

bool equal_names(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

Status check_model(const std::string& asked, const ServedModel& model) {
  if (asked.empty()) return {};
  for (const std::string& name : model.names) {
    if (equal_names(asked, name)) return {};
  }
  return Error{ErrorCode::unknown_model,
               fmt::format("found {}, expected {}", in_quotes(asked), in_quotes(model.names[0])),
               "model"};
}

int64_t image_tokens(const Request& request) {
  int64_t sum = 0;
  for (const EmbedSpan& span : request.spans) sum += span.rows;
  return sum;
}

/// Gives the answer the room that was asked for, or all there is. `field` names the prompt.
Status fit_into_context(Request& request, std::optional<int64_t> max_tokens,
                        const ServedModel& model, const std::string& field) {
  const auto prompt = static_cast<int64_t>(request.prompt_tokens.size());
  const int64_t room = model.context - prompt;
  const int64_t wanted = max_tokens.value_or(1);
  if (wanted > room) {
    return Error{ErrorCode::prompt_too_long,
                 fmt::format("found {} tokens of prompt, {} of them of pictures, and {} of answer, "
                             "which is {} in all; expected at most {}",
                             prompt, image_tokens(request), wanted, prompt + wanted, model.context),
                 field};
  }
  request.sampling.max_tokens = max_tokens.value_or(room);
  if (request.sampling.min_tokens > request.sampling.max_tokens) {
    return Error{ErrorCode::bad_request,
                 fmt::format("found {}, expected at most {}: what the context has room for",
                             request.sampling.min_tokens, request.sampling.max_tokens),
                 "min_tokens"};
  }
  return {};
}

/// Looks back from the end of the prompt to the beginning of its last turn.
bool ends_in_reasoning(const std::vector<int32_t>& tokens, const Tokenizer& tokenizer) {
  const auto open = tokenizer.added_token("<think>");
  const auto close = tokenizer.added_token("</think>");
  const auto turn = tokenizer.added_token("<|im_start|>");
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    if (*token == open) return true;
    if (*token == close || *token == turn) return false;
  }
  return false;
}

Result<std::vector<MediaItem>> decode_images(const std::vector<ImageInput>& images,
                                             const Processor& processor, const WireLimits& limits,
                                             MediaTimings& timings) {
  std::vector<MediaItem> media;
  media.reserve(images.size());
  int64_t pixels_left = limits.max_total_pixels;
  for (const ImageInput& image : images) {
    const ImageLimits decoder{.max_file_bytes = limits.max_image_bytes,
                              .max_pixels = std::min(limits.max_image_pixels, pixels_left)};
    Result<MediaItem> item = processor.image(image.bytes, decoder, timings, image.options);
    if (!item) return Error{item.error().code, item.error().detail, image.path};
    pixels_left -= item->source.pixels();
    media.push_back(std::move(*item));
  }
  return media;
}

std::string joined_text(const nlohmann::ordered_json& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (const auto& part : content) {
    if (part["type"] == "text") text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

std::string text_of_tokens(const std::vector<int32_t>& tokens, const Tokenizer& tokenizer) {
  Detokenizer detokenizer(tokenizer, Detokenizer::Special::keep);
  std::string text;
  for (const int32_t token : tokens) text += detokenizer.push(token);
  return text + detokenizer.finish();
}

}  // namespace

Result<PreparedRequest> prepare_chat(const ChatRequest& chat, const ServedModel& model,
                                     const WireLimits& limits) {
  const Status served = check_model(chat.options.model, model);
  if (!served) return served.error();
  PreparedRequest out;
  Result<std::vector<MediaItem>> media =
      decode_images(chat.images, *model.processor, limits, out.media);
  if (!media) return media.error();
  Result<Prompt> prompt = model.processor->prompt(chat.messages, nullptr, *media, chat.prompt);
  if (!prompt) {
    const Error& error = prompt.error();
    return Error{error.code, error.detail, error.field.empty() ? "messages" : error.field};
  }
  out.request.prompt_tokens = std::move(prompt->tokens);
  out.request.spans = std::move(prompt->spans);
  for (MediaItem& item : *media) out.request.media.push_back(std::move(item.patches));
  out.request.cache_salt = chat.options.cache_salt;
  out.request.priority = chat.options.priority;
  out.request.sampling = chat.options.sampling;
  const Status fits = fit_into_context(out.request, chat.options.max_tokens, model, "messages");
  if (!fits) return fits.error();
  out.starts_in_reasoning =
      ends_in_reasoning(out.request.prompt_tokens, model.processor->tokenizer());
  const auto& last = chat.messages.back();
  if (chat.options.echo && last["role"] == "assistant") out.echo = joined_text(last["content"]);
  return out;
}

Result<std::vector<PreparedRequest>> prepare_completion(CompletionRequest& completion,
                                                        const ServedModel& model) {
  const Status served = check_model(completion.options.model, model);
  if (!served) return served.error();
  const Tokenizer& tokenizer = model.processor->tokenizer();
  const ModelConfig& config = model.processor->config();
  std::vector<PreparedRequest> all;
  all.reserve(completion.prompts.size());
  for (size_t i = 0; i < completion.prompts.size(); ++i) {
    const std::string field =
        completion.prompts.size() == 1 ? "prompt" : fmt::format("prompt[{}]", i);
    PreparedRequest out;
    if (const auto* const text = std::get_if<std::string>(&completion.prompts[i])) {
      out.request.prompt_tokens = tokenizer.encode(*text, Origin::user);
      if (text->find("<|") != std::string::npos) {
        completion.options.warnings.push_back(
            field + ": control tokens in a text are only text; send token ids to mean them");
      }
      if (completion.options.echo) out.echo = *text;
    } else {
      out.request.prompt_tokens = std::get<std::vector<int32_t>>(completion.prompts[i]);
      for (const int32_t token : out.request.prompt_tokens) {
        if (token == config.image_token_id || token == config.video_token_id ||
            token >= config.text.vocab_size) {
          return Error{ErrorCode::bad_request,
                       fmt::format("found token {}, expected one of the vocabulary of {} that is "
                                   "no placeholder of pictures",
                                   token, config.text.vocab_size),
                       field};
        }
      }
      if (completion.options.echo) out.echo = text_of_tokens(out.request.prompt_tokens, tokenizer);
    }
    if (out.request.prompt_tokens.empty()) {
      return Error{ErrorCode::prompt_empty, "found 0 tokens", field};
    }
    out.request.cache_salt = completion.options.cache_salt;
    out.request.priority = completion.options.priority;
    out.request.sampling = completion.options.sampling;
    const Status fits = fit_into_context(out.request, completion.options.max_tokens, model, field);
    if (!fits) return fits.error();
    all.push_back(std::move(out));
  }
  return all;
}

}  // namespace qvl
