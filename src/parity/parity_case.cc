#include "parity/parity_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "media/content_hash.h"
#include "model/mrope.h"

namespace qvl {
namespace {

std::string find_media(const std::string& model_folder, const std::string& name) {
  for (const std::string& candidate :
       {model_folder + "/media/" + name, model_folder + "/../media/" + name, name}) {
    std::error_code error;
    if (std::filesystem::exists(candidate, error)) return candidate;
  }
  return model_folder + "/media/" + name;
}

Result<std::vector<MediaItem>> load_media(const ReferenceCase& reference,
                                          const Processor& processor,
                                          const std::string& model_folder) {
  std::vector<MediaItem> media;
  MediaTimings timings;
  for (const auto& message : reference.messages) {
    if (!message.is_object() || !message.contains("content") || !message["content"].is_array())
      continue;
    for (const auto& part : message["content"]) {
      for (const char* kind : {"image", "video"}) {
        if (!part.is_object() || !part.contains(kind) || !part[kind].is_string()) continue;
        const std::string path = find_media(model_folder, part[kind].get<std::string>());
        Result<MediaItem> item = std::string_view(kind) == "image"
                                     ? processor.image(path, timings)
                                     : processor.frames(path, reference.video_fps, timings);
        if (!item) return item.error();
        media.push_back(std::move(*item));
      }
    }
  }
  return media;
}

}  // namespace

Result<std::unique_ptr<ParityCase>> load_parity_case(const Processor& processor,
                                                     const std::string& model_folder,
                                                     const std::string& name) {
  const std::string folder = model_folder + "/cases/" + name;
  Result<ReferenceCase> reference = load_reference_case(folder);
  if (!reference) return reference.error();
  Result<ReferenceTensors> tensors = ReferenceTensors::open(folder + "/ref.safetensors");
  if (!tensors) return tensors.error();
  for (const char* needed :
       {"input_ids", "position_ids", "logits_rows", "greedy_ids", "greedy_logits"}) {
    if (!tensors->has(needed))
      return Error{ErrorCode::bad_reference, fmt::format("{} is missing", needed), folder};
  }
  Result<std::vector<MediaItem>> media = load_media(*reference, processor, model_folder);
  if (!media) return media.error();
  Result<std::string> rendered = processor.render(reference->messages, reference->tools);
  if (!rendered) return rendered.error();
  Result<Prompt> prompt = processor.prompt(reference->messages, reference->tools, *media);
  if (!prompt) return prompt.error();
  auto out = std::make_unique<ParityCase>(ParityCase{std::move(*reference), std::move(*tensors),
                                                     std::move(*media), std::move(*prompt),
                                                     std::move(*rendered)});
  return out;
}

Status check_shapes(const ParityCase& c, const ModelConfig& config) {
  const ReferenceTensors& t = c.tensors;
  const int64_t vocab = config.text.vocab_size;
  const Mat<const int32_t> greedy = t.ints("greedy_ids");
  const auto bad = [&](const char* name, const std::string& detail) {
    return Error{ErrorCode::bad_reference, fmt::format("{}: {}", name, detail), c.reference.name};
  };
  const auto shape = [](const auto& m) { return fmt::format("[{}, {}]", m.rows, m.cols); };
  if (greedy.rows != 1 || greedy.cols < 1) return bad("greedy_ids", "expected at least one id");
  for (int64_t i = 0; i < greedy.cols; ++i) {
    if (greedy.data[i] < 0 || greedy.data[i] >= vocab) {
      return bad("greedy_ids",
                 fmt::format("{} is outside the vocabulary of {}", greedy.data[i], vocab));
    }
  }
  const Mat<const float> steps = t.floats("greedy_logits");
  if (steps.rows != greedy.cols || steps.cols != vocab) {
    return bad("greedy_logits",
               fmt::format("found {}, expected [{}, {}]", shape(steps), greedy.cols, vocab));
  }
  const Mat<const float> rows = t.floats("logits_rows");
  if (rows.rows < 1 || rows.cols != vocab) {
    return bad("logits_rows", fmt::format("found {}, expected [rows, {}]", shape(rows), vocab));
  }
  const Mat<const float> last = t.floats("vision_last_hidden");
  if (last.rows > 0 && (last.cols != config.vision.hidden_size || c.media.empty())) {
    return bad("vision_last_hidden", fmt::format("found {}, expected [rows, {}] and a picture",
                                                 shape(last), config.vision.hidden_size));
  }
  return {};
}

/// Of the bytes of all pictures, or all videos, in the order of the prompt.
ContentHasher::Digest digest(const std::vector<uint8_t>& patches) {
  ContentHasher hasher;
  hasher.add(patches);
  return hasher.digest();
}

void compare_inputs(const ParityCase& c, ParityResult& result) {
  result.prompt_equal = c.reference.prompt.empty() || c.rendered == c.reference.prompt;
  const Mat<const int32_t> ids = c.tensors.ints("input_ids");
  result.tokens = ids.cols;
  result.ids_equal =
      std::equal(ids.data, ids.data + ids.cols, c.prompt.tokens.begin(), c.prompt.tokens.end());

  std::vector<int32_t> image_grids;
  std::vector<int32_t> video_grids;
  std::vector<uint8_t> image_patches;
  std::vector<uint8_t> video_patches;
  for (const MediaItem& m : c.media) {
    const bool image = m.kind == MediaKind::image;
    auto& grids = image ? image_grids : video_grids;
    auto& patches = image ? image_patches : video_patches;
    grids.insert(grids.end(), {m.patches.grid.t, m.patches.grid.h, m.patches.grid.w});
    patches.insert(patches.end(), m.patches.rows.begin(), m.patches.rows.end());
  }
  const auto same = [](const auto& reference, const auto& ours) {
    return std::equal(reference.data, reference.data + reference.rows * reference.cols,
                      ours.begin(), ours.end());
  };
  result.grids_equal = same(c.tensors.ints("image_grid_thw"), image_grids) &&
                       same(c.tensors.ints("video_grid_thw"), video_grids);
  const auto same_pixels = [&](const char* name, const std::vector<uint8_t>& patches) {
    return !c.tensors.has(name) || same(c.tensors.bytes(name), digest(patches));
  };
  result.patches_equal = same_pixels("image_patches_blake2b", image_patches) &&
                         same_pixels("video_patches_blake2b", video_patches);

  const auto n = static_cast<int64_t>(c.prompt.tokens.size());
  std::vector<int32_t> positions(static_cast<size_t>(3 * n));
  mrope_positions(c.prompt.spans, 0, make_mat(positions.data(), 3, n));
  result.positions_equal = same(c.tensors.ints("position_ids"), positions);
  const Mat<const int32_t> delta = c.tensors.ints("rope_delta");
  if (delta.cols == 1)
    result.positions_equal = result.positions_equal && delta.data[0] == rope_delta(c.prompt.spans);
}

}  // namespace qvl
