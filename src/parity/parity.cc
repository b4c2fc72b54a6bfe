#include "parity/parity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>

#include "parity/parity_case.h"

namespace qvl {
namespace {

constexpr int64_t kDefaultChunk = 512;
constexpr double kFloat32Limit = 1e-5;
constexpr double kMarginFactor = 8.0;

/// ‖ours − reference‖ and ‖reference‖, summed in double.
class RelativeError {
 public:
  void add(const float* ours, const float* reference, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(ours[i]) - reference[i];
      difference_ += d * d;
      norm_ += static_cast<double>(reference[i]) * reference[i];
    }
  }
  double value() const {
    // A NaN must not compare as small.
    return std::isfinite(difference_) ? std::sqrt(difference_ / std::max(norm_, 1e-300)) : 1e30;
  }

 private:
  double difference_ = 0;
  double norm_ = 0;
};

/// FNV-1a over the bits of all results of a case.
class Digest {
 public:
  void add(const void* data, int64_t bytes) {
    const auto* p = static_cast<const uint8_t*>(data);
    for (int64_t i = 0; i < bytes; ++i) hash_ = (hash_ ^ p[i]) * 0x100000001b3ULL;
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325ULL;
};

/// Everything that is measured of one case in one run.
struct Measured {
  double vision = -1;
  double hidden = -1;
  RelativeError logits;
  int64_t argmax_differs = 0;
  int64_t argmax_rows = 0;
  int64_t greedy_differs = 0;
  int64_t greedy_near_ties = 0;
  RelativeError greedy_logits;
  Digest bits;
};

struct Run {
  const ParityCase* source = nullptr;
  Sequence sequence;
  Measured* measured = nullptr;  ///< null: only company for another case
  int64_t total() const { return static_cast<int64_t>(sequence.tokens.size()); }
};

int64_t argmax(const float* x, int64_t n) { return std::max_element(x, x + n) - x; }

/// Collects the last prompt token's residual stream after each layer.
class HiddenCollector final : public LayerObserver {
 public:
  HiddenCollector(int64_t row, Run& run) : row_(row), run_(run) {}

  void hidden(int64_t layer, Mat<const float> x) override {
    const ReferenceTensors& tensors = run_.source->tensors;
    // The reference's last entry is after the final norm; it is seen through the logits.
    if (!tensors.has(fmt::format("hidden_{}_last", layer + 1))) return;
    const Mat<const float> reference = tensors.floats(fmt::format("hidden_{}_last", layer));
    if (reference.cols != x.cols) return;
    RelativeError error;
    error.add(x.row(row_), reference.data, x.cols);
    run_.measured->hidden = std::max(run_.measured->hidden, error.value());
  }

 private:
  int64_t row_;
  Run& run_;
};

class ParityRun {
 public:
  ParityRun(Runner& runner, int64_t chunk) : runner_(runner), chunk_(chunk) {}

  /// Runs the sequences side by side to their ends.
  void run(std::vector<Run>& runs) {
    start(runs);
    while (step(runs)) {
    }
  }

 private:
  void start(std::vector<Run>& runs) {
    int32_t next_page = 0;
    int64_t feature_row = 0;
    std::vector<Picture> pictures;
    for (Run& r : runs) {
      Sequence& s = r.sequence;
      s.tokens = r.source->prompt.tokens;
      s.prompt_tokens = static_cast<int64_t>(s.tokens.size());
      // The reference's own greedy ids are fed back, so that one near tie does not change all that
      // follows.
      const Mat<const int32_t> greedy = r.source->tensors.ints("greedy_ids");
      s.tokens.insert(s.tokens.end(), greedy.data, greedy.data + greedy.cols - 1);
      s.spans = r.source->prompt.spans;
      for (int64_t p = 0; p < pages_for(r.total()); ++p) s.block_table.push_back(next_page++);
      for (const MediaItem& m : r.source->media) {
        const int64_t rows = m.patches.grid.patches() / runner_.config().vision.merge_unit();
        s.features.push_back(RowRange{feature_row, rows});
        feature_row += rows;
        const std::shared_ptr<const uint8_t> patches(std::shared_ptr<void>(),
                                                     m.patches.rows.data());  // not owned
        pictures.push_back({m.patches.grid, patches, *s.features.back()});
      }
    }
    if (pictures.empty()) return;
    require(feature_row <= runner_.feature_rows(), "parity: room for features is too small");
    runner_.begin_vision(pictures);
    while (!runner_.advance_vision(1)) {
    }
    int64_t first_patch = 0;
    for (Run& r : runs) {
      if (r.measured != nullptr) compare_vision(r, first_patch);
      first_patch += r.source->patches();
    }
  }

