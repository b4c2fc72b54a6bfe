#pragma once

/// What a checkpoint's generation_config.json means for sampling; the same for the command line and
/// for requests over the wire.

#include "io/processor_config.h"
#include "qvl/sampling.h"
#include "text/tokenizer.h"

namespace qvl {

/// What counts of `checkpoint`: one that does not ask for do_sample is greedy, and its limits count
/// only if it does.
GenerationConfig effective_generation(const GenerationConfig& checkpoint);

/// The checkpoint's parameters over the built-in ones. Unless the checkpoint names them,
/// <|im_end|> and <|endoftext|> end an answer.
SamplingParams default_sampling(const GenerationConfig& checkpoint, const Tokenizer& tokenizer);

}  // namespace qvl
