#include "openai/responses.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <cmath>
#include <random>

#include "text/unicode.h"

namespace qvl {
namespace {

constexpr double kLeastLogprob = -9999.0;

double finite_logprob(float logprob) {
  return std::isfinite(logprob) ? static_cast<double>(logprob) : kLeastLogprob;
}

std::string token_name(int32_t token, const Tokenizer& tokenizer, TokenNames names) {
  if (names == TokenNames::ids) return fmt::format("token_id:{}", token);
  return replace_invalid_utf8(tokenizer.bytes(token));
}

/// As above, but tokens that are no text of their own stay apart: "bytes:\xe2\x80".
std::string distinct_name(int32_t token, const Tokenizer& tokenizer, TokenNames names) {
  const std::string_view bytes = tokenizer.bytes(token);
  if (names == TokenNames::ids || is_valid_utf8(bytes)) return token_name(token, tokenizer, names);
  std::string out = "bytes:";
  for (const char c : bytes) out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  return out;
}

WireJson bytes_json(std::string_view bytes) {
  WireJson list = WireJson::array();
  for (const char c : bytes) list.push_back(static_cast<uint8_t>(c));
  return list;
}

WireJson token_json(int32_t token, float logprob, const Tokenizer& tokenizer, TokenNames names) {
  return {{"token", token_name(token, tokenizer, names)},
          {"logprob", finite_logprob(logprob)},
          {"bytes", bytes_json(tokenizer.bytes(token))}};
}

double per_second(int64_t count, double ms) {
  return ms > 0 ? static_cast<double>(count) * 1000.0 / ms : 0;
}

}  // namespace

std::string dump(const WireJson& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, WireJson::error_handler_t::replace);
}

int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

std::string make_id(std::string_view prefix) {
  std::array<uint8_t, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    std::random_device device;
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(device());
  }
  return fmt::format("{}{:02x}", prefix, fmt::join(bytes, ""));
}

WireJson usage_json(const Usage& usage, int64_t reasoning_tokens) {
  WireJson out = {{"prompt_tokens", usage.prompt_tokens},
                  {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
                  {"completion_tokens", usage.completion_tokens},
                  {"prompt_tokens_details",
                   {{"cached_tokens", usage.cached_tokens},
                    {"image_tokens", usage.image_tokens},
                    {"text_tokens", usage.prompt_tokens - usage.image_tokens}}}};
  if (reasoning_tokens >= 0) {
    out["completion_tokens_details"] = {{"reasoning_tokens", reasoning_tokens}};
  }
  return out;
}

WireJson timings_json(const Timings& t, const Usage& usage, const MediaTimings& media) {
  const int64_t computed = usage.prompt_tokens - usage.cached_tokens;
  return {{"media_decode_ms", media.decode_ms},
          {"media_resize_ms", media.resize_ms},
          {"queue_ms", t.queue_ms},
          {"vision_ms", t.vision_ms},
          {"prefill_ms", t.prefill_ms},
          {"first_token_ms", t.first_token_ms},
          {"decode_ms", t.decode_ms},
          {"prefill_tokens_per_s", per_second(computed, t.prefill_ms)},
          {"decode_tokens_per_s", per_second(usage.completion_tokens - 1, t.decode_ms)}};
}

WireJson finish_reason_json(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return nullptr;
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
    case FinishReason::deadline:
      return "abort";
    case FinishReason::error:
      break;
  }
  return "error";
}

WireJson stop_reason_json(const StopReason& reason) {
  if (const auto* const text = std::get_if<std::string>(&reason)) return *text;
  if (const auto* const token = std::get_if<int32_t>(&reason)) return *token;
  return nullptr;
}

WireJson chat_logprob_json(const Event& event, const Tokenizer& tokenizer, TokenNames names) {
  WireJson out = token_json(event.token, event.logprob, tokenizer, names);
  WireJson top = WireJson::array();
  for (const TokenLogprob& t : event.top_logprobs) {
    top.push_back(token_json(t.token, t.logprob, tokenizer, names));
  }
  out["top_logprobs"] = std::move(top);
  return out;
}

