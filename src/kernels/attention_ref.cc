#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention.h"
#include "kernels/rope_pairs.h"
#include "kernels/vision_attention.h"

namespace qvl {
namespace {

/// Page of the reference: keys [kv_head][token][head_dim], then values alike.
template <class T>
T* cache_row(const KvLayer& cache, const SequenceRows& sequence, int64_t index, int64_t kv_head,
             bool value) {
  const int64_t page = sequence.block_table[index / kPageTokens];
  const KvShape& shape = cache.shape;
  T* base = reinterpret_cast<T*>(cache.base + page * cache.page_bytes);
  const int64_t half = shape.num_kv_heads * kPageTokens * shape.head_dim;
  return base + (value ? half : 0) + (kv_head * kPageTokens + index % kPageTokens) * shape.head_dim;
}

void norm_head(float* x, const RmsNorm& norm) {
  const int64_t n = norm.weight.size;
  float sum = 0.0F;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const float scale = 1.0F / std::sqrt(sum / static_cast<float>(n) + norm.eps);
  for (int64_t i = 0; i < n; ++i) x[i] = norm.weight[i] * (x[i] * scale);
}

template <class T>
std::vector<float> load(const T* x, int64_t n) {
  std::vector<float> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = static_cast<float>(x[i]);
  return out;
}

/// out = Σ_j softmax_j(q·k_j / sqrt(d)) v_j over `count` keys; key(j) and value(j) point to d
/// elements.
template <class T, class Key, class Value>
std::vector<float> attend(const std::vector<float>& q, int64_t count, const Key& key,
                          const Value& value) {
  const auto d = static_cast<int64_t>(q.size());
  const float scale = 1.0F / std::sqrt(static_cast<float>(d));
  std::vector<float> weights(static_cast<size_t>(count));
  for (int64_t j = 0; j < count; ++j) {
    const T* k = key(j);
    float sum = 0.0F;
    for (int64_t i = 0; i < d; ++i) sum += q[static_cast<size_t>(i)] * static_cast<float>(k[i]);
    weights[static_cast<size_t>(j)] = sum * scale;
  }
  const float max = *std::max_element(weights.begin(), weights.end());
  float total = 0.0F;
  for (float& w : weights) total += (w = std::exp(w - max));
  std::vector<float> out(static_cast<size_t>(d), 0.0F);
  for (int64_t j = 0; j < count; ++j) {
    const T* v = value(j);
    const float w = weights[static_cast<size_t>(j)];
    for (int64_t i = 0; i < d; ++i) out[static_cast<size_t>(i)] += w * static_cast<float>(v[i]);
  }
  for (float& v : out) v /= total;
  return out;
}

template <class Act, class Kv>
void write_cache(Mat<const Act> qkv, const AttentionLayer& layer, const RopeTable& rope,
                 const SequenceRows& sequence, const KvLayer& cache) {
  const int64_t d = cache.shape.head_dim;
  const int64_t kv_heads = cache.shape.num_kv_heads;
  for (int64_t i = 0; i < sequence.rows; ++i) {
    const int64_t row = sequence.first_row + i;
    for (int64_t h = 0; h < kv_heads; ++h) {
      const Act* k = qkv.row(row) + (layer.num_heads + h) * d;
      const Act* v = qkv.row(row) + (layer.num_heads + kv_heads + h) * d;
      std::vector<float> key = load(k, d);
      norm_head(key.data(), layer.k_norm);
      rotate_pairs(key.data(), rope.cos.row(row), rope.sin.row(row), d / 2);
      Kv* to_key = cache_row<Kv>(cache, sequence, sequence.start + i, h, false);
      Kv* to_value = cache_row<Kv>(cache, sequence, sequence.start + i, h, true);
      for (int64_t c = 0; c < d; ++c) {
        to_key[c] = Kv(key[static_cast<size_t>(c)]);
        to_value[c] = Kv(static_cast<float>(v[c]));
      }
    }
  }
}

}  // namespace

int64_t kv_page_bytes(const Ref&, const KvShape& shape) {
  return Arena::padded(2 * shape.num_kv_heads * kPageTokens * shape.head_dim *
                       dtype_bytes(shape.dtype));
}

void attention(Ref&, ActMat qkv, const AttentionLayer& layer, const RopeTable& rope,
               std::span<const SequenceRows> sequences, const KvLayer& cache, ActMat out) {
  const int64_t d = cache.shape.head_dim;
  const int64_t group = layer.num_heads / cache.shape.num_kv_heads;
  dispatch_float(qkv.dtype, [&]<class Act>() {
    dispatch_float(cache.shape.dtype, [&]<class Kv>() {
      const Mat<const Act> in = qkv.as<const Act>();
      const Mat<Act> to = out.as<Act>();
      for (const SequenceRows& sequence : sequences) {
        write_cache<Act, Kv>(in, layer, rope, sequence, cache);
        for (int64_t i = 0; i < sequence.rows; ++i) {
          const int64_t row = sequence.first_row + i;
          for (int64_t h = 0; h < layer.num_heads; ++h) {
            std::vector<float> q = load(in.row(row) + h * d, d);
            norm_head(q.data(), layer.q_norm);
            rotate_pairs(q.data(), rope.cos.row(row), rope.sin.row(row), d / 2);
            const auto at = [&](bool value) {
              return [&, value](int64_t j) {
                return cache_row<Kv>(cache, sequence, j, h / group, value);
              };
            };
            const auto result = attend<Kv>(q, sequence.start + i + 1, at(false), at(true));
            for (int64_t c = 0; c < d; ++c)
              to(row, h * d + c) = Act(result[static_cast<size_t>(c)]);
          }
        }
      }
    });
  });
}

void vision_attention(Ref&, ActMat qkv, int64_t heads, const RopeTable& rope,
                      std::span<const int64_t> cu_seqlens, ActMat out) {
  const int64_t d = qkv.cols / (3 * heads);
  dispatch_float(qkv.dtype, [&]<class Act>() {
    const Mat<const Act> in = qkv.as<const Act>();
    const Mat<Act> to = out.as<Act>();
    const auto rotated = [&](int64_t row, int64_t column) {
      std::vector<float> x = load(in.row(row) + column, d);
      rotate_pairs(x.data(), rope.cos.row(row), rope.sin.row(row), d / 2);
      return x;
    };
    for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
      const int64_t first = cu_seqlens[s];
      const int64_t count = cu_seqlens[s + 1] - first;
      for (int64_t h = 0; h < heads; ++h) {
        std::vector<float> keys;
        std::vector<float> values;
        for (int64_t j = 0; j < count; ++j) {
          const std::vector<float> k = rotated(first + j, (heads + h) * d);
          const std::vector<float> v = load(in.row(first + j) + (2 * heads + h) * d, d);
          keys.insert(keys.end(), k.begin(), k.end());
          values.insert(values.end(), v.begin(), v.end());
        }
        for (int64_t i = 0; i < count; ++i) {
          const auto result = attend<float>(
              rotated(first + i, h * d), count, [&](int64_t j) { return keys.data() + j * d; },
              [&](int64_t j) { return values.data() + j * d; });
          for (int64_t c = 0; c < d; ++c) {
            to(first + i, h * d + c) = Act(result[static_cast<size_t>(c)]);
          }
        }
      }
    }
  });
}

}  // namespace qvl
