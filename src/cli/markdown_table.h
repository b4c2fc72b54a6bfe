#pragma once

#include <string>
#include <vector>

namespace qvl {

/// Lines that begin with "|" → a table with aligned columns, or one "heading: cell" line per cell
/// if it is wider than `columns`. Lines that form no table (the second is no "|---|---|") come back
/// as lines with their inline markup rendered. Every line ends with a newline.
std::string render_table(const std::vector<std::string>& lines, int columns);

}  // namespace qvl
