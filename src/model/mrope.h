#pragma once

/// Positions of Qwen3-VL's interleaved M-RoPE. A token's three positions are a pure function of its
/// index and of the spans before it, so any range of a sequence can be computed on its own: a
/// prefill chunk may begin inside a picture.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/view.h"
#include "qvl/request.h"

namespace qvl {

/// T, H and W of tokens [first, first + positions.cols).  positions: [3, count].
/// Text advances all axes by one; a picture of h × w tokens keeps T, spreads H and W over its rows
/// and columns, and advances the text after it by max(h, w).  Source: Qwen3VLModel.get_rope_index.
void mrope_positions(std::span<const EmbedSpan> spans, int64_t first, Mat<int32_t> positions);

/// Position of the first token after the prompt, minus its index: what generated tokens add to
/// their index.
int64_t rope_delta(std::span<const EmbedSpan> spans);

/// Which axis each of the head_dim / 2 frequencies turns by: T H W T H W … and T where H or W have
/// run out.
std::vector<uint8_t> mrope_axes(const std::array<int, 3>& section);

/// theta^(-2i / dim), i in [0, dim / 2), rounded to float32.
std::vector<float> inverse_frequencies(double theta, int64_t dim);

}  // namespace qvl
