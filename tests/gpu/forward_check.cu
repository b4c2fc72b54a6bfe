/// Where a picture's time goes: every operator of a block of the vision tower and of a text layer,
/// one by one, beside the whole tower and the whole prompt. Random weights of the real shapes, each
/// layer's its own, so that they come from memory as in an answer.
///
/// `gpu` is the device's time per call with the queue filled beforehand, `host` what queueing a
/// call takes; `wall` is from an idle device to the result. The rows of a short prompt and of a
/// picture alone must have the same bits as in longer ones: it exits 1 if they do not.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/cuda.h"
#include "io/dummy.h"
#include "kernels/candidates.h"
#include "kernels/device_lists.h"
#include "kernels/features.h"
#include "kernels/rope.h"
#include "kernels/staging.h"
#include "kernels/transfer.h"
#include "media/patches.h"
#include "model/text.h"
#include "model/vision.h"

namespace qvl {
namespace {

constexpr int64_t kMaxRows = 4096;
constexpr int64_t kMaxPatches = 16384;
constexpr int kRounds = 5;

__device__ uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Nearly normal with deviation `scale`: the sum of four uniform numbers.
template <class T>
__global__ void noise_kernel(T* x, int64_t size, uint64_t seed, float scale) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < size; i += step) {
    const uint64_t z = mixed((seed << 40) + static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15U);
    float sum = -131070.0F;
    for (int part = 0; part < 4; ++part) sum += static_cast<float>((z >> (16 * part)) & 0xffffU);
    x[i] = T(sum * scale * (1.0F / 37837.0F));
  }
}

__global__ void ones_kernel(float* x, int64_t size) {
  for (int64_t i = threadIdx.x; i < size; i += blockDim.x) x[i] = 1.0F;
}

/// Keeps the device busy while the host fills the queue.
__global__ void delay_kernel(uint64_t nanoseconds) {
  uint64_t begin = 0;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
  for (uint64_t now = begin; now - begin < nanoseconds;) {
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  }
}

/// bfloat16 bits of a float, to the nearest.
struct Half {
  uint16_t bits;
  __device__ explicit Half(float v) {
    const uint32_t word = __float_as_uint(v);
    bits = static_cast<uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
  }
};

class Noise {
 public:
  explicit Noise(Arena& memory) : memory_(memory) {}

  Linear linear(int64_t out, int64_t in, LinearKind kind = LinearKind::plain, bool bias = false) {
    void* const w = memory_.take_bytes(out * in * 2);
    halves(w, out * in, 1.0F / std::sqrt(static_cast<float>(in)));
    return {{.out = out, .in = in, .kind = kind}, w, bias ? floats(out, 0.02F) : nullptr};
  }
  RmsNorm rms_norm(int64_t size) { return {.weight = {ones(size), size}}; }
  LayerNorm layer_norm(int64_t size) {
    return {.weight = {ones(size), size}, .bias = {floats(size, 0.02F), size}};
  }
  float* floats(int64_t size, float scale) {
    auto* const x = memory_.take<float>(size);
    noise_kernel<<<1024, 256>>>(x, size, ++seed_, scale);
    return x;
  }
  void halves(void* x, int64_t size, float scale) {
    noise_kernel<<<1024, 256>>>(static_cast<Half*>(x), size, ++seed_, scale);
  }

 private:
  float* ones(int64_t size) {
    auto* const x = memory_.take<float>(size);
    ones_kernel<<<1, 256>>>(x, size);
    return x;
  }

  Arena& memory_;
  uint64_t seed_ = 0;
};

Arena device_arena(const char* name, int64_t bytes) {
  Result<Arena> arena = make_device_arena(name, bytes);
  if (!arena) throw CudaError(arena.error().message());
  return std::move(*arena);
}