  void compare_vision(Run& r, int64_t first_patch) {
    const ReferenceTensors& t = r.source->tensors;
    const int64_t hidden = runner_.config().vision.out_hidden_size;
    const int64_t parts =
        1 + static_cast<int64_t>(runner_.config().vision.deepstack_visual_indexes.size());
    std::vector<std::vector<float>>
        rows;  // of the pictures, in order; videos have no reference features
    for (size_t m = 0; m < r.source->media.size(); ++m) {
      const ActMat features = runner_.features(*r.sequence.features[m]);
      dispatch_float(features.dtype, [&]<class T>() {
        const Mat<T> view = features.as<T>();
        for (int64_t i = 0; i < view.rows; ++i) {
          r.measured->bits.add(view.row(i), view.cols * static_cast<int64_t>(sizeof(T)));
          if (r.source->media[m].kind != MediaKind::image) continue;
          std::vector<float> row(static_cast<size_t>(view.cols));
          for (int64_t c = 0; c < view.cols; ++c)
            row[static_cast<size_t>(c)] = static_cast<float>(view(i, c));
          rows.push_back(std::move(row));
        }
      });
    }
    const Mat<const int32_t> sampled = t.ints("vision_rows");
    for (int64_t part = 0; part < parts; ++part) {
      const Mat<const float> reference =
          t.floats(part == 0 ? "image_embeds" : fmt::format("image_deepstack_{}", part - 1));
      if (reference.rows == 0 || reference.rows != sampled.cols || reference.cols != hidden)
        continue;
      RelativeError error;
      for (int64_t i = 0; i < sampled.cols; ++i) {
        const auto row = static_cast<size_t>(sampled.data[i]);
        if (row >= rows.size()) {
          r.measured->vision = 1e30;
          return;
        }
        error.add(rows[row].data() + part * hidden, reference.row(i), hidden);
      }
      r.measured->vision = std::max(r.measured->vision, error.value());
    }
    // Hidden rows are comparable where the case begins with a picture.
    const Mat<const float> last = t.floats("vision_last_hidden");
    if (last.rows > 0 && r.source->media[0].kind == MediaKind::image) {
      const int64_t n = std::min(last.rows, r.source->media[0].patches.grid.patches());
      RelativeError error;
      for (int64_t i = 0; i < n; ++i) {
        error.add(runner_.vision_hidden().row(first_patch + i), last.row(i), last.cols);
      }
      r.measured->vision = std::max(r.measured->vision, error.value());
    }
  }

  bool step(std::vector<Run>& runs) {
    struct Planned {
      SequenceChunk chunk;
      Run* run;
    };
    std::vector<Planned> planned;
    for (const Role role : {Role::prompt, Role::generated}) {
      for (Run& r : runs) {
        Sequence& s = r.sequence;
        if (s.computed == r.total() || s.role_of(s.computed) != role) continue;
        const int64_t rows =
            role == Role::prompt ? std::min(chunk_, s.prompt_tokens - s.computed) : 1;
        planned.push_back({{&s, s.computed, rows, role}, &r});
      }
    }
    if (planned.empty()) return false;
    std::vector<SequenceChunk> chunks;
    std::unique_ptr<HiddenCollector> collector;
    int64_t row = 0;
    for (const Planned& p : planned) {
      chunks.push_back(p.chunk);
      row += p.chunk.rows;
      const Sequence& s = p.run->sequence;
      if (p.run->measured != nullptr && s.computed + p.chunk.rows == s.prompt_tokens) {
        collector = std::make_unique<HiddenCollector>(row - 1, *p.run);
      }
    }
    runner_.step(chunks, collector.get());
    row = 0;
    for (const Planned& p : planned) {
      if (p.run->measured != nullptr) compare_logits(p.chunk, *p.run, row);
      row += p.chunk.rows;
    }
    for (const Planned& p : planned) p.run->sequence.computed += p.chunk.rows;
    return true;
  }

