#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "qvl/request.h"

namespace qvl {

/// Stands for everything that the keys and values of a page, or features, depend on.
using PageKey = std::array<uint8_t, 16>;

/// Keys of the full pages of a prompt, first page first: a BLAKE2b hash of the key of the page
/// before (of `salt`, for the first), the page's token ids, and for every picture that touches it
/// content hash, grid, which rows of its features lie there and where. Positions follow from what
/// the chain of keys holds. Equal keys so mean equal keys and values, bit for bit, as long as
/// unequal pictures have unequal content hashes.
std::vector<PageKey> prefix_keys(std::span<const int32_t> tokens, std::span<const EmbedSpan> spans,
                                 std::span<const Patches> media, std::string_view salt);

/// Key of the features of a picture: its content hash and the salt.
PageKey feature_key(const Patches& media, std::string_view salt);

}  // namespace qvl
