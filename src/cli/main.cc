#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/serve_arguments.h"

#ifndef QVL_VERSION
#define QVL_VERSION "unknown"
#endif

namespace qvl {

int fail(const Error& error) {
  fmt::print(stderr, "qvl: {}\n", error.message());
  return error.code == ErrorCode::bad_flag ? kUsage : kFailure;
}

}  // namespace qvl

namespace {

int run_program(int argc, char** argv) {
  using namespace qvl;
  std::signal(SIGPIPE, SIG_DFL);  // `qvl run … | head` ends quietly
  CLI::App app{"qvl runs the Qwen3-VL vision-language models from their Hugging Face checkpoints."};
  app.set_version_flag("--version", "qvl " QVL_VERSION);
  app.require_subcommand(1);
  int exit_code = kSuccess;
  add_run(app, exit_code);
  add_serve(app, exit_code);
  add_chat(app, exit_code);
  add_tokens(app, exit_code);
  add_parity(app, exit_code);
  add_bench(app, exit_code);
  add_make_dummy(app, exit_code);
  add_inspect(app, exit_code);
  add_doctor(app, exit_code);
  read_environment(app);
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty() && arguments[0] == "serve") {
    Result<ServeArguments> plain = serve_arguments({argv + 2, argv + argc});
    if (!plain) return fail(plain.error());
    for (const std::string& warning : plain->warnings) fmt::print(stderr, "qvl: {}\n", warning);
    arguments.resize(1);
    arguments.insert(arguments.end(), plain->arguments.begin(), plain->arguments.end());
  }
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes a list
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return fail({ErrorCode::bad_flag, e.what(), ""});
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_program(argc, argv);
  } catch (const std::exception& e) {  // out of memory, for instance
    std::fprintf(stderr, "qvl: %s\n", e.what());
    return qvl::kFailure;
  }
}
