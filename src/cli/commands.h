#pragma once

/// One function per subcommand. Each declares its flags on `app` and runs when they are parsed; the
/// exit status goes to `exit_code`.

#include <CLI/CLI.hpp>

#include "qvl/error.h"

namespace qvl {

enum ExitCode : int { kSuccess = 0, kFailure = 1, kUsage = 2 };

void add_run(CLI::App& app, int& exit_code);
void add_serve(CLI::App& app, int& exit_code);
void add_chat(CLI::App& app, int& exit_code);
void add_tokens(CLI::App& app, int& exit_code);
void add_parity(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_bench_engine(CLI::App& bench_app, int& exit_code);
void add_make_dummy(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_doctor(CLI::App& app, int& exit_code);

/// Prints the error as one line and gives the status to leave with.
int fail(const Error& error);

}  // namespace qvl
