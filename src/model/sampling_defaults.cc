#include "model/sampling_defaults.h"

namespace qvl {

GenerationConfig effective_generation(const GenerationConfig& checkpoint) {
  if (checkpoint.do_sample) return checkpoint;
  return {.eos_token_ids = checkpoint.eos_token_ids,
          .repetition_penalty = checkpoint.repetition_penalty,
          .presence_penalty = checkpoint.presence_penalty,
          .frequency_penalty = checkpoint.frequency_penalty,
          .max_new_tokens = checkpoint.max_new_tokens};
}

SamplingParams default_sampling(const GenerationConfig& checkpoint, const Tokenizer& tokenizer) {
  const GenerationConfig g = effective_generation(checkpoint);
  SamplingParams p;
  p.temperature = g.temperature.value_or(g.do_sample ? 1.0F : p.temperature);
  p.top_k = g.top_k.value_or(p.top_k);
  p.top_p = g.top_p.value_or(p.top_p);
  p.min_p = g.min_p.value_or(p.min_p);
  p.repetition_penalty = g.repetition_penalty.value_or(p.repetition_penalty);
  p.presence_penalty = g.presence_penalty.value_or(p.presence_penalty);
  p.frequency_penalty = g.frequency_penalty.value_or(p.frequency_penalty);
  p.max_tokens = g.max_new_tokens.value_or(p.max_tokens);
  p.eos_token_ids = g.eos_token_ids;
  if (p.eos_token_ids.empty()) {
    for (const char* name : {"<|im_end|>", "<|endoftext|>"}) {
      if (const auto id = tokenizer.added_token(name)) p.eos_token_ids.push_back(*id);
    }
  }
  return p;
}

}  // namespace qvl
