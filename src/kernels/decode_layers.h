#pragma once

/// All layers of a step of generated rows at once, for backends that gain by it.

#include <span>

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/norm_linear.h"

namespace qvl {

/// One layer of the text model, without a mixture of experts.
struct DecodeLayer {
  RmsNorm input_norm;
  Linear qkv;
  AttentionLayer attention;
  Linear output;
  RmsNorm post_attention_norm;
  Linear gate_up;
  Linear down;
  KvLayer cache;
};

/// The step's matrices, rows of generated tokens.
struct DecodeRows {
  Mat<float> x;  ///< in: embeddings; out: what the last layer leaves
  ActMat qkv;
  ActMat attended;
  ActMat mlp;
  RopeTable rope;
};

template <class Backend>
inline constexpr bool kHasDecodeLayers = false;
template <>
inline constexpr bool kHasDecodeLayers<Cuda> = true;

/// Computes the layers with the bits that the operators of a layer would give, or returns false
/// where this step or device does not suit it: nothing is done then. The sequences are those that
/// the backend's lists were placed from.
bool decode_layers(Cuda& cuda, std::span<const DecodeLayer> layers, const DecodeRows& rows);

}  // namespace qvl
