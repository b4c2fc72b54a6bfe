#pragma once

/// The rows of the table of request fields. Only fields.cc includes this file.
/// Names and defaults as vLLM's; a range of sampling is that of SamplingParams.

#include <array>

#include "openai/fields.h"

namespace qvl {

inline constexpr uint8_t kChat = static_cast<uint8_t>(Place::chat);
inline constexpr uint8_t kCompletions = static_cast<uint8_t>(Place::completions);
inline constexpr uint8_t kBoth = kChat | kCompletions;
inline constexpr uint8_t kImagePart = static_cast<uint8_t>(Place::image_part);
inline constexpr uint8_t kStreamOptions = static_cast<uint8_t>(Place::stream_options);
inline constexpr uint8_t kProcessorKwargs = static_cast<uint8_t>(Place::processor_kwargs);
inline constexpr uint8_t kPixelSize = static_cast<uint8_t>(Place::pixel_size);

inline constexpr double kMostInt = 2147483647;
inline constexpr double kMostPixels = 1 << 28;
inline constexpr double kMostInt64 = 9223372036854775807.0;

constexpr Field honoured(std::string_view name, FieldKind kind, uint8_t places,
                         std::string_view meaning, std::string_view initial = {}) {
  return {.name = name, .kind = kind, .places = places, .meaning = meaning, .initial = initial};
}
constexpr Field ranged(Field field, double least, double most, std::string_view cost = {}) {
  field.least = least;
  field.most = most;
  field.cost = cost;
  return field;
}
constexpr Field above(Field field, double least, double most) {
  field.above_least = true;
  return ranged(field, least, most);
}
constexpr Field configured(Field field, double least, int64_t WireLimits::*most,
                           std::string_view cost) {
  field.least = least;
  field.configured_most = most;
  field.cost = cost;
  return field;
}
constexpr Field costs(Field field, std::string_view cost) {
  field.cost = cost;
  return field;
}
constexpr Field one_of(Field field, std::string_view choices) {
  field.choices = choices;
  return field;
}
constexpr Field ignored(std::string_view name, uint8_t places, std::string_view why) {
  return {.name = name, .places = places, .support = Support::ignored, .meaning = why};
}
constexpr Field refused(std::string_view name, uint8_t places, std::string_view why,
                        std::string_view neutral = {}) {
  return {.name = name,
          .places = places,
          .support = Support::refused,
          .meaning = why,
          .neutral = neutral};
}

inline constexpr std::string_view kNoSchema =
    "answers are not constrained to a schema or grammar; ask for the form in the prompt";
inline constexpr std::string_view kNoTools = "tools are not offered to the model";
inline constexpr std::string_view kNoBeams = "answers are sampled, not searched; use n";
inline constexpr std::string_view kOnlyVideo = "it concerns videos, which are not taken here";

inline constexpr std::array kFields = {
    honoured("model", FieldKind::text, kBoth,
             "name of the served model; without it, the one there is"),
    costs(honoured("messages", FieldKind::list, kChat,
                   "the conversation: a list of objects with role and content"),
          "every token of it is computed unless it is cached"),
    costs(honoured("prompt", FieldKind::any, kCompletions,
                   "a string, a list of strings, token ids, or a list of lists of token ids; a "
                   "string never becomes control tokens"),
          "every token of it is computed unless it is cached"),

    // How long.
    ranged(honoured("max_tokens", FieldKind::integer, kChat,
                    "tokens to generate at most; without it, what the context has room for"),
           1, kMostInt, "cache pages for this many tokens are reserved"),
    ranged(honoured("max_completion_tokens", FieldKind::integer, kChat,
                    "as max_tokens, before which it goes"),
           1, kMostInt),
    ranged(honoured("max_tokens", FieldKind::integer, kCompletions, "tokens to generate at most",
                    "16"),
           1, kMostInt, "cache pages for this many tokens are reserved"),
    ranged(honoured("min_tokens", FieldKind::integer, kBoth,
                    "before these, nothing ends the answer", "0"),
           0, kMostInt),
    honoured("ignore_eos", FieldKind::boolean, kBoth, "the model's own end does not end the answer",
             "false"),
    honoured("stop", FieldKind::text_or_texts, kBoth,
             "strings that end the answer; at most 16 of 1 to 1024 bytes"),
    honoured("stop_token_ids", FieldKind::tokens, kBoth, "tokens that end the answer"),
    honoured("include_stop_str_in_output", FieldKind::boolean, kBoth,
             "the string that ended the answer is part of it", "false"),
    one_of(honoured("repetition_guard", FieldKind::text, kBoth,
                    "ends an answer that has fallen into a loop, with stop_reason \"repetition\"",
                    R"("auto")"),
           R"(["auto","on","off"])"),

    // How tokens are chosen.
    ranged(honoured("temperature", FieldKind::number, kBoth,
                    "0: always the most likely token; default as the checkpoint says"),
           0, 2),
    above(honoured("top_p", FieldKind::number, kBoth,
                   "sample among the most likely tokens of this total probability; default as the "
                   "checkpoint says"),
          0, 1),
    ranged(honoured("top_k", FieldKind::integer, kBoth,
                    "sample among this many tokens, 0 or -1: all; default as the checkpoint says"),
           -1, kMostInt),
    ranged(honoured("min_p", FieldKind::number, kBoth,
                    "sample among tokens with at least this share of the most likely one's "
                    "probability; default as the checkpoint says"),
           0, 1),
    ranged(honoured("repetition_penalty", FieldKind::number, kBoth,
                    "more than 1: make tokens of prompt and answer less likely; default as the "
                    "checkpoint says"),
           0.01, 10),
    ranged(honoured("presence_penalty", FieldKind::number, kBoth,
                    "more than 0: make tokens of the answer less likely; default as the "
                    "checkpoint says"),
           -2, 2),
    ranged(honoured("frequency_penalty", FieldKind::number, kBoth,
                    "the same for each time they occurred; default as the checkpoint says"),
           -2, 2),
    honoured("logit_bias", FieldKind::object, kBoth,
             "token id to a number from -100 to 100 that is added to its logit; at most 1024"),
    ranged(honoured("seed", FieldKind::integer, kBoth,
                    "of the random numbers: equal requests have equal answers", "0"),
           -kMostInt64, kMostInt64),
    configured(honoured("n", FieldKind::integer, kBoth, "independent answers", "1"), 1,
               &WireLimits::max_n, "each answer takes cache pages and time of its own"),

    // What comes back.
    honoured("stream", FieldKind::boolean, kBoth, "send the answer as it is generated", "false"),
    honoured("stream_options", FieldKind::object, kBoth, "only with stream"),
    honoured("include_usage", FieldKind::boolean, kStreamOptions, "a last frame counts tokens",
             "true"),
    honoured("continuous_usage_stats", FieldKind::boolean, kStreamOptions,
             "every frame counts tokens", "false"),
    honoured("logprobs", FieldKind::boolean, kChat, "log probabilities of the tokens of the answer",
             "false"),
    configured(honoured("top_logprobs", FieldKind::integer, kChat,
                        "alternatives for each token; needs logprobs", "0"),
               0, &WireLimits::max_logprobs, "each alternative adds some fifty bytes per token"),
    configured(
        honoured("logprobs", FieldKind::integer, kCompletions,
                 "log probabilities and this many alternatives for each token of the answer"),
        0, &WireLimits::max_logprobs, "each alternative adds some twenty bytes per token"),
    honoured("return_tokens_as_token_ids", FieldKind::boolean, kBoth,
             "logprobs name tokens as \"token_id:123\"; default as the operator says"),
    honoured("echo", FieldKind::boolean, kChat,
             "put the last message before the answer if it is the assistant's", "false"),
    honoured("echo", FieldKind::boolean, kCompletions, "put the prompt before the answer", "false"),
    honoured("skip_special_tokens", FieldKind::boolean, kBoth,
             "leave control tokens out of the text", "true"),
    honoured("include_reasoning", FieldKind::boolean, kChat,
             "give what a thinking model thought, as reasoning and reasoning_content", "true"),

    // How the prompt is made.
    honoured("add_generation_prompt", FieldKind::boolean, kChat,
             "end the prompt where the assistant's turn begins", "true"),
    honoured("continue_final_message", FieldKind::boolean, kChat,
             "the answer goes on with the last message; needs add_generation_prompt false",
             "false"),
    honoured("chat_template_kwargs", FieldKind::object, kChat, "more variables of the template"),
    honoured("mm_processor_kwargs", FieldKind::object, kChat,
             "limits of the size of all pictures of the request"),
    ranged(honoured("min_pixels", FieldKind::integer, kProcessorKwargs | kImagePart,
                    "scale the picture to at least this area"),
           1024, kMostPixels, "1024 pixels are one token"),
    ranged(honoured("max_pixels", FieldKind::integer, kProcessorKwargs | kImagePart,
                    "scale the picture to at most this area"),
           1024, kMostPixels, "1024 pixels are one token"),
    honoured("size", FieldKind::object, kProcessorKwargs, "areas as the checkpoint names them"),
    ranged(honoured("shortest_edge", FieldKind::integer, kPixelSize, "as min_pixels"), 1024,
           kMostPixels),
    ranged(honoured("longest_edge", FieldKind::integer, kPixelSize, "as max_pixels"), 1024,
           kMostPixels),
    ignored("fps", kProcessorKwargs, kOnlyVideo),
    ignored("num_frames", kProcessorKwargs, kOnlyVideo),
    ignored("min_frames", kProcessorKwargs, kOnlyVideo),
    ignored("max_frames", kProcessorKwargs, kOnlyVideo),
    ignored("do_sample_frames", kProcessorKwargs, kOnlyVideo),

    // A picture.
    honoured("type", FieldKind::text, kImagePart, "image_url, input_image or image"),
    honoured("image_url", FieldKind::text_or_object, kImagePart,
             "\"data:image/png;base64,…\", or an object with it as its url"),
    honoured("image", FieldKind::text, kImagePart, "as image_url"),
    costs(honoured("url", FieldKind::text, kImagePart,
                   "\"data:image/png;base64,…\", or the base64 text alone"),
          "1024 pixels of the scaled picture are one token"),
    one_of(honoured("detail", FieldKind::text, kImagePart,
                    "low: at most 256 tokens; high: as the checkpoint says", R"("auto")"),
           R"(["auto","low","high"])"),
    ignored("uuid", kImagePart, "pictures are known by their content"),
    ignored("text", kImagePart, "a picture part has no text"),

    // Scheduling and caches.
    ranged(honoured("priority", FieldKind::integer, kBoth, "lower goes first", "0"), -kMostInt,
           kMostInt),
    ranged(honoured("cache_salt", FieldKind::text, kBoth,
                    "only requests of one salt share what was computed for their prompts"),
           1, 1024),
    ranged(honoured("request_id", FieldKind::text, kBoth, "a name for logs"), 1, 128),
    ranged(honoured("user", FieldKind::text, kBoth, "a label for logs"), 0, 512),
    honoured("metadata", FieldKind::object, kBoth, "labels for logs"),

    // Refused.
    refused("tools", kChat, kNoTools, "[[]]"),
    refused("tool_choice", kChat, kNoTools, R"(["none","auto"])"),
    refused("functions", kChat, kNoTools, "[[]]"),
    refused("function_call", kChat, kNoTools, R"(["none","auto"])"),
    refused("response_format", kBoth, kNoSchema, R"([{"type":"text"}])"),
    refused("structured_outputs", kBoth, kNoSchema),
    refused("guided_json", kBoth, kNoSchema),
    refused("guided_regex", kBoth, kNoSchema),
    refused("guided_choice", kBoth, kNoSchema),
    refused("guided_grammar", kBoth, kNoSchema),
    refused("grammar", kBoth, kNoSchema, R"([""])"),
    refused("json_schema", kBoth, kNoSchema),
    refused("suffix", kCompletions, "text is not filled in before a suffix", R"([""])"),
    refused("best_of", kBoth, "answers are not ranked; use n", "[1]"),
    refused("use_beam_search", kBoth, kNoBeams, "[false]"),
    refused("length_penalty", kBoth, kNoBeams, "[1,1.0]"),
    refused("prompt_logprobs", kBoth, "prompts have no log probabilities", "[0]"),
    refused("logprob_token_ids", kBoth, "log probabilities are those of the most likely tokens"),
    refused("return_token_ids", kBoth,
            "token ids are not returned; use logprobs with "
            "return_tokens_as_token_ids",
            "[false]"),
    refused("truncate_prompt_tokens", kBoth, "a prompt is never cut; shorten it"),
    refused("bad_words", kBoth, "use logit_bias", "[[]]"),
    refused("allowed_token_ids", kBoth, "use logit_bias"),
    refused("repetition_detection", kBoth, "use repetition_guard"),
    refused("thinking_token_budget", kBoth, "use max_tokens"),
    refused("documents", kChat, "put the documents into a message", "[[]]"),
    refused("chat_template", kChat, "the template is the checkpoint's or the operator's"),
    refused("prompt_embeds", kCompletions, "tensors are never read from a request"),
    refused("audio", kChat, "the model neither hears nor speaks"),
    refused("modalities", kChat, "answers are text", R"([["text"]])"),

    // Accepted for the sake of clients that always send them.
    ignored("spaces_between_special_tokens", kBoth, "this tokenizer has no such spaces"),
    ignored("add_special_tokens", kBoth, "this tokenizer adds none"),
    ignored("truncation_side", kBoth, "a prompt is never cut"),
    ignored("parallel_tool_calls", kChat, kNoTools),
    ignored("reasoning_effort", kChat, "whether a model thinks is in its checkpoint"),
    ignored("verbosity", kChat, "ask for it in the prompt"),
    ignored("media_io_kwargs", kChat, kOnlyVideo),
    ignored("store", kBoth, "nothing is stored"),
    ignored("service_tier", kBoth, "there is one"),
    ignored("prediction", kChat, "answers are the same without"),
    ignored("prompt_cache_key", kBoth, "prompts are known by their content; see cache_salt"),
    ignored("safety_identifier", kBoth, "nothing is reported"),
    ignored("session_id", kBoth, "prompts are known by their content"),
    ignored("kv_transfer_params", kBoth, "there is one engine"),
    ignored("ec_transfer_params", kBoth, "there is one engine"),
};

}  // namespace qvl