  void compare_logits(const SequenceChunk& chunk, Run& r, int64_t first_row) {
    const int64_t at_once = kLogitsAtOnce;
    for (int64_t done = 0; done < chunk.rows; done += at_once) {
      const int64_t n = std::min(at_once, chunk.rows - done);
      std::vector<int32_t> rows;
      for (int64_t i = 0; i < n; ++i) rows.push_back(static_cast<int32_t>(first_row + done + i));
      const RowRoles roles =
          chunk.role == Role::prompt ? RowRoles{.prompt = n} : RowRoles{.generated = n};
      const Mat<const float> logits = runner_.logits(roles, {rows.data(), n});
      for (int64_t i = 0; i < n; ++i) {
        compare_row(r, r.sequence.computed + done + i, logits.row(i), logits.cols);
      }
    }
  }

  void compare_row(Run& r, int64_t token, const float* logits, int64_t vocab) {
    const ReferenceTensors& t = r.source->tensors;
    Measured& m = *r.measured;
    m.bits.add(logits, vocab * 4);
    const int64_t prompt = r.sequence.prompt_tokens;
    if (token < prompt) {
      const Mat<const float> sampled = t.floats("logits_rows");
      const int64_t stride = std::max<int64_t>(1, prompt / 16);
      if (token % stride == 0 && token / stride < sampled.rows) {
        m.logits.add(logits, sampled.row(token / stride), vocab);
      }
      const Mat<const int32_t> all = t.ints("argmax_all");
      if (token < all.cols) {
        ++m.argmax_rows;
        m.argmax_differs += all.data[token] != argmax(logits, vocab) ? 1 : 0;
      }
    }
    const int64_t generated = token - (prompt - 1);
    if (generated >= 0) {
      const float* reference = t.floats("greedy_logits").row(generated);
      m.greedy_logits.add(logits, reference, vocab);
      const int64_t ours = argmax(logits, vocab);
      const int32_t theirs = t.ints("greedy_ids").data[generated];
      if (ours != theirs) {
        const double margin = reference[theirs] - reference[ours];
        const double needed = kMarginFactor * r.source->reference.hf_bf16_relative_error *
                              r.source->reference.logit_std;
        (margin >= needed ? m.greedy_differs : m.greedy_near_ties) += 1;
      }
    }
  }

