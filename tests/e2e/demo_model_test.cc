// The demo model reads: a hundred questions of SynOCRBench, scored by OCRBench's rule. It reads
// because every part of the model is right: taking one away, or putting it in another order, costs
// answers.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "cli/generation.h"
#include "model/processor.h"
#include "runtime/engine_impl.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

const std::string kModel = QVL_SOURCE_DIR "/models/demo";
const std::string kBench = QVL_SOURCE_DIR "/tests/synocrbench/";

/// What is done to rows of a BF16 tensor on their way into the model.
using Edit = std::function<void(const TensorInfo& tensor, int64_t rows, uint16_t* data)>;

/// A checkpoint with some weights changed.
class EditedTensors final : public TensorSource {
 public:
  EditedTensors(std::unique_ptr<TensorSource> tensors, Edit edit)
      : tensors_(std::move(tensors)), edit_(std::move(edit)) {}

  const TensorInfo* find(std::string_view name) const override { return tensors_->find(name); }
  std::vector<const TensorInfo*> tensors() const override { return tensors_->tensors(); }
  const void* rows(const TensorInfo& tensor, int64_t first, int64_t count,
                   void* scratch) const override {
    const void* const rows = tensors_->rows(tensor, first, count, scratch);
    if (rows != scratch) {
      std::memcpy(scratch, rows, static_cast<size_t>(count * tensor.row_bytes()));
    }
    edit_(tensor, count, static_cast<uint16_t*>(scratch));
    return scratch;
  }
  void release(const TensorInfo& tensor, int64_t first, int64_t count) const override {
    tensors_->release(tensor, first, count);
  }

 private:
  std::unique_ptr<TensorSource> tensors_;
  Edit edit_;
};

/// Changes what a request says about its pictures.
using SpanEdit = std::function<void(EmbedSpan& span)>;

struct Record {
  std::string picture;
  std::string question;
  std::vector<std::string> answers;
  bool is_formula = false;
};

std::vector<Record> records() {
  std::ifstream file(kBench + "OCRBench.json");
  std::vector<Record> all;
  for (const Json& entry : Json::parse(file)) {
    Record record{kBench + "OCRBench_Images/" + entry["image_path"].get<std::string>(),
                  entry["question"],
                  {},
                  entry["dataset_name"] == "HME100k"};
    if (entry["answers"].is_string()) {
      record.answers = {entry["answers"]};
    } else {
      record.answers = entry["answers"].get<std::vector<std::string>>();
    }
    all.push_back(std::move(record));
  }
  return all;
}

/// OCRBench's rule: lower case, stripped, line feeds to blanks; of formulas only blanks and line
/// feeds go, all of them.
std::string normal(const std::string& text, bool is_formula) {
  std::string out;
  for (char c : text) {
    if (c == '\n') c = ' ';
    if (is_formula && c == ' ') continue;
    out += is_formula ? c : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  const size_t first = out.find_first_not_of(' ');
  return first == std::string::npos ? "" : out.substr(first, out.find_last_not_of(' ') - first + 1);
}

bool is_right(const Record& record, const std::string& answer) {
  const std::string said = normal(answer, record.is_formula);
  return std::any_of(record.answers.begin(), record.answers.end(), [&](const std::string& right) {
    return said.find(normal(right, record.is_formula)) != std::string::npos;
  });
}

/// Right answers to every `step`-th question, by the model with its weights and spans edited.
int score(size_t step, Edit edit, const SpanEdit& span_edit) {
  Result<ModelFiles> model = open_model(kModel, LoadFormat::checkpoint);
  if (!model) {
    ADD_FAILURE() << model.error().message();
    return -1;
  }
  if (edit) {
    model->weights = std::make_unique<EditedTensors>(std::move(model->weights), std::move(edit));
  }
  const Result<Processor> processor = Processor::load(*model, {});
  EngineConfig config;
  config.threads = 1;
  config.max_model_len = 1024;
  config.max_patches = 4096;
  config.token_limit = processor->tokenizer().size();
  const auto engine = make_engine(*model, config);
  if (!engine) {
    ADD_FAILURE() << engine.error().message();
    return -1;
  }
  int right = 0;
  const std::vector<Record> all = records();
  for (size_t i = 0; i < all.size(); i += step) {
    MediaTimings timings;
    Result<MediaItem> picture = processor->image(all[i].picture, timings);
    EXPECT_TRUE(picture) << all[i].picture;
    std::vector<MediaItem> media;
    media.push_back(std::move(*picture));
    const Json content = {{{"type", "image"}, {"image", "x"}},
                          {{"type", "text"}, {"text", all[i].question}}};
    Result<Prompt> prompt =
        processor->prompt({{{"role", "user"}, {"content", content}}}, nullptr, media);
    EXPECT_TRUE(prompt) << prompt.error().message();
    Request request;
    request.prompt_tokens = std::move(prompt->tokens);
    request.spans = std::move(prompt->spans);
    if (span_edit) {
      for (EmbedSpan& span : request.spans) span_edit(span);
    }
    request.media.push_back(std::move(media[0].patches));
    request.sampling.max_tokens = 96;
    request.sampling.eos_token_ids = model->generation.eos_token_ids;
    const auto answers = generate_all(**engine, std::move(request), processor->tokenizer());
    EXPECT_TRUE(answers) << answers.error().message();
    if (answers && is_right(all[i], answers->front().answer.text())) ++right;
  }
  return right;
}

Edit zeroes(const std::string& prefix, const std::string& part) {
  return [=](const TensorInfo& tensor, int64_t rows, uint16_t* data) {
    if (!tensor.name.starts_with(prefix) || tensor.name.find(part) == std::string::npos) return;
    std::fill_n(data, rows * tensor.cols(), uint16_t{0});
  };
}

/// Columns in blocks of `block`: swaps blocks a and b of each row.
Edit swaps(const std::string& name, int64_t block, int64_t a, int64_t b) {
  return [=](const TensorInfo& tensor, int64_t rows, uint16_t* data) {
    if (tensor.name != name) return;
    for (int64_t r = 0; r < rows; ++r) {
      uint16_t* const row = data + r * tensor.cols();
      std::swap_ranges(row + a * block, row + (a + 1) * block, row + b * block);
    }
  };
}

constexpr size_t kEverySecond = 2;  ///< of a hundred questions

class DemoModelWithout : public testing::Test {
 protected:
  /// What a fault costs must be far beyond what chance could.
  static void expect_loss(int least, const Edit& edit, const SpanEdit& span_edit = {}) {
    static const int whole = score(kEverySecond, {}, {});
    const int left = score(kEverySecond, edit, span_edit);
    std::printf("%d of %d right answers are left\n", left, whole);
    EXPECT_LE(left, whole - least) << "of " << whole;
  }
};

TEST_F(DemoModelWithout, DeepStackLosesAnswers) {
  expect_loss(5, zeroes("model.visual.deepstack_merger_list.", "linear_fc2"));
}

TEST_F(DemoModelWithout, TheRightOrderOfMergedPatchesLosesAnswers) {
  expect_loss(5, swaps("model.visual.merger.linear_fc1.weight", 192, 1, 2));
}

TEST_F(DemoModelWithout, RedAndBlueInTheirPlacesLosesAnswers) {
  expect_loss(2, swaps("model.visual.patch_embed.proj.weight", 512, 0, 2));
}

TEST_F(DemoModelWithout, HeightAndWidthInTheirPlacesLosesAnswers) {
  expect_loss(5, {}, [](EmbedSpan& span) { std::swap(span.merged_h, span.merged_w); });
}

}  // namespace
}  // namespace qvl
