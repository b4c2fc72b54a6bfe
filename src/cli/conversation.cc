#include "cli/conversation.h"

#include <algorithm>

namespace qvl {

size_t media_parts(const Json& content) {
  if (!content.is_array()) return 0;
  return static_cast<size_t>(std::count_if(content.begin(), content.end(),
                                           [](const Json& p) { return p["type"] != "text"; }));
}

void Conversation::ask(UserMessage question) {
  turns_.push_back({{"role", "user"}, {"content", std::move(question.content)}});
  for (MediaItem& item : question.media) media_.push_back(std::move(item));
}

void Conversation::answer(const std::string& text, AnswerEnd end) {
  if (end == AnswerEnd::interrupted) interrupted_.insert(turns_.size());
  turns_.push_back({{"role", "assistant"}, {"content", text}});
}

UserMessage Conversation::take_question() {
  UserMessage question;
  question.content = std::move(turns_.back()["content"]);
  turns_.erase(turns_.size() - 1);
  const auto first = media_.end() - static_cast<std::ptrdiff_t>(media_parts(question.content));
  question.media.assign(std::make_move_iterator(first), std::make_move_iterator(media_.end()));
  media_.erase(first, media_.end());
  return question;
}

bool Conversation::forget_answer() {
  if (turns_.empty()) return false;
  if (turns_.back()["role"] == "assistant") {
    turns_.erase(turns_.size() - 1);
    interrupted_.erase(turns_.size());
  }
  return true;
}

void Conversation::clear() {
  turns_.clear();
  media_.clear();
  interrupted_.clear();
}

Json Conversation::messages() const {
  Json messages = Json::array();
  if (!system_.empty()) messages.push_back({{"role", "system"}, {"content", system_}});
  for (const Json& turn : turns_) messages.push_back(turn);
  return messages;
}

std::set<size_t> Conversation::interrupted() const {
  std::set<size_t> out;
  for (const size_t turn : interrupted_) out.insert(turn + system_messages());
  return out;
}

Result<Request> Conversation::request(const Processor& processor) const {
  Result<Prompt> prompt = processor.prompt(messages(), nullptr, media_);
  if (!prompt) return prompt.error();
  Request request;
  request.prompt_tokens = std::move(prompt->tokens);
  request.spans = std::move(prompt->spans);
  request.media.reserve(media_.size());
  for (const MediaItem& item : media_) request.media.push_back(item.patches);
  return request;
}

}  // namespace qvl
