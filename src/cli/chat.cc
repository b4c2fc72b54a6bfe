#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <iostream>

#include "cli/chat_session.h"
#include "cli/commands.h"
#include "cli/history.h"
#include "cli/terminal.h"

namespace qvl {
namespace {

struct ChatFlags {
  EngineFlags engine;
  ChatOptions chat;
  bool plain = false;
  bool no_history = false;
};

/// A context that a conversation rarely fills and most machines hold; --max-model-len asks for
/// more.
constexpr int64_t kDefaultContext = 32'768;
constexpr int64_t kDefaultMaxTokens = 4'096;

/// Each line of the standard input is an entry; a line that cannot be answered does not stop the
/// others.
int chat_from_pipe(ChatSession& session) {
  ChatLines lines;
  std::string line;
  const auto handle = [&](const std::optional<ChatEntry>& entry) {
    return !entry || session.handle(*entry, [] { return false; }) == ChatSession::Next::go_on;
  };
  bool go_on = true;
  while (go_on && std::getline(std::cin, line)) {
    if (line.ends_with('\r')) line.pop_back();
    go_on = handle(lines.add(line));
  }
  if (go_on) handle(lines.finish());
  return session.failures() == 0 ? kSuccess : kFailure;
}

std::string prompt_text(const ChatSession& session, const ChatLines& lines) {
  if (lines.unfinished()) return "... ";
  const size_t attached = session.attached();
  return attached == 0 ? "> " : fmt::format("[{} attached] > ", attached);
}

int chat_at_terminal(ChatSession& session, const History& history) {
  Terminal terminal(history.load());
  ChatLines lines;
  std::string line;
  std::string entered;  // the lines of an entry, for the history
  while (true) {
    const Terminal::Read read = terminal.read_line(prompt_text(session, lines), line);
    if (read == Terminal::Read::end) break;
    if (read == Terminal::Read::interrupted) {
      fmt::print(stderr, "{}\n", lines.unfinished() ? "" : "\nCtrl-D or /exit leaves the chat.");
      lines.clear();
      entered.clear();
      continue;
    }
    entered += (entered.empty() ? "" : "\n") + line;
    const std::optional<ChatEntry> entry = lines.add(line);
    if (lines.unfinished()) continue;
    const std::string text = std::exchange(entered, {});
    if (!entry) continue;
    const std::string kept = entry->command.empty() ? entry->text : text;
    terminal.remember(kept);
    const Status added = history.add(kept);
    if (!added) fmt::print(stderr, "qvl: {}\n", added.error().message());

    int signal = 0;
    ChatSession::Next next = ChatSession::Next::go_on;
    {
      const AnswerGuard guard;
      next = session.handle(*entry, [&] { return guard.signal() != 0; });
      signal = guard.signal();
    }
    if (signal != 0 && signal != SIGINT) return std::raise(signal);
    if (next == ChatSession::Next::leave) return kSuccess;
    if (entry->command.empty() || entry->command == "regen") fmt::print("\n");
  }
  fmt::print("\n");
  return kSuccess;
}

int chat(ChatFlags flags) {
  Result<Prepared> prepared = prepare(flags.engine);
  if (!prepared) return fail(prepared.error());
  if (prepared->config.max_model_len == 0) {
    prepared->config.max_model_len = std::min(prepared->context(), kDefaultContext);
  }
  prepared->config.max_patches = prepared->processor.max_patches();
  const Result<ChosenSampling> sampling = choose_sampling(
      flags.chat.sampling, prepared->model.generation, prepared->processor.tokenizer());
  if (!sampling) return fail(sampling.error());
  const Result<std::unique_ptr<Engine>> engine = load_engine(*prepared);
  if (!engine) return fail(engine.error());
  if (flags.plain) flags.chat.style = TextStyle::plain;
  ChatSession session(*prepared, **engine, flags.chat, *sampling);
  if (!Terminal::is_usable()) return chat_from_pipe(session);
  fmt::print(stderr, "{} on {}, context of {} tokens. /help lists the commands.\n",
             prepared->model.name, (*engine)->load_stats().backend,
             (*engine)->memory_plan().max_model_len);
  return chat_at_terminal(session, History(flags.no_history ? "" : history_path()));
}

}  // namespace

void add_chat(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ChatFlags>();
  flags->chat.sampling.max_tokens = kDefaultMaxTokens;
  CLI::App& chat_app = *app.add_subcommand(
      "chat", "talk with a model; with a pipe as standard input, answer each of its lines");
  chat_app
      .add_option("model", flags->engine.model,
                  "checkpoint folder, or preset with --load-format dummy")
      ->required();
  add_engine_flags(chat_app, flags->engine);
  add_sampling_flags(chat_app, flags->chat.sampling);
  chat_app.add_option("--system", flags->chat.system, "system message");
  chat_app.add_option("--fps", flags->chat.fps, "frames per second of a folder of frames")
      ->check(CLI::Range(0.001, 1000.0))
      ->capture_default_str();
  chat_app.add_flag("--plain", flags->plain, "do not render Markdown");
  chat_app.add_flag("--no-history", flags->no_history, "neither read nor keep what is entered");
  chat_app.add_flag("--stats", flags->chat.stats, "print timings after every answer");
  chat_app.callback([flags, &exit_code] { exit_code = chat(*flags); });
}

}  // namespace qvl
