#pragma once

#include <memory>

#include "runtime/device.h"
#include "runtime/runner.h"

namespace qvl {

/// A loaded model as a device: the runner's work happens on a thread of its own, choosing tokens in
/// finish(). Only tokens below `token_limit` (0: all) are chosen.
std::unique_ptr<Device> make_runner_device(std::unique_ptr<Runner> runner, int64_t token_limit);

}  // namespace qvl