ModelWeights random_weights(const ModelConfig& config, Noise& noise) {
  ModelWeights weights;
  const TextConfig& t = config.text;
  weights.text.embedding = noise.linear(t.vocab_size, t.hidden_size);
  for (int64_t l = 0; l < t.num_hidden_layers; ++l) {
    weights.text.layers.push_back(
        {.input_norm = noise.rms_norm(t.hidden_size),
         .qkv = noise.linear(t.q_size() + 2 * t.kv_size(), t.hidden_size),
         .attention = {t.num_attention_heads, noise.rms_norm(t.head_dim),
                       noise.rms_norm(t.head_dim)},
         .output = noise.linear(t.hidden_size, t.q_size()),
         .post_attention_norm = noise.rms_norm(t.hidden_size),
         .gate_up = noise.linear(2 * t.intermediate_size, t.hidden_size, LinearKind::gate_up),
         .down = noise.linear(t.hidden_size, t.intermediate_size),
         .experts = {}});
  }
  weights.text.norm = noise.rms_norm(t.hidden_size);
  weights.text.head = config.tie_word_embeddings ? weights.text.embedding
                                                 : noise.linear(t.vocab_size, t.hidden_size);
  const VisionConfig& v = config.vision;
  const auto biased = [&](int64_t out, int64_t in) {
    return noise.linear(out, in, LinearKind::plain, true);
  };
  weights.vision.patch_embed = biased(v.hidden_size, v.patch_dim());
  weights.vision.position_table =
      make_mat<const float>(noise.floats(v.num_position_embeddings * v.hidden_size, 0.02F),
                            v.num_position_embeddings, v.hidden_size);
  for (int64_t l = 0; l < v.depth; ++l) {
    weights.vision.blocks.push_back({.norm1 = noise.layer_norm(v.hidden_size),
                                     .qkv = biased(3 * v.hidden_size, v.hidden_size),
                                     .proj = biased(v.hidden_size, v.hidden_size),
                                     .norm2 = noise.layer_norm(v.hidden_size),
                                     .fc1 = biased(v.intermediate_size, v.hidden_size),
                                     .fc2 = biased(v.hidden_size, v.intermediate_size)});
  }
  const int64_t merged = v.merge_unit() * v.hidden_size;
  const auto merger = [&](int64_t norm_size) {
    return MergerWeights{noise.layer_norm(norm_size), biased(merged, merged),
                         biased(v.out_hidden_size, merged)};
  };
  weights.vision.merger = merger(v.hidden_size);
  for (size_t k = 0; k < v.deepstack_visual_indexes.size(); ++k) {
    weights.vision.deepstack.push_back(merger(merged));
  }
  return weights;
}

int64_t weight_bytes(const ModelConfig& config) {
  int64_t bytes = 64LL << 20;  // norms and biases are float32 here, and rows of 64 bytes
  for (const TensorInfo& t : expected_tensors(config))
    bytes += Arena::padded(t.rows() * t.row_bytes());
  return bytes + config.vision.num_position_embeddings * config.vision.hidden_size * 4;
}

struct Timing {
  double gpu_us = 0;
  double host_us = 0;
};

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

class Bench {
 public:
  explicit Bench(const Cuda& device) : cuda(device) {
    cuda.stream = stream_.get();
    cuda.scratch = &scratch_;
    cuda.read_back = &read_back_;
    cuda.staging = &staging_;
    check(cudaEventCreate(&begin_));
    check(cudaEventCreate(&end_));
  }
  ~Bench() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }

  /// Of one call of `work(i)`, i from 0 to calls - 1.
  template <class Work>
  Timing time(int calls, Work&& work) {
    work(0);
    wait();
    std::vector<double> gpu;
    std::vector<double> host;
    for (int round = 0; round < kRounds; ++round) {
      delay_kernel<<<1, 1, 0, stream_.get()>>>(3'000'000);
      check(cudaEventRecord(begin_, stream_.get()));
      const Stopwatch clock;
      for (int i = 0; i < calls; ++i) work(i);
      host.push_back(clock.ms() * 1e3 / calls);
      check(cudaEventRecord(end_, stream_.get()));
      wait();
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin_, end_));
      gpu.push_back(static_cast<double>(ms) * 1e3 / calls);
    }
    return {median(gpu), median(host)};
  }

  /// Milliseconds from an idle device to an idle device.
  template <class Work>
  double wall_ms(Work&& work) {
    std::vector<double> ms;
    for (int round = 0; round < kRounds; ++round) {
      wait();
      const Stopwatch clock;
      work();
      wait();
      ms.push_back(clock.ms());
    }
    return median(ms);
  }

  void wait() { check(cudaStreamSynchronize(stream_.get())); }

  Cuda cuda;

 private:
  CudaStream stream_ = make_stream();
  Arena scratch_ = device_arena("scratch", kMaxPatches * 4096 * 3);
  std::vector<std::byte> read_back_;
  Staging staging_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

