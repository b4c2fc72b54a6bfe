#include "runtime/fake_device.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace qvl {
namespace {

constexpr uint64_t kPoison = 0x5eed0bad5eed0badULL;

/// The finaliser of splitmix64.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

uint64_t chain(uint64_t before, uint64_t value, uint64_t position, Role role) {
  return mix(before * 3 + mix(value + (position << 32) + (role == Role::prompt ? 1 : 0)));
}

int32_t token_of(uint64_t hash, int32_t vocab_size) {
  return static_cast<int32_t>(mix(hash) % static_cast<uint64_t>(vocab_size));
}

}  // namespace

void FakeDevice::Oracle::push(uint64_t value, Role role) {
  hash_ = chain(hash_, value, position_++, role);
}

int32_t FakeDevice::Oracle::next_token(int32_t vocab_size) const {
  return token_of(hash_, vocab_size);
}

uint64_t FakeDevice::feature_value(const uint8_t* patches, int64_t row) {
  uint64_t picture = 0;
  std::memcpy(&picture, patches, sizeof(picture));
  return mix(picture + 1) + static_cast<uint64_t>(row);
}

FakeDevice::FakeDevice(const Config& config)
    : config_(config),
      kv_(static_cast<size_t>(config.kv_pages * kPageTokens), kPoison),
      features_(static_cast<size_t>(config.feature_rows), kPoison) {}

void FakeDevice::start(const DeviceStep& step) {
  if (!step.begin_vision.empty()) {
    pass_.assign(step.begin_vision.begin(), step.begin_vision.end());
    next_layer_ = 0;
  }
  vision_layers_ = step.vision_layers;
  values_.clear();
  feature_row_of_.clear();
  chunks_.resize(step.chunks.size());
  for (size_t c = 0; c < step.chunks.size(); ++c) {
    const SequenceChunk& chunk = step.chunks[c];
    const Sequence& s = *chunk.sequence;
    chunks_[c].first_row = static_cast<int64_t>(values_.size());
    chunks_[c].begin = chunk.begin;
    chunks_[c].role = chunk.role;
    chunks_[c].block_table.assign(s.block_table.begin(), s.block_table.end());
    const int64_t drafts = static_cast<int64_t>(chunk.drafts.size());
    const int64_t end = chunk.begin + chunk.rows;
    for (int64_t i = chunk.begin; i < end; ++i) {
      const bool draft = i >= end - drafts;
      const int32_t token = draft ? chunk.drafts[static_cast<size_t>(i - (end - drafts))]
                                  : s.tokens.at(static_cast<size_t>(i));
      values_.push_back(static_cast<uint64_t>(token));
      feature_row_of_.push_back(-1);
    }
    for (const EmbedSpan& span : s.spans) {
      const int64_t to = std::min(end, span.end());
      for (int64_t i = std::max(chunk.begin, span.first_token); i < to; ++i) {
        const auto& held = s.features[static_cast<size_t>(span.media)];
        require(held.has_value(), "features of a picture are missing in its prefill");
        feature_row_of_[static_cast<size_t>(chunks_[c].first_row + i - chunk.begin)] =
            held->first + span.feature_row + i - span.first_token;
      }
    }
  }
  samples_.assign(step.samples.begin(), step.samples.end());
}

const StepResult& FakeDevice::finish() {
  if (vision_layers_ > 0) {
    if (next_layer_ == 0) {
      for (const Picture& p : pass_) {
        require_equal(p.features.rows, p.grid.patches() / config_.merge_unit, "feature rows");
        std::fill_n(features_.begin() + p.features.first, p.features.rows, kPoison);
      }
    }
    next_layer_ += vision_layers_;
    require(next_layer_ <= config_.vision_layers, "the vision tower has fewer layers");
    if (next_layer_ == config_.vision_layers) {
      for (const Picture& p : pass_) {
        for (int64_t r = 0; r < p.features.rows; ++r) {
          features_[static_cast<size_t>(p.features.first + r)] = feature_value(p.patches.get(), r);
        }
      }
      pass_.clear();
    }
  }
  hashes_.resize(values_.size());
  for (size_t c = 0; c < chunks_.size(); ++c) {
    const Chunk& chunk = chunks_[c];
    const auto slot = [&](int64_t i) -> uint64_t& {
      const int32_t page = chunk.block_table.at(static_cast<size_t>(i / kPageTokens));
      return kv_.at(static_cast<size_t>(page * kPageTokens + i % kPageTokens));
    };
    const auto end_row = static_cast<int64_t>(
        c + 1 < chunks_.size() ? static_cast<size_t>(chunks_[c + 1].first_row) : values_.size());
    uint64_t before = chunk.begin == 0 ? 0 : slot(chunk.begin - 1);
    for (int64_t row = chunk.first_row; row < end_row; ++row) {
      const auto r = static_cast<size_t>(row);
      const int64_t i = chunk.begin + row - chunk.first_row;
      const uint64_t value = feature_row_of_[r] >= 0
                                 ? features_.at(static_cast<size_t>(feature_row_of_[r]))
                                 : values_[r];
      before = chain(before, value, static_cast<uint64_t>(i), chunk.role);
      slot(i) = before;
      hashes_[r] = before;
    }
  }
  result_.tokens.clear();
  result_.counts.clear();
  for (const SampleJob& job : samples_) {
    int64_t count = 0;
    while (count < job.rows) {
      const uint64_t hash = hashes_.at(static_cast<size_t>(job.row + count));
      Sample sample;
      sample.token = token_of(hash, config_.vocab_size);
      sample.logits_hash = hash;
      ++count;
      const bool right =
          count < job.rows && job.drafts[static_cast<size_t>(count - 1)] == sample.token;
      result_.tokens.push_back(std::move(sample));
      if (!right) break;
    }
    result_.counts.push_back(count);
  }
  return result_;
}

}  // namespace qvl
