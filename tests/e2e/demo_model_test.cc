// The demo model reads, which questions of SynOCRBench show, and tells where shapes are. It does so
// because every part of the model is right: taking one away, or putting it in another order, costs
// answers.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

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

/// Left, top, right and bottom in thousandths of the picture.
using Box = std::array<int, 4>;

struct Record {
  std::string picture;
  std::string question;
  std::vector<std::string> answers;
  bool is_formula = false;
  std::optional<Box> box;  ///< asked for instead of a text
};

/// Every second of the hundred stored questions of SynOCRBench.
std::vector<Record> readings() {
  std::ifstream file(kBench + "OCRBench.json");
  const Json entries = Json::parse(file);
  std::vector<Record> out;
  for (size_t i = 0; i < entries.size(); i += 2) {
    const Json& entry = entries[i];
    Record record{.picture = kBench + "OCRBench_Images/" + entry["image_path"].get<std::string>(),
                  .question = entry["question"],
                  .is_formula = entry["dataset_name"] == "HME100k"};
    if (entry["answers"].is_string()) {
      record.answers = {entry["answers"]};
    } else {
      record.answers = entry["answers"].get<std::vector<std::string>>();
    }
    out.push_back(std::move(record));
  }
  return out;
}

/// The stored pictures of shapes, each shape that is alone in its shape and colour, and its box.
struct Place {
  const char* picture;
  const char* color;
  const char* shape;
  Box box;
};
constexpr Place kPlaces[] = {
    {"9000000.png", "purple", "star", {160, 290, 430, 560}},
    {"9000000.png", "pink", "cross", {500, 370, 840, 710}},
    {"9000020.png", "black", "star", {50, 200, 220, 450}},
    {"9000040.jpg", "purple", "triangle", {590, 560, 720, 770}},
    {"9000040.jpg", "purple", "diamond", {330, 240, 470, 460}},
    {"9000040.jpg", "green", "circle", {550, 200, 710, 450}},
    {"9000040.jpg", "orange", "triangle", {150, 250, 300, 500}},
    {"9000060.png", "blue", "circle", {450, 220, 550, 380}},
    {"9000060.png", "pink", "triangle", {260, 510, 360, 670}},
    {"9000060.png", "blue", "diamond", {710, 590, 840, 800}},
    {"9000080.jpg", "green", "cross", {110, 470, 470, 830}},
    {"9000100.png", "yellow", "circle", {510, 410, 750, 650}},
    {"9000100.png", "red", "square", {50, 690, 210, 850}},
    {"9000100.png", "brown", "star", {780, 760, 960, 940}},
    {"9000100.png", "purple", "circle", {210, 140, 470, 390}},
    {"9000100.png", "brown", "diamond", {290, 730, 510, 950}},
    {"9000100.png", "green", "star", {660, 130, 880, 350}},
    {"9000120.png", "orange", "cross", {180, 210, 480, 510}},
    {"9000140.png", "purple", "square", {730, 700, 950, 850}},
    {"9000140.png", "black", "circle", {650, 250, 970, 470}},
    {"9000160.jpg", "orange", "diamond", {410, 410, 660, 660}},
    {"9000160.jpg", "yellow", "circle", {150, 10, 500, 360}},
    {"9000180.png", "brown", "diamond", {280, 190, 580, 480}},
};

const std::string kShapes = kBench + "images/syn/SynShapes/";

std::vector<Record> places() {
  std::vector<Record> out;
  for (const Place& place : kPlaces) {
    out.push_back({.picture = kShapes + place.picture,
                   .question = fmt::format("Where is the {} {}?", place.color, place.shape),
                   .box = place.box});
  }
  return out;
}

