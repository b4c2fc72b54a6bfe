#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "media/content_hash.h"
#include "media/image.h"
#include "media/media_test_support.h"
#include "media/patches.h"
#include "media/resize.h"
#include "media/smart_resize.h"
#include "media/video.h"

// From files to patches, as the vision tower reads them: equal byte for byte to what the reference
// processor made of the same files.

namespace qvl {
namespace {

using nlohmann::json;
using test::read_bytes;
using test::read_json;
using test::source_path;

/// Several pictures or videos of one case, in the order of the prompt.
struct Batch {
  std::vector<uint8_t> rows;
  std::vector<int32_t> grids;  ///< [pictures, 3]

  void add(const Patches& patches) {
    rows.insert(rows.end(), patches.rows.begin(), patches.rows.end());
    grids.insert(grids.end(), {patches.grid.t, patches.grid.h, patches.grid.w});
  }
};

void add_image(const std::string& path, Batch& batch) {
  const Result<Image> image = load_image(path);
  ASSERT_TRUE(image) << image.error().message();
  const Result<Size> size = smart_resize(image->size, {});
  ASSERT_TRUE(size) << size.error().message();
  batch.add(make_patches(std::vector{resize_bicubic(*image, *size)}, {}));
}

void add_video(const std::string& folder, double fps, Batch& batch) {
  Result<Video> video = load_frame_folder(folder, fps, {});
  ASSERT_TRUE(video) << video.error().message();
  const Result<Size> size =
      smart_resize_video(static_cast<int>(video->frames.size()), video->frames[0].size, 2,
                         {.min_pixels = 4096, .max_pixels = 25'165'824});
  ASSERT_TRUE(size) << size.error().message();
  for (Image& frame : video->frames) frame = resize_bicubic(frame, *size);
  batch.add(make_patches(video->frames, {}));
}

/// Tensors of a safetensors file that we wrote ourselves: 8 bytes of header length, header, data.
class Tensors {
 public:
  explicit Tensors(const std::string& path) : file_(read_bytes(path)) {
    std::memcpy(&header_bytes_, file_.data(), sizeof header_bytes_);
    header_ = json::parse(file_.data() + 8, file_.data() + 8 + header_bytes_);
  }

  /// Empty if there is none of this name.
  template <class T>
  std::vector<T> get(const std::string& name) const {
    if (!header_.contains(name)) return {};
    const json& range = header_[name]["data_offsets"];
    const auto* data = file_.data() + 8 + header_bytes_;
    std::vector<T> values((range[1].get<size_t>() - range[0].get<size_t>()) / sizeof(T));
    std::memcpy(values.data(), data + range[0].get<size_t>(), values.size() * sizeof(T));
    return values;
  }

 private:
  std::vector<uint8_t> file_;
  uint64_t header_bytes_ = 0;
  json header_;
};

/// The references keep 16 bytes of BLAKE2b instead of megabytes of pixels.
void expect_digest(const std::vector<uint8_t>& found, const std::vector<uint8_t>& expected) {
  if (found.empty() && expected.empty()) return;
  ContentHasher hasher;
  hasher.add(found);
  const ContentHasher::Digest digest = hasher.digest();
  EXPECT_EQ(std::vector<uint8_t>(digest.begin(), digest.end()), expected);
}

class Goldens : public testing::TestWithParam<std::string> {};

TEST_P(Goldens, PatchesAreEqualByteForByte) {
  const std::string folder = source_path("tests/goldens/tiny-2b/cases/" + GetParam());
  const std::string media = source_path("tests/goldens/media/");
  const json test_case = read_json(folder + "/case.json");
  ASSERT_TRUE(test_case.is_object());
  Batch images;
  Batch videos;
  for (const json& message : test_case["messages"]) {
    if (!message["content"].is_array()) continue;
    for (const json& part : message["content"]) {
      if (part["type"] == "image") add_image(media + part["image"].get<std::string>(), images);
      if (part["type"] == "video") {
        add_video(media + part["video"].get<std::string>(), test_case["video"]["fps"], videos);
      }
    }
  }
  ASSERT_FALSE(images.rows.empty() && videos.rows.empty());
  const Tensors reference(folder + "/ref.safetensors");
  EXPECT_EQ(images.grids, reference.get<int32_t>("image_grid_thw"));
  EXPECT_EQ(videos.grids, reference.get<int32_t>("video_grid_thw"));
  expect_digest(images.rows, reference.get<uint8_t>("image_patches_blake2b"));
  expect_digest(videos.rows, reference.get<uint8_t>("video_patches_blake2b"));
}

INSTANTIATE_TEST_SUITE_P(Tiny2b, Goldens,
                         testing::Values("image", "image-exif", "image-small", "image-webp",
                                         "images", "mixed-turns", "video"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace qvl
