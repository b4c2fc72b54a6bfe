#pragma once

#include <string>

#include "cli/sampling_flags.h"

namespace qvl {

/// Sets one value by its name ("top_k", "max-tokens"), from text; "default" goes back to what the
/// checkpoint says. Error bad_command for an unknown name (with all names) or a text that is no
/// such value; ranges are checked by choose_sampling().
Status set_sampling(SamplingFlags& flags, const std::string& name, const std::string& value);

}  // namespace qvl