/// One line of the table; `operations` and `bytes` are those of a call, 0 where they say nothing.
class Table {
 public:
  explicit Table(const std::string& title) {
    std::printf("\n%s\n%-26s %9s %9s %9s %9s %5s %9s\n", title.c_str(), "", "gpu us", "host us",
                "TFLOP/s", "GB/s", "calls", "gpu ms");
  }
  void row(const char* name, const Timing& t, double operations, double bytes, int64_t calls) {
    std::printf("%-26s %9.2f %9.2f %9.0f %9.0f %5lld %9.3f\n", name, t.gpu_us, t.host_us,
                operations / t.gpu_us / 1e6, bytes / t.gpu_us / 1e3, static_cast<long long>(calls),
                t.gpu_us * static_cast<double>(calls) / 1e3);
    sum_ms_ += t.gpu_us * static_cast<double>(calls) / 1e3;
    operations_ += operations * static_cast<double>(calls);
  }
  void whole(const char* name, const Timing& t, double wall_ms, uint64_t bits) const {
    std::printf(
        "%-26s gpu %.3f ms, host %.3f, wall %.3f; sum of the above %.3f; %.0f TFLOP/s; "
        "bits %016llx\n",
        name, t.gpu_us / 1e3, t.host_us / 1e3, wall_ms, sum_ms_, operations_ / t.gpu_us / 1e6,
        static_cast<unsigned long long>(bits));
  }

 private:
  double sum_ms_ = 0;
  double operations_ = 0;
};

double multiplied(int64_t rows, const Linear& w) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(w.desc.out * w.desc.in);
}

/// The rows of a device matrix, one after the other.
std::vector<std::byte> bytes_of(Bench& bench, const ActMat& x) {
  read_back(bench.cuda, x);
  return *bench.cuda.read_back;
}
uint64_t hash_of(const std::vector<std::byte>& bytes) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001b3U;
  return hash;
}

int failures = 0;

/// The first bytes of `longer` must be those of `shorter`.
void require_prefix(const char* what, const std::vector<std::byte>& shorter,
                    const std::vector<std::byte>& longer) {
  if (std::equal(shorter.begin(), shorter.end(), longer.begin())) return;
  std::printf("FAILED  %s: bits differ\n", what);
  ++failures;
}

class Forward {
 public:
  Forward(Bench& bench, const ModelConfig& config)
      : bench_(bench),
        config_(config),
        memory_(device_arena("weights", weight_bytes(config))),
        noise_(memory_),
        weights_(random_weights(config, noise_)),
        text_(config, weights_.text),
        vision_(config, weights_.vision, norm_),
        work_memory_(device_arena(
            "workspaces", TextWorkspace::bytes(config.text, ActFormat::bf16, kMaxRows, 1) +
                              VisionWorkspace::bytes(config.vision, ActFormat::bf16, kMaxPatches) +
                              cache_bytes() + kMaxPatches / 4 * vision_.feature_cols() * 2 +
                              (1 << 20) + StepLists::device_bytes(capacity()))),
        text_work_(config.text, ActFormat::bf16, kMaxRows, 1, work_memory_),
        vision_work_(config.vision, ActFormat::bf16, kMaxPatches, work_memory_),
        cache_(kv_shape(config.text, ActFormat::bf16), config.text.num_hidden_layers,
               pages_for(kMaxRows),
               kv_page_bytes(bench.cuda, kv_shape(config.text, ActFormat::bf16)), work_memory_),
        features_(work_memory_.take_act(DType::bf16, kMaxPatches / 4, vision_.feature_cols())),
        lists_(capacity(), work_memory_),
        sampled_(work_memory_.take<int32_t>(1)),
        token_(work_memory_.take<int32_t>(1)),
        maxima_(make_mat(work_memory_.take<LogitKey>(kLogitGroups), int64_t{1}, kLogitGroups)),
        chosen_(make_pinned(4)) {
    for (int64_t i = 0; i < kMaxRows; ++i) {
      tokens_.push_back(static_cast<int32_t>(i * 7919 % config.text.vocab_size));
    }
    for (int64_t i = 0; i < 3 * kMaxRows; ++i) {
      positions_.push_back(static_cast<int32_t>(i % kMaxRows));
    }
    for (int64_t i = 0; i < pages_for(kMaxRows); ++i) pages_.push_back(static_cast<int32_t>(i));
    pixels_.resize(static_cast<size_t>(kMaxPatches * config.vision.patch_dim()));
    for (size_t i = 0; i < pixels_.size(); ++i) {
      pixels_[i] = static_cast<uint8_t>((i * 2654435761U) >> 13);
    }
    bench_.wait();
    check(cudaDeviceSynchronize());
  }

