#include "model/processor.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace qvl
