#include "model/processor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace qvl {
namespace {

const std::string kModel = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
const std::string kCard = QVL_SOURCE_DIR "/tests/goldens/media/card.png";  // 640 x 480

Processor load(const ProcessorOptions& options) {
  const Result<ModelFiles> model = open_model(kModel, LoadFormat::checkpoint);
  Result<Processor> processor = Processor::load(*model, options);
  return std::move(*processor);
}

/// Patches of 16 x 16 pixels: rows, columns.
std::pair<int, int> grid(const Processor& processor, const ImageOptions& options) {
  MediaTimings timings;
  const Result<MediaItem> item = processor.image(kCard, timings, options);
  if (!item) return {};
  return {item->patches.grid.h, item->patches.grid.w};
}

TEST(Processor, APictureHasLimitsOfItsOwn) {
  const Processor processor = load({});
  EXPECT_EQ(grid(processor, {}), (std::pair{30, 40}));
  EXPECT_EQ(grid(processor, {.detail = ImageDetail::low}), (std::pair{26, 36}));
  EXPECT_EQ(grid(processor, {.max_pixels = 100'000}), (std::pair{16, 22}));
  EXPECT_EQ(grid(processor, {.max_edge = 320}), (std::pair{16, 20}));
}

TEST(Processor, HighDetailUndoesTheOptionsMinimumButNotTheirMaximum) {
  const Processor finer = load({.min_pixels = 1'000'000});
  EXPECT_GT(grid(finer, {}).first, 50);
  EXPECT_EQ(grid(finer, {.detail = ImageDetail::high}), (std::pair{30, 40}));
  const Processor coarser = load({.max_pixels = 100'000});
  EXPECT_EQ(grid(coarser, {.detail = ImageDetail::high}), (std::pair{16, 22}));
}

TEST(Processor, ImpossibleLimitsNameThePicture) {
  const Processor processor = load({});
  MediaTimings timings;
  const Result<MediaItem> item =
      processor.image(kCard, timings, {.min_pixels = 9000, .max_pixels = 8000});
  ASSERT_FALSE(item);
  EXPECT_EQ(item.error().message(),
            kCard +
                ": the limits of a picture's size cannot be used: found min_pixels 9000 above "
                "max_pixels 8000; give areas in pixels, such as 65536 and 1048576");
}

/// The tiny model with another template file.
class ProcessorTemplateTest : public testing::Test {
 protected:
  ProcessorTemplateTest()
      : folder_(testing::TempDir() + "qvl_processor_template_" + std::to_string(::getpid())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    for (const auto& file : std::filesystem::directory_iterator(kModel)) {
      const std::filesystem::path name = file.path().filename();
      if (name == "chat_template.jinja" || name == "tokenizer_config.json") continue;
      std::filesystem::create_symlink(file.path(), folder_ / name);
    }
  }
  ~ProcessorTemplateTest() override { std::filesystem::remove_all(folder_); }

  void write(const char* name, const char* text) const { std::ofstream(folder_ / name) << text; }

  Result<Processor> load() const {
    const Result<ModelFiles> model = open_model(folder_.string(), LoadFormat::checkpoint);
    if (!model) return model.error();
    return Processor::load(*model, {});
  }

  std::string render() const {
    const Result<Processor> processor = load();
    if (!processor) return processor.error().message();
    const auto messages = nlohmann::ordered_json::parse(R"([{"role": "user", "content": "Hi"}])");
    const Result<std::string> text = processor->render(messages, nullptr);
    return text ? *text : text.error().message();
  }

  std::filesystem::path folder_;
};

TEST_F(ProcessorTemplateTest, IsFoundWhereverCheckpointsKeepIt) {
  EXPECT_NE(render().find("looked for chat_template.jinja"), std::string::npos);
  write("tokenizer_config.json", R"({"chat_template": "A {{ messages[0].content }}"})");
  EXPECT_EQ(render(), "A Hi");
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "B"}]})");
  EXPECT_EQ(render(), "B");
  write("chat_template.json", R"({"chat_template": "C"})");
  EXPECT_EQ(render(), "C");
  write("chat_template.jinja", "D");
  EXPECT_EQ(render(), "D");
}

TEST_F(ProcessorTemplateTest, ErrorsNameItsFileAndLine) {
  write("chat_template.jinja", "one\n{% if %}");
  EXPECT_TRUE(render().starts_with((folder_ / "chat_template.jinja").string() + ": ")) << render();
  EXPECT_NE(render().find(": chat_template.jinja:2: "), std::string::npos) << render();
}

TEST_F(ProcessorTemplateTest, ErrorsOfAConversationDoNotTellItsFolder) {
  write("chat_template.jinja", "one\n{{ 1 / 0 }}");
  EXPECT_NE(render().find("chat_template.jinja:2: "), std::string::npos) << render();
  EXPECT_EQ(render().find(folder_.string()), std::string::npos) << render();
}

}  // namespace
}  // namespace qvl
