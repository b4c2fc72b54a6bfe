#include "openai/reply.h"

#include <algorithm>
#include <utility>

namespace qvl {
namespace {

ReplyOptions::PromptPart prompt_part(const PreparedRequest& prepared) {
  ReplyOptions::PromptPart part;
  part.prompt_tokens = static_cast<int64_t>(prepared.request.prompt_tokens.size());
  for (const EmbedSpan& span : prepared.request.spans) part.image_tokens += span.rows;
  part.echo = prepared.echo;
  part.starts_in_reasoning = prepared.starts_in_reasoning;
  return part;
}

}  // namespace

ReplyOptions chat_reply(const ChatRequest& chat, const PreparedRequest& prepared, ReplyHead head) {
  ReplyOptions out;
  out.kind = ReplyOptions::Kind::chat;
  out.head = std::move(head);
  out.request = chat.options;
  out.request.sampling = prepared.request.sampling;
  out.prompts.push_back(prompt_part(prepared));
  out.media = prepared.media;
  out.include_reasoning = chat.include_reasoning;
  return out;
}

ReplyOptions completion_reply(const CompletionRequest& completion,
                              const std::vector<PreparedRequest>& prepared, ReplyHead head) {
  ReplyOptions out;
  out.kind = ReplyOptions::Kind::completion;
  out.head = std::move(head);
  out.request = completion.options;
  for (const PreparedRequest& one : prepared) out.prompts.push_back(prompt_part(one));
  return out;
}

Reply::Choice::Choice(const Tokenizer& tokenizer, const RequestOptions& request,
                      size_t prompt_index)
    : answer(tokenizer, request.sampling,
             request.skip_special_tokens ? Detokenizer::Special::skip : Detokenizer::Special::keep),
      prompt(prompt_index) {}

Reply::Reply(ReplyOptions options, const Tokenizer& tokenizer)
    : options_(std::move(options)),
      tokenizer_(&tokenizer),
      think_end_(tokenizer.added_token("</think>")) {
  for (size_t p = 0; p < options_.prompts.size(); ++p) {
    const ReplyOptions::PromptPart& part = options_.prompts[p];
    for (int i = 0; i < options_.request.sampling.n; ++i) {
      Choice& choice = choices_.emplace_back(tokenizer, options_.request, p);
      choice.content = part.echo;
      choice.text_offset = count_characters(part.echo);
      choice.thinks = options_.kind == ReplyOptions::Kind::chat && part.starts_in_reasoning;
      if (choice.thinks) choice.splitter.emplace();
    }
  }
  unfinished_ = choices_.size();
}

std::vector<std::string> Reply::start() {
  std::vector<std::string> frames;
  if (!options_.request.stream) return frames;
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    const std::string& echo = options_.prompts[choice.prompt].echo;
    if (options_.kind == ReplyOptions::Kind::chat) {
      frames.push_back(with_usage(
          chat_chunk(options_.head, static_cast<int>(i), {{"role", "assistant"}, {"content", ""}},
                     nullptr, FinishReason::none, {}),
          choice));
      if (!echo.empty()) frames.push_back(chat_frame(i, {{}, echo}, nullptr));
    } else if (!echo.empty()) {
      frames.push_back(text_frame(i, echo, nullptr));
    }
  }
  return frames;
}

void Reply::take(Choice& choice, const Event& event, bool is_kept) {
  if (event.token >= 0 && is_kept) {
    ++choice.generated;
    if (choice.thinks && choice.reasoning_tokens == choice.generated - 1 &&
        event.token != think_end_) {
      ++choice.reasoning_tokens;
    }
    if (options_.request.sampling.top_logprobs >= 0) choice.tokens.push_back(event);
  }
  if (event.finish == FinishReason::none) return;
  --unfinished_;
  if (event.finish == FinishReason::error) failed_ = true;
}

std::vector<std::string> Reply::push(size_t index, const Event& event) {
  Choice& choice = choices_[index];
  const bool is_kept = !choice.answer.wants_cancel();
  const std::string text = choice.answer.push(event);
  take(choice, event, is_kept);

  ReasoningSplitter::Piece piece;
  if (choice.splitter) {
    piece = choice.splitter->push(text);
    if (choice.answer.finished()) piece.reasoning += choice.splitter->finish().reasoning;
    if (!options_.include_reasoning) piece.reasoning.clear();
  } else {
    piece.content = text;
  }
  choice.reasoning += piece.reasoning;
  choice.content += piece.content;

  std::vector<std::string> frames;
  if (!options_.request.stream) return frames;
  const bool has_token = event.token >= 0 && is_kept;
  WireJson token_logprobs;
  if (has_token && options_.request.sampling.top_logprobs >= 0) {
    token_logprobs = logprobs({event}, choice.text_offset);
    choice.tokens.clear();
  }
  const bool is_silent =
      piece.reasoning.empty() && piece.content.empty() && token_logprobs.is_null();
  if (is_silent && !choice.answer.finished()) return frames;
  frames.push_back(options_.kind == ReplyOptions::Kind::chat
                       ? chat_frame(index, piece, token_logprobs)
                       : text_frame(index, piece.content, token_logprobs));
  return frames;
}

