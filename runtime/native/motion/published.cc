// Chaining in whole pixels, in one pass over the frame.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "motion/motion.h"

namespace arseg {
namespace {

constexpr float kFar = kLargestSide;

// To whole pixels, halves to the even number; 0 for what is no number.
int64_t whole(float pixels) { return std::isnan(pixels) ? 0 : std::lrint(std::min(std::max(pixels, -kFar), kFar)); }

// A block's pixels of one row, `count` of them, as the reference's row knows them from column `x` on.
void look_up(const Position* row, int64_t width, int64_t x, int64_t count, Position* found) {
  if (count == kBlock && x >= 0 && x + kBlock <= width) {
    std::memcpy(found, row + x, kBlock * sizeof(Position));  // of a fixed size: one or two moves
    return;
  }
  for (int64_t i = 0; i < count; ++i) found[i] = row[std::clamp<int64_t>(x + i, 0, width - 1)];
}

// Counted in 16 bits, as NumPy does: a position that was found elsewhere can lie far outside.
void subtract_grid(const Position* positions, int64_t y, int64_t width, Displacement* motion) {
  for (int64_t x = 0; x < width; ++x) {
    motion[x].x = static_cast<int16_t>(positions[x].x - x);
    motion[x].y = static_cast<int16_t>(positions[x].y - y);
  }
}

}  // namespace
}  // namespace arseg

int arseg_published(int64_t height, int64_t width, int64_t rows, int64_t columns,
                    const arseg::Displacement* displacement, const int8_t* reference,
                    const arseg::Position* const* known, int64_t known_count, arseg::Position* positions,
                    arseg::Displacement* motion) {
  using namespace arseg;
  if (!Picture{height, width, rows, columns}.fits() || known_count < 1) return 0;
  if (!displacement || !reference || !known || !positions || !motion) return 0;
  if (std::find(known, known + known_count, nullptr) != known + known_count) return 0;
  for (int64_t top = 0; top < height; top += kBlock) {
    const int64_t bottom = std::min(top + kBlock, height);
    for (int64_t left = 0; left < width; left += kBlock, ++displacement, ++reference) {
      const bool intra = *reference == kIntra;
      const int64_t dx = intra ? 0 : whole(displacement->x), dy = intra ? 0 : whole(displacement->y);
      const Position* const source = known[std::clamp<int64_t>(*reference, 0, known_count - 1)];
      const int64_t count = std::min(kBlock, width - left);
      for (int64_t y = top; y < bottom; ++y) {
        const Position* const row = source + std::clamp<int64_t>(y + dy, 0, height - 1) * width;
        look_up(row, width, left + dx, count, positions + y * width + left);
      }
    }
    for (int64_t y = top; y < bottom; ++y) subtract_grid(positions + y * width, y, width, motion + y * width);
  }
  return 1;
}