  void tower(const char* name, const Grid& grid) {
    const VisionConfig& v = config_.vision;
    const int64_t n = grid.patches();
    Cuda& cuda = bench_.cuda;
    VisionPass pass = begin({{grid, pixels_.data(), features(n)}});
    const Mat<float> x = vision_work_.x.slice_rows(0, n);
    const ActMat qkv{vision_work_.wide.data, DType::bf16, n, 3 * v.hidden_size, 3 * v.hidden_size};
    const ActMat mlp{vision_work_.wide.data, DType::bf16, n, v.intermediate_size,
                     v.intermediate_size};
    const ActMat attended = vision_work_.attention.slice_rows(0, n);
    const int depth = static_cast<int>(v.depth);
    const auto block = [&](int i) -> const VisionBlockWeights& {
      return weights_.vision.blocks[static_cast<size_t>(i)];
    };
    const VisionBlockWeights& any = block(0);
    const double scores =
        4.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(v.hidden_size);

    Table table(std::string(name) + " tower, " + std::to_string(n) + " patches");
    table.row("begin (embed, positions)",
              bench_.time(1,
                          [&](int) {
                            begin({{grid, pixels_.data(), features(n)}});
                          }),
              multiplied(n, weights_.vision.patch_embed), static_cast<double>(n * v.patch_dim()),
              1);
    table.row(
        "layer norm, qkv",
        bench_.time(depth,
                    [&](int i) { layer_norm_linear(cuda, x, block(i).norm1, block(i).qkv, qkv); }),
        multiplied(n, any.qkv), 0, depth);
    table.row("attention",
              bench_.time(depth,
                          [&](int) {
                            vision_attention(cuda, qkv, v.num_heads, vision_work_.rope,
                                             pass.cu_seqlens, attended);
                          }),
              scores, 0, depth);
    table.row("projection",
              bench_.time(
                  depth,
                  [&](int i) { linear_residual(cuda, {.prompt = n}, attended, block(i).proj, x); }),
              multiplied(n, any.proj), 0, depth);
    table.row("layer norm, fc1, gelu",
              bench_.time(depth,
                          [&](int i) {
                            layer_norm_linear_gelu(cuda, x, block(i).norm2, block(i).fc1,
                                                   Gelu::tanh, mlp);
                          }),
              multiplied(n, any.fc1), 0, depth);
    table.row(
        "fc2",
        bench_.time(depth,
                    [&](int i) { linear_residual(cuda, {.prompt = n}, mlp, block(i).fc2, x); }),
        multiplied(n, any.fc2), 0, depth);
    const auto mergers = static_cast<int>(weights_.vision.deepstack.size()) + 1;
    const auto merger = [&](int i) -> const MergerWeights& {
      return i == 0 ? weights_.vision.merger
                    : weights_.vision.deepstack[static_cast<size_t>(i - 1)];
    };
    const ActMat mid{vision_work_.attention.data, DType::bf16, n / 4, 4 * v.hidden_size,
                     4 * v.hidden_size};
    table.row("merger: norm, fc1, gelu",
              bench_.time(mergers,
                          [&](int i) {
                            layer_norm_linear_gelu(cuda, x, merger(i).norm, merger(i).fc1,
                                                   Gelu::erf, mid);
                          }),
              multiplied(n / 4, weights_.vision.merger.fc1), 0, mergers);
    table.row("merger: fc2",
              bench_.time(mergers,
                          [&](int i) {
                            linear(
                                cuda, {.prompt = n / 4}, mid, merger(i).fc2,
                                features(n).slice_cols(i * v.out_hidden_size, v.out_hidden_size));
                          }),
              multiplied(n / 4, weights_.vision.merger.fc2), 0, mergers);
    const auto encode = [&] { this->encode({{grid, pixels_.data(), features(n)}}); };
    const Timing whole = bench_.time(1, [&](int) { encode(); });
    const double wall = bench_.wall_ms(encode);
    table.whole("whole tower", whole, wall, hash_of(bytes_of(bench_, features(n))));
  }

