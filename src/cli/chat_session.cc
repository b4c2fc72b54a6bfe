#include "cli/chat_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "cli/sampling_settings.h"
#include "cli/saved_conversation.h"
#include "cli/terminal_text.h"
#include "io/file_writer.h"
#include "io/mapped_file.h"

namespace qvl {
namespace {

constexpr size_t kMaxSavedBytes = size_t{64} << 20;

constexpr std::string_view kHelp =
    "/image PATH...      attach pictures or folders of frames to the next message\n"
    "/system [TEXT]      set the system message; without a text: none\n"
    "/set [NAME VALUE]   sampling: temperature, top_k, top_p, min_p, seed, max_tokens, ...\n"
    "/regen              answer the last question again, with another seed\n"
    "/clear              forget the conversation\n"
    "/save FILE          write the conversation as JSON; /load FILE reads it\n"
    "/stats              what the last answer took\n"
    "/exit               leave; so does Ctrl-D\n"
    "A line that ends with \\ goes on in the next. \"\"\" opens and ends a block of lines.\n"
    "A paste of several lines is one message. Ctrl-C stops an answer.\n";

void say(const std::string& text) { fmt::print(stderr, "{}\n", text); }

std::string home_folder() {
  const char* const home = std::getenv("HOME");
  return home != nullptr ? home : "";
}

Result<std::string> one_path(const std::string& argument, const char* command) {
  const Result<std::vector<std::string>> words = split_words(argument, home_folder());
  if (!words) return words.error();
  if (words->size() != 1) {
    return Error{ErrorCode::bad_command,
                 fmt::format("found {} names, expected one file", words->size()), command};
  }
  return words->front();
}

}  // namespace

ChatSession::ChatSession(const Prepared& prepared, Engine& engine, ChatOptions options,
                         const ChosenSampling& sampling)
    : prepared_(&prepared), engine_(&engine), options_(std::move(options)), sampling_(sampling) {
  conversation_.set_system(options_.system);
}

ChatSession::Next ChatSession::handle(const ChatEntry& entry, const StopQuestion& wants_stop) {
  if (entry.command == "exit" || entry.command == "quit") return Next::leave;
  const Status done =
      entry.command.empty() ? ask(entry.text, wants_stop) : command(entry, wants_stop);
  if (!done) {
    ++failures_;
    say("qvl: " + one_line(done.error().message()));
  }
  return Next::go_on;
}

Status ChatSession::command(const ChatEntry& entry, const StopQuestion& wants_stop) {
  const std::string& name = entry.command;
  const std::string& argument = entry.text;
  if (name == "image") return attach(argument);
  if (name == "set") return set(argument);
  if (name == "regen") return regenerate(wants_stop);
  if (name == "save") return save(argument);
  if (name == "load") return load(argument);
  if (name == "system") {
    const Status valid = check_utf8(argument, "/system");
    if (!valid) return valid;
    conversation_.set_system(argument);
    say(argument.empty() ? "no system message" : "system message set");
    return {};
  }
  if (name == "clear") {
    conversation_.clear();
    pending_ = {};
    last_.reset();
    say("conversation cleared");
    return {};
  }
  if (name == "stats") {
    say(last_ ? stats() : "no answer yet");
    return {};
  }
  if (name == "help") {
    fmt::print(stderr, "{}", kHelp);
    return {};
  }
  return Error{ErrorCode::bad_command,
               fmt::format("found /{}; put a space before the / to send it as text", name), ""};
}

Status ChatSession::attach(const std::string& argument) {
  const Result<std::vector<std::string>> paths = split_words(argument, home_folder());
  if (!paths) return paths.error();
  if (paths->empty()) {
    return Error{ErrorCode::bad_command, "expected the path of a picture or a folder of frames",
                 "/image"};
  }
  UserMessage message;
  for (const std::string& path : *paths) {
    const Status attached = attach_file(message, path, prepared_->processor, options_.fps);
    if (!attached) return attached;
    const MediaItem& item = message.media.back();
    say(fmt::format("{}: {}×{}, {} tokens", one_line(path), item.source.width, item.source.height,
                    item.patches.grid.patches() / prepared_->model.config.vision.merge_unit()));
  }
  pending_.append(std::move(message));
  return {};
}

Status ChatSession::set(const std::string& argument) {
  if (argument.empty()) {
    say(sampling_.origins);
    return {};
  }
  const size_t space = std::min(argument.find(' '), argument.size());
  const std::string value = argument.substr(std::min(space + 1, argument.size()));
  SamplingFlags flags = options_.sampling;
  const Status read = set_sampling(flags, argument.substr(0, space), value);
  if (!read) return read;
  Result<ChosenSampling> chosen =
      choose_sampling(flags, prepared_->model.generation, prepared_->processor.tokenizer());
  if (!chosen) return chosen.error();
  options_.sampling = std::move(flags);
  sampling_ = std::move(*chosen);
  return {};
}

Status ChatSession::regenerate(const StopQuestion& wants_stop) {
  if (!conversation_.forget_answer()) {
    return Error{ErrorCode::bad_command, "there is no question to answer again", "/regen"};
  }
  options_.sampling.seed += 1;
  sampling_.params.seed = options_.sampling.seed;
  return answer(wants_stop);
}

Status ChatSession::save(const std::string& argument) const {
  const Result<std::string> path = one_path(argument, "/save");
  if (!path) return path.error();
  const Status written =
      write_file(*path, saved_conversation(conversation_, prepared_->model.name));
  if (!written) return written;
  say(fmt::format("saved to {}", one_line(*path)));
  return {};
}

Status ChatSession::load(const std::string& argument) {
  const Result<std::string> path = one_path(argument, "/load");
  if (!path) return path.error();
  const Result<std::string> text = read_file(*path, kMaxSavedBytes);
  if (!text) return text.error();
  Result<Conversation> loaded = load_conversation(*text, prepared_->processor, options_.fps);
  if (!loaded) return loaded.error();
  conversation_ = std::move(*loaded);
  pending_ = {};
  last_.reset();
  say(fmt::format(
      "{} messages; the last: {}", conversation_.messages().size(),
      conversation_.waits_for_answer() ? "a question, /regen answers it" : "an answer"));
  return {};
}

Status ChatSession::ask(const std::string& text, const StopQuestion& wants_stop) {
  const Status valid = check_utf8(text, "message");
  if (!valid) return valid;
  UserMessage question = std::exchange(pending_, {});
  question.add_text(text);
  media_timings_ = question.timings;
  conversation_.ask(std::move(question));
  const Status answered = answer(wants_stop);
  if (answered || !conversation_.waits_for_answer()) return answered;
  // Nothing is lost: what was attached waits for the next message.
  pending_ = conversation_.take_question();
  pending_.content.erase(pending_.content.size() - 1);
  return answered;
}

Status ChatSession::answer(const StopQuestion& wants_stop) {
  Result<Request> request = conversation_.request(prepared_->processor);
  if (!request) return request.error();
  request->sampling = sampling_.params;
  const auto tokens = static_cast<int64_t>(request->prompt_tokens.size());
  const int64_t context = engine_->memory_plan().max_model_len;
  if (tokens >= context) {
    return Error{ErrorCode::context_full,
                 fmt::format("found {} tokens with this question, room for {}", tokens, context),
                 ""};
  }
  TextOutput output(options_.style);
  bool stopped = false;
  Result<Generation> generation =
      generate(*engine_, std::move(*request), prepared_->processor.tokenizer(),
               {.on_text = [&](const std::string& text) { output.write(text); },
                .wants_stop = [&] { return stopped = stopped || wants_stop(); }});
  if (!generation) return generation.error();
  output.finish();
  const bool interrupted = generation->answer.finish_reason() == FinishReason::cancelled;
  conversation_.answer(generation->answer.text(),
                       interrupted ? AnswerEnd::interrupted : AnswerEnd::complete);
  last_ = std::make_unique<Generation>(std::move(*generation));
  tell_end(*last_);
  if (options_.stats) say(stats());
  return {};
}

/// Why an answer ended, unless the model itself ended it.
void ChatSession::tell_end(const Generation& generation) const {
  const Usage& usage = generation.answer.usage();
  const int64_t used = usage.prompt_tokens + usage.completion_tokens;
  const int64_t context = engine_->memory_plan().max_model_len;
  if (generation.answer.finish_reason() == FinishReason::cancelled) {
    say("[stopped]");
  } else if (generation.answer.finish_reason() == FinishReason::length && used >= context) {
    say(fmt::format("[the context of {} tokens is full: /clear begins a new conversation]",
                    context));
  } else if (generation.answer.finish_reason() == FinishReason::length) {
    say(fmt::format("[ended after {} tokens: /set max_tokens allows more]",
                    usage.completion_tokens));
  }
}

std::string ChatSession::stats() const {
  const Usage& usage = last_->answer.usage();
  return stats_text(*last_, media_timings_) +
         fmt::format("context   {} of {} tokens", usage.prompt_tokens + usage.completion_tokens,
                     engine_->memory_plan().max_model_len);
}

}  // namespace qvl
