#pragma once

/// What tests of serve's command line share.

#include <string>
#include <vector>

#include "cli/serve_arguments.h"
#include "cli/serve_flags.h"

namespace qvl {

struct Outcome {
  ServeFlags flags;
  std::vector<std::string> warnings;
  std::string error;  ///< "field: detail"
};

inline Outcome serve(const std::vector<std::string>& arguments) {
  Outcome out;
  const Result<ServeArguments> plain = serve_arguments(arguments);
  if (!plain) {
    out.error = plain.error().field + ": " + plain.error().detail;
    return out;
  }
  out.warnings = plain->warnings;
  ServeFlags flags;
  CLI::App app;
  CLI::App& command = *app.add_subcommand("serve", "");
  add_serve_flags(command, flags);
  std::vector<std::string> words(plain->arguments.rbegin(), plain->arguments.rend());
  words.emplace_back("serve");
  try {
    app.parse(std::move(words));
    out.flags = flags;
  } catch (const CLI::ParseError& e) {
    out.error = std::string("CLI11: ") + e.what();
  }
  return out;
}

/// A command line as a shell splits it: '…', "…" and \ before a line end.
inline Outcome serve(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool is_word = false;
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0 ? c == quote : c == '\'' || c == '"') {
      quote = quote != 0 ? '\0' : c;
      is_word = true;
    } else if (quote == 0 && c == '\\' && line[i + 1] == '\n') {
      ++i;
    } else if (quote == 0 && (c == ' ' || c == '\n')) {
      if (is_word) words.push_back(word);
      word.clear();
      is_word = false;
    } else {
      word += c;
      is_word = true;
    }
  }
  if (is_word) words.push_back(word);
  return serve(words);
}

using Lines = std::vector<std::string>;

}  // namespace qvl