  static constexpr int64_t kLogitsAtOnce = 64;
  Runner& runner_;
  int64_t chunk_;
};

Measured measure(Runner& runner, const std::vector<std::unique_ptr<ParityCase>>& cases,
                 size_t index, int64_t chunk, int64_t batch) {
  Measured measured;
  std::vector<Run> runs(static_cast<size_t>(batch));
  // The case takes a middle place, so that it has company before and after it.
  const size_t place = runs.size() / 2;
  for (size_t i = 0; i < runs.size(); ++i) {
    runs[i].source = cases[(index + i + cases.size() * runs.size() - place) % cases.size()].get();
  }
  runs[place].measured = &measured;
  ParityRun(runner, chunk).run(runs);
  return measured;
}

std::string judge(const ParityResult& r, const Measured& m, ActFormat activation,
                  const Bf16Limits& limits) {
  if (!r.prompt_equal) return "rendered prompt differs";
  if (!r.ids_equal) return "token ids differ";
  if (!r.grids_equal) return "grids differ";
  if (!r.positions_equal) return "position ids differ";
  if (!r.patches_equal) return "uint8 patches differ";
  if (!r.bits_equal) return "bits depend on chunk or batch";
  if (activation == ActFormat::f32) {
    const double worst =
        std::max({r.vision_error, r.hidden_error, r.logits_error, m.greedy_logits.value()});
    if (worst > kFloat32Limit)
      return fmt::format("float32 error {:.1e}, expected at most {:.0e}", worst, kFloat32Limit);
    if (r.greedy_differs + r.greedy_near_ties > 0) return "greedy ids differ";
    if (r.argmax_differs > 0) return "argmax of prompt rows differs";
    return "";
  }
  if (r.hf_bf16_error <= 0) return "case.json has no hf_bf16_relative_error to compare with";
  if (!std::isfinite(r.logits_error) || r.logits_error > limits.one_case * r.hf_bf16_error) {
    return fmt::format("bfloat16 error {:.1e}, expected at most {} × {:.1e}", r.logits_error,
                       limits.one_case, r.hf_bf16_error);
  }
  if (r.greedy_differs > 0) return "greedy ids differ beyond near ties";
  return "";
}

}  // namespace

Bf16Limits bf16_limits(const ModelConfig& config) {
  if (config.text.is_moe()) return {std::numeric_limits<double>::infinity(), 1.25};
  return {1.5, 1.0};
}

Result<EngineConfig> parity_config(const EngineConfig& base, const Processor& processor,
                                   const std::string& model_folder,
                                   const std::vector<std::string>& cases,
                                   const ParityOptions& options) {
  EngineConfig config = base;
  int64_t longest = 0;
  int64_t patches = 0;
  for (const std::string& name : cases) {
    const Result<std::unique_ptr<ParityCase>> loaded =
        load_parity_case(processor, model_folder, name);
    if (!loaded) return loaded.error();
    const ParityCase& c = **loaded;
    longest = std::max(
        longest, static_cast<int64_t>(c.prompt.tokens.size()) + c.tensors.ints("greedy_ids").cols);
    patches = std::max(patches, c.patches());
  }
  config.max_model_len = longest;
  config.max_num_seqs = options.batch;
  config.max_patches = std::max<int64_t>(patches * options.batch, 4);
  config.max_step_tokens =
      std::max(kDefaultChunk, std::min(options.chunk, longest) * options.batch);
  if (options.chunk == 0) config.max_step_tokens = kDefaultChunk * options.batch;
  config.max_logits_rows = 64;
  return config;
}

Result<std::vector<ParityResult>> run_parity(Runner& runner, const Processor& processor,
                                             const std::string& model_folder,
                                             const std::vector<std::string>& names,
                                             ActFormat activation, const ParityOptions& options) {
  std::vector<std::unique_ptr<ParityCase>> cases;
  for (const std::string& name : names) {
    Result<std::unique_ptr<ParityCase>> loaded = load_parity_case(processor, model_folder, name);
    if (!loaded) return loaded.error();
    const Status fits = check_shapes(**loaded, runner.config());
    if (!fits) return fits.error();
    cases.push_back(std::move(*loaded));
  }
  std::vector<ParityResult> results;
  for (size_t i = 0; i < cases.size(); ++i) {
    ParityResult r;
    r.name = cases[i]->reference.name;
    r.hf_bf16_error = cases[i]->reference.hf_bf16_relative_error;
    compare_inputs(*cases[i], r);
    if (r.ids_equal) {
      const Measured m = measure(runner, cases, i, kDefaultChunk, 1);
      r.vision_error = m.vision;
      r.hidden_error = m.hidden;
      r.logits_error = m.logits.value();
      r.argmax_differs = m.argmax_differs;
      r.argmax_rows = m.argmax_rows;
      r.greedy_tokens = cases[i]->tensors.ints("greedy_ids").cols;
      r.greedy_differs = m.greedy_differs;
      r.greedy_near_ties = m.greedy_near_ties;
      if (options.chunk > 0 || options.batch > 1) {
        const int64_t chunk = options.chunk > 0 ? options.chunk : kDefaultChunk;
        r.bits_equal =
            measure(runner, cases, i, chunk, options.batch).bits.value() == m.bits.value();
      }
      r.failure = judge(r, m, activation, bf16_limits(runner.config()));
    } else {
      r.failure = judge(r, {}, activation, bf16_limits(runner.config()));
    }
    results.push_back(std::move(r));
  }
  return results;
}

double mean_bf16_ratio(const std::vector<ParityResult>& results) {
  double sum = 0;
  int count = 0;
  for (const ParityResult& r : results) {
    if (r.hf_bf16_error <= 0 || r.logits_error < 0) continue;
    sum += r.logits_error / r.hf_bf16_error;
    ++count;
  }
  return count == 0 ? 0 : sum / count;
}

}  // namespace qvl