WireJson completion_logprobs_json(const std::vector<Event>& events, const Tokenizer& tokenizer,
                                  TokenNames names, int64_t& offset) {
  WireJson offsets = WireJson::array();
  WireJson logprobs = WireJson::array();
  WireJson tokens = WireJson::array();
  WireJson tops = WireJson::array();
  for (const Event& event : events) {
    offsets.push_back(offset);
    offset += count_characters(token_name(event.token, tokenizer, TokenNames::text));
    logprobs.push_back(finite_logprob(event.logprob));
    tokens.push_back(distinct_name(event.token, tokenizer, names));
    WireJson top = WireJson::object();
    top[distinct_name(event.token, tokenizer, names)] = finite_logprob(event.logprob);
    for (const TokenLogprob& t : event.top_logprobs) {
      top[distinct_name(t.token, tokenizer, names)] = finite_logprob(t.logprob);
    }
    tops.push_back(std::move(top));
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(tops)}};
}

WireJson chat_body(const ReplyHead& head, const std::vector<ChatChoice>& choices,
                   const WireJson& usage, const WireJson& timings) {
  WireJson list = WireJson::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    const ChatChoice& choice = choices[i];
    WireJson message = {{"role", "assistant"}, {"content", choice.content},
                        {"refusal", nullptr},  {"annotations", nullptr},
                        {"audio", nullptr},    {"function_call", nullptr},
                        {"reasoning", nullptr}};
    if (choice.reasoning) {
      if (choice.content.empty()) message["content"] = nullptr;
      message["reasoning"] = *choice.reasoning;
      message["reasoning_content"] = *choice.reasoning;
    }
    list.push_back({{"index", i},
                    {"message", std::move(message)},
                    {"logprobs", choice.logprobs},
                    {"finish_reason", finish_reason_json(choice.finish)},
                    {"stop_reason", stop_reason_json(choice.stop_reason)}});
  }
  return {{"id", head.id},
          {"object", "chat.completion"},
          {"created", head.created},
          {"model", head.model},
          {"choices", std::move(list)},
          {"service_tier", nullptr},
          {"system_fingerprint", head.fingerprint},
          {"usage", usage},
          {"prompt_logprobs", nullptr},
          {"kv_transfer_params", nullptr},
          {"timings", timings}};
}

WireJson chat_chunk(const ReplyHead& head, int index, const WireJson& delta,
                    const WireJson& logprobs, FinishReason finish, const StopReason& stop_reason) {
  WireJson choice = {{"index", index},
                     {"delta", delta},
                     {"logprobs", logprobs},
                     {"finish_reason", finish_reason_json(finish)}};
  if (finish != FinishReason::none) choice["stop_reason"] = stop_reason_json(stop_reason);
  WireJson out = {{"id", head.id},
                  {"object", "chat.completion.chunk"},
                  {"created", head.created},
                  {"model", head.model},
                  {"choices", WireJson::array({std::move(choice)})}};
  if (finish != FinishReason::none) out["system_fingerprint"] = head.fingerprint;
  return out;
}

WireJson text_completion(const ReplyHead& head, const std::vector<TextChoice>& choices,
                         int first_index) {
  WireJson list = WireJson::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    list.push_back({{"index", first_index + static_cast<int>(i)},
                    {"text", choices[i].text},
                    {"logprobs", choices[i].logprobs},
                    {"finish_reason", finish_reason_json(choices[i].finish)},
                    {"stop_reason", stop_reason_json(choices[i].stop_reason)}});
  }
  return {{"id", head.id},
          {"object", "text_completion"},
          {"created", head.created},
          {"model", head.model},
          {"choices", std::move(list)}};
}

WireJson usage_chunk(const ReplyHead& head, std::string_view object, const WireJson& usage) {
  return {{"id", head.id},
          {"object", object},
          {"created", head.created},
          {"model", head.model},
          {"choices", WireJson::array()},
          {"usage", usage}};
}

}  // namespace qvl