WireJson Reply::logprobs(const std::vector<Event>& events, int64_t& offset) const {
  const TokenNames names = options_.request.tokens_as_ids ? TokenNames::ids : TokenNames::text;
  if (options_.kind == ReplyOptions::Kind::completion) {
    return completion_logprobs_json(events, *tokenizer_, names, offset);
  }
  WireJson content = WireJson::array();
  for (const Event& event : events) {
    content.push_back(chat_logprob_json(event, *tokenizer_, names));
  }
  WireJson out;
  out["content"] = std::move(content);
  return out;
}

std::string Reply::chat_frame(size_t index, const ReasoningSplitter::Piece& piece,
                              const WireJson& token_logprobs) const {
  const Answer& answer = choices_[index].answer;
  WireJson delta = WireJson::object();
  if (!piece.reasoning.empty()) {
    delta["reasoning"] = piece.reasoning;
    delta["reasoning_content"] = piece.reasoning;
  }
  const bool needs_content = piece.reasoning.empty() && !token_logprobs.is_null();
  if (!piece.content.empty() || needs_content) delta["content"] = piece.content;
  const bool ended = answer.finished();
  return with_usage(chat_chunk(options_.head, static_cast<int>(index), delta, token_logprobs,
                               ended ? answer.finish_reason() : FinishReason::none,
                               ended ? answer.stop_reason() : StopReason()),
                    choices_[index]);
}

std::string Reply::text_frame(size_t index, const std::string& text,
                              const WireJson& token_logprobs) const {
  const Answer& answer = choices_[index].answer;
  TextChoice choice{.text = text, .logprobs = token_logprobs};
  if (answer.finished()) {
    choice.finish = answer.finish_reason();
    choice.stop_reason = answer.stop_reason();
  }
  return with_usage(text_completion(options_.head, {choice}, static_cast<int>(index)),
                    choices_[index]);
}

Usage Reply::usage_of(const Choice& choice) const {
  const ReplyOptions::PromptPart& part = options_.prompts[choice.prompt];
  Usage out{.prompt_tokens = part.prompt_tokens,
            .image_tokens = part.image_tokens,
            .completion_tokens = choice.generated};
  if (choice.answer.finished()) out.cached_tokens = choice.answer.usage().cached_tokens;
  return out;
}

std::string Reply::with_usage(WireJson frame, const Choice& choice) const {
  if (options_.request.continuous_usage_stats) {
    frame["usage"] = usage_json(usage_of(choice), choice.thinks ? choice.reasoning_tokens : -1);
  }
  return dump(frame);
}

Usage Reply::usage() const {
  Usage sum;
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Usage one = usage_of(choices_[i]);
    sum.completion_tokens += one.completion_tokens;
    const bool is_first_of_prompt = i == choice(choices_[i].prompt, 0);
    if (!is_first_of_prompt) continue;
    sum.prompt_tokens += one.prompt_tokens;
    sum.image_tokens += one.image_tokens;
    sum.cached_tokens += one.cached_tokens;
  }
  return sum;
}

int64_t Reply::reasoning_tokens() const {
  int64_t sum = -1;
  for (const Choice& choice : choices_) {
    if (choice.thinks) sum = std::max<int64_t>(sum, 0) + choice.reasoning_tokens;
  }
  return sum;
}

std::vector<std::string> Reply::end() const {
  if (!options_.request.stream || !options_.request.include_usage) return {};
  const bool is_chat = options_.kind == ReplyOptions::Kind::chat;
  WireJson frame = usage_chunk(options_.head, is_chat ? "chat.completion.chunk" : "text_completion",
                               usage_json(usage(), reasoning_tokens()));
  const Choice& first = choices_.front();
  frame["timings"] = timings_json(first.answer.timings(), usage_of(first), options_.media);
  return {dump(frame)};
}

std::string Reply::body() const {
  const bool has_logprobs = options_.request.sampling.top_logprobs >= 0;
  const WireJson used = usage_json(usage(), reasoning_tokens());
  const Choice& first = choices_.front();
  const WireJson timings = timings_json(first.answer.timings(), usage_of(first), options_.media);
  std::vector<ChatChoice> chats;
  std::vector<TextChoice> texts;
  for (const Choice& choice : choices_) {
    int64_t offset = choice.text_offset;
    const WireJson listed = has_logprobs ? logprobs(choice.tokens, offset) : WireJson();
    const FinishReason finish = choice.answer.finish_reason();
    if (options_.kind == ReplyOptions::Kind::chat) {
      ChatChoice out{.content = choice.content, .logprobs = listed, .finish = finish};
      if (choice.thinks && options_.include_reasoning) out.reasoning = choice.reasoning;
      out.stop_reason = choice.answer.stop_reason();
      chats.push_back(std::move(out));
    } else {
      texts.push_back({choice.content, listed, finish, choice.answer.stop_reason()});
    }
  }
  if (options_.kind == ReplyOptions::Kind::chat) {
    return dump(chat_body(options_.head, chats, used, timings));
  }
  WireJson out = text_completion(options_.head, texts, 0);
  out["system_fingerprint"] = options_.head.fingerprint;
  out["usage"] = used;
  out["timings"] = timings;
  return dump(out);
}

}  // namespace qvl
