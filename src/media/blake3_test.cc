#include "media/blake3.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace qvl {
namespace {

std::string hex(const Blake3Digest& digest) {
  std::string out;
  for (const uint8_t byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

/// 0, 1, … 250, 0, 1, …: the input of the published test vectors.
std::vector<uint8_t> counting_bytes(size_t count) {
  std::vector<uint8_t> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(i % 251);
  return bytes;
}

struct Vector {
  size_t bytes;
  const char* digest;
};

constexpr Vector kVectors[] = {
    {0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
    {1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
    {63, "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b"},
    {64, "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98"},
    {65, "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee"},
    {1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"},
    {1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"},
    {1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
    {2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"},
    {2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"},
    {3072, "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2"},
    {3073, "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3"},
    {5120, "9cadc15fed8b5d854562b26a9536d9707cadeda9b143978f319ab34230535833"},
    {5121, "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff"},
    {8193, "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b"},
    {31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"},
    {102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"},
    {99000, "d6e3c0267b486ee15a137ce6e7d93e93e6dfa49f419b8b46677c180669bad440"},
};

TEST(Blake3, AgreesWithThePublishedVectorsOnEveryInstructionSet) {
  for (const PixelKernels* kernels : supported_pixel_kernels()) {
    for (const Vector& vector : kVectors) {
      EXPECT_EQ(hex(blake3(counting_bytes(vector.bytes), *kernels)), vector.digest)
          << vector.bytes << " bytes, " << kernels->name;
    }
  }
}

TEST(Blake3, EveryByteCounts) {
  const std::vector<uint8_t> bytes = counting_bytes(5000);
  const Blake3Digest whole = blake3(bytes);
  for (size_t i = 0; i < bytes.size(); i += 61) {
    std::vector<uint8_t> other = bytes;
    other[i] ^= 1;
    EXPECT_NE(blake3(other), whole) << i;
  }
}

}  // namespace
}  // namespace qvl