  void prompt(const char* name, int64_t rows) {
    const TextConfig& t = config_.text;
    Cuda& cuda = bench_.cuda;
    const int layers = static_cast<int>(t.num_hidden_layers);
    const RowRoles roles{.prompt = rows};
    const Mat<float> x = text_work_.x.slice_rows(0, rows);
    const ActMat qkv = text_work_.qkv.slice_rows(0, rows);
    const ActMat attended = text_work_.attention.slice_rows(0, rows);
    const ActMat mlp = text_work_.mlp.slice_rows(0, rows);
    const auto layer = [&](int i) -> const TextLayerWeights& {
      return weights_.text.layers[static_cast<size_t>(i)];
    };
    const TextLayerWeights& any = layer(0);
    prefill(rows, {});

    Table table(std::string(name) + " prompt, " + std::to_string(rows) + " rows");
    table.row(
        "embedding",
        bench_.time(1,
                    [&](int) {
                      gather_rows(cuda, {cuda.lists->tokens, rows}, weights_.text.embedding, x);
                    }),
        0, static_cast<double>(rows * t.hidden_size * 6), 1);
    table.row("norm, qkv",
              bench_.time(layers,
                          [&](int i) {
                            rms_norm_linear(cuda, roles, x, layer(i).input_norm, layer(i).qkv, qkv);
                          }),
              multiplied(rows, any.qkv), 0, layers);
    table.row("attention",
              bench_.time(layers,
                          [&](int i) {
                            attention(cuda, qkv, layer(i).attention, text_work_.rope, sequences_,
                                      cache_.layer(i), attended);
                          }),
              2.0 * static_cast<double>(rows * rows * t.q_size()), 0, layers);
    table.row(
        "output",
        bench_.time(layers,
                    [&](int i) { linear_residual(cuda, roles, attended, layer(i).output, x); }),
        multiplied(rows, any.output), 0, layers);
    table.row("norm, gate, up, silu",
              bench_.time(layers,
                          [&](int i) {
                            rms_norm_gate_up_silu(cuda, roles, x, layer(i).post_attention_norm,
                                                  layer(i).gate_up, mlp);
                          }),
              multiplied(rows, any.gate_up), 0, layers);
    table.row(
        "down",
        bench_.time(layers, [&](int i) { linear_residual(cuda, roles, mlp, layer(i).down, x); }),
        multiplied(rows, any.down), 0, layers);
    table.row("head, one row", bench_.time(1, [&](int) { head(rows); }),
              multiplied(1, weights_.text.head),
              static_cast<double>(weights_.text.head.desc.out * t.hidden_size * 2), 1);
    const Timing whole = bench_.time(1, [&](int) { prefill(rows, {}); });
    const double wall = bench_.wall_ms([&] { prefill(rows, {}); });
    table.whole("whole prompt", whole, wall, hash_of(hidden(rows)));
  }

  /// A picture's decoded pixels, and its patches, on the host to the first token on the host.
  void picture(const char* name, const Grid& grid, int64_t rows) {
    const int64_t n = grid.patches();
    const auto first_token = [&](const uint8_t* patches) {
      encode({{grid, patches, features(n)}});
      const std::vector<FeatureRows> at{{.row = 4, .features = features(n)}};
      prefill(rows, at);
    };
    constexpr int kPatchSize = 16;
    Image image{{static_cast<int>(grid.h) * kPatchSize, static_cast<int>(grid.w) * kPatchSize}, {}};
    image.rgb.assign(pixels_.begin(), pixels_.begin() + 3 * image.size.pixels());
    const double of_pixels = bench_.wall_ms([&] {
      const Patches patches = make_patches({&image, 1}, {});
      first_token(patches.rows.data());
    });
    const double of_patches = bench_.wall_ms([&] { first_token(pixels_.data()); });
    std::printf(
        "\n%s: %d x %d pixels to a token on the host, %lld rows: wall %.3f ms; its patches %.3f\n",
        name, image.size.width, image.size.height, static_cast<long long>(rows), of_pixels,
        of_patches);
  }

  void check_bits() {
    prefill(1024, {});
    const std::vector<std::byte> longer = hidden(1024);
    for (const int64_t rows : {1, 63, 832}) {
      prefill(rows, {});
      require_prefix("rows of a shorter prompt", hidden(rows), longer);
    }
    const Grid grid{1, 48, 64};
    const Grid other{1, 30, 38};
    const int64_t n = grid.patches();
    const int64_t all = n + other.patches();
    encode({{grid, pixels_.data(), features(n)}});
    const std::vector<std::byte> alone = bytes_of(bench_, features(n));
    encode({{grid, pixels_.data(), features(n)},
            {other, pixels_.data() + 1000, features(all).slice_rows(n / 4, other.patches() / 4)}});
    require_prefix("a picture beside another", alone, bytes_of(bench_, features(n)));
    encode({{grid, pixels_.data(), features(n)}}, 5);
    require_prefix("a picture in slices of 5 layers", alone, bytes_of(bench_, features(n)));
  }