/// The colours of those that are alone in their shape.
std::vector<Record> colors() {
  std::vector<Record> out;
  for (const Place& place : kPlaces) {
    const auto is_like = [&](const Place& other) {
      return std::string_view(other.picture) == place.picture &&
             std::string_view(other.shape) == place.shape;
    };
    if (std::count_if(std::begin(kPlaces), std::end(kPlaces), is_like) > 1) continue;
    out.push_back({.picture = kShapes + place.picture,
                   .question = fmt::format("What color is the {}?", place.shape),
                   .answers = {place.color}});
  }
  return out;
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

/// Whether a told box and the right one have an intersection over union of at least 0.5.
bool is_place(const std::string& answer, const Box& right) {
  Box told{};
  if (std::sscanf(answer.c_str(), "[%d, %d, %d, %d]", &told[0], &told[1], &told[2], &told[3]) !=
      4) {
    return false;
  }
  const int width = std::min(told[2], right[2]) - std::max(told[0], right[0]);
  const int height = std::min(told[3], right[3]) - std::max(told[1], right[1]);
  const int both = std::max(width, 0) * std::max(height, 0);
  const auto area = [](const Box& box) { return (box[2] - box[0]) * (box[3] - box[1]); };
  return both > 0 && 2 * both >= area(told) + area(right) - both;
}

bool is_right(const Record& record, const std::string& answer) {
  if (record.box) return is_place(answer, *record.box);
  const std::string said = normal(answer, record.is_formula);
  return std::any_of(record.answers.begin(), record.answers.end(), [&](const std::string& right) {
    return said.find(normal(right, record.is_formula)) != std::string::npos;
  });
}

/// Right answers by the model with its weights and spans edited.
int score(const std::vector<Record>& records, Edit edit, const SpanEdit& span_edit) {
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
  for (const Record& record : records) {
    MediaTimings timings;
    Result<MediaItem> picture = processor->image(record.picture, timings);
    EXPECT_TRUE(picture) << record.picture;
    std::vector<MediaItem> media;
    media.push_back(std::move(*picture));
    const Json content = {{{"type", "image"}, {"image", "x"}},
                          {{"type", "text"}, {"text", record.question}}};
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
    if (answers && is_right(record, answers->front().answer.text())) ++right;
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

/// Questions, and how many of them the whole model answers right.
struct Exam {
  explicit Exam(std::vector<Record> questions)
      : records(std::move(questions)), right(score(records, {}, {})) {}

  std::vector<Record> records;
  int right;
};

const Exam& reading() {
  static const Exam exam(readings());
  return exam;
}

const Exam& locating() {
  static const Exam exam(places());
  return exam;
}

const Exam& naming_colors() {
  static const Exam exam(colors());
  return exam;
}

/// What a fault costs must be far beyond what chance could.
void expect_loss(const Exam& exam, int least, const Edit& edit, const SpanEdit& span_edit = {}) {
  const int left = score(exam.records, edit, span_edit);
  std::printf("%d of %d right answers are left\n", left, exam.right);
  EXPECT_LE(left, exam.right - least) << "of " << exam.right;
}

TEST(DemoModel, TellsWhereShapesAre) { EXPECT_GE(locating().right, 20) << "of 23"; }

TEST(DemoModel, NamesColors) { EXPECT_GE(naming_colors().right, 16) << "of 17"; }

TEST(DemoModelWithout, DeepStackLosesAnswers) {
  expect_loss(reading(), 5, zeroes("model.visual.deepstack_merger_list.", "linear_fc2"));
}

TEST(DemoModelWithout, TheRightOrderOfMergedPatchesLosesAnswers) {
  expect_loss(reading(), 5, swaps("model.visual.merger.linear_fc1.weight", 192, 1, 2));
}

TEST(DemoModelWithout, RedAndBlueInTheirPlacesLosesColors) {
  expect_loss(naming_colors(), 6, swaps("model.visual.patch_embed.proj.weight", 512, 0, 2));
}

TEST(DemoModelWithout, HeightAndWidthInTheirPlacesLosesAnswers) {
  expect_loss(reading(), 5, {}, [](EmbedSpan& span) { std::swap(span.merged_h, span.merged_w); });
}

TEST(DemoModelWithout, ThePositionTableLosesPlaces) {
  expect_loss(locating(), 12, zeroes("model.visual.pos_embed.", "weight"));
}

}  // namespace
}  // namespace qvl
