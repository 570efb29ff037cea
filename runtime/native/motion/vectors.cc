// The codec's motion vectors, put on a grid of blocks.

#include <algorithm>

#include "motion/motion.h"

namespace arseg {
namespace {

// Rounded down, as the blocks left of the picture and above it need it.
constexpr int64_t block_at(int64_t pixel) { return (pixel >= 0 ? pixel : pixel - (kBlock - 1)) / kBlock; }

}  // namespace
}  // namespace arseg

int arseg_vectors(int64_t height, int64_t width, int64_t rows, int64_t columns, const arseg::VectorRecord* records,
                  int64_t count, arseg::Displacement* displacement, int8_t* reference) {
  using namespace arseg;
  if (!Picture{height, width, rows, columns}.fits() || !displacement || !reference) return 0;
  if (count < 0 || (count > 0 && !records)) return 0;
  const int64_t cells = rows * columns;
  std::fill_n(displacement, 2 * cells, Displacement{0, 0});
  std::fill_n(reference, 2 * cells, kIntra);
  // A block covers one or two cells each way. Cell by cell, not record by record, as the Python form does it: where
  // the blocks of a damaged stream overlap, the same one comes last.
  for (int64_t down = 0; down < 2; ++down) {
    for (int64_t right = 0; right < 2; ++right) {
      for (const VectorRecord* record = records; record != records + count; ++record) {
        if (record->source == 0 || record->h <= down * kBlock || record->w <= right * kBlock) continue;
        const int64_t row = block_at(record->dst_y - record->h / 2) + down;
        const int64_t column = block_at(record->dst_x - record->w / 2) + right;
        if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
        const int64_t cell = (record->source > 0 ? cells : 0) + row * columns + column;
        const double scale = record->motion_scale;
        displacement[cell] = {static_cast<float>(record->motion_x / scale),
                              static_cast<float>(record->motion_y / scale)};
        reference[cell] = 0;
      }
    }
  }
  return 1;
}