 private:
  StepCapacity capacity() const {
    const TextConfig& t = config_.text;
    return {.rows = kMaxRows,
            .sequences = 4,
            .decode_rows = 4,
            .max_model_len = kMaxRows,
            .num_heads = t.num_attention_heads,
            .num_kv_heads = t.num_key_value_heads,
            .head_dim = t.head_dim};
  }
  int64_t cache_bytes() const {
    return KvPool::bytes(config_.text.num_hidden_layers, pages_for(kMaxRows),
                         kv_page_bytes(bench_.cuda, kv_shape(config_.text, ActFormat::bf16)));
  }
  ActMat features(int64_t patches) const { return features_.slice_rows(0, patches / 4); }
  std::vector<std::byte> hidden(int64_t rows) {
    const Mat<float> x = text_work_.x.slice_rows(0, rows);
    return bytes_of(bench_, {x.data, DType::f32, x.rows, x.cols, x.stride});
  }

  VisionPass begin(const std::vector<VisionItem>& items) {
    return vision_.begin(bench_.cuda, items, vision_work_);
  }
  void encode(const std::vector<VisionItem>& items, int64_t layers = 100) {
    VisionPass pass = begin(items);
    while (!vision_.advance(bench_.cuda, pass, layers, vision_work_)) {
    }
  }

  /// The lists of a prompt; those of as many rows as before lie where they are.
  void place(int64_t rows) {
    if (!sequences_.empty() && sequences_[0].rows == rows) return;
    bench_.wait();  // for the step before, which reads the lists
    sequences_ = {{0, rows, 0, Role::prompt, pages_.data()}};
    lists_.place(bench_.cuda, {.tokens = {tokens_.data(), rows},
                               .positions = {positions_.data(), 3, rows, kMaxRows},
                               .sequences = sequences_});
  }
  void head(int64_t rows) {
    const auto last = static_cast<int32_t>(rows - 1);
    upload(bench_.cuda, sampled_, &last, 4);
    const Mat<const float> logits =
        text_.logits(bench_.cuda, {.prompt = 1}, {sampled_, 1}, text_work_);
    group_maxima(bench_.cuda, logits, logits.cols, maxima_);
    greedy_tokens(bench_.cuda, maxima_, {token_, 1});
    check(cudaMemcpyAsync(chosen_.get(), token_, 4, cudaMemcpyDeviceToHost, bench_.cuda.stream));
  }
  void prefill(int64_t rows, const std::vector<FeatureRows>& features) {
    place(rows);
    const DeviceLists& lists = *bench_.cuda.lists;
    text_.forward(bench_.cuda,
                  {.tokens = {lists.tokens, rows},
                   .positions = {lists.positions, 3, rows, lists.row_capacity},
                   .roles = {.prompt = rows},
                   .sequences = sequences_,
                   .features = features},
                  cache_, text_work_);
    head(rows);
  }

  Bench& bench_;
  ModelConfig config_;
  PixelNorm norm_{{1 / 127.5F, 1 / 127.5F, 1 / 127.5F}, {-1, -1, -1}};
  Arena memory_;
  Noise noise_;
  ModelWeights weights_;
  TextModel text_;
  VisionModel vision_;
  Arena work_memory_;
  TextWorkspace text_work_;
  VisionWorkspace vision_work_;
  KvPool cache_;
  ActMat features_;
  StepLists lists_;
  int32_t* sampled_;
  int32_t* token_;
  Mat<LogitKey> maxima_;
  PinnedMemory chosen_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> pages_;
  std::vector<uint8_t> pixels_;
  std::vector<SequenceRows> sequences_;
};

void check_model(Bench& bench, const char* name) {
  Forward forward(bench, *preset_config(name));
  const Grid grid{1, 48, 64};
  forward.check_bits();
  forward.tower(name, grid);
  forward.tower(name, {1, 128, 128});
  for (const int64_t rows : {832, 1024, 4096}) forward.prompt(name, rows);
  forward.picture(name, grid, 832);
}

int run() {
  const Result<CudaDeviceInfo> info = open_cuda_device(0);
  if (!info) throw CudaError(info.error().message());
  std::printf("%s, %d multiprocessors\n", info->name.c_str(), info->sm_count);
  const Result<Cuda> cuda = make_cuda();
  if (!cuda) throw CudaError(cuda.error().message());
  Bench bench(*cuda);
  check_model(bench, "2b");
  check_model(bench, "8b");
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace qvl

int main() {
  try {
    return qvl::run();
  } catch (const qvl::CudaError& error) {
    std::printf("FAILED  %s\n", error.what());
    return 1;
  }
}
