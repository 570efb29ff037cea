// Where a resize reads, in one dimension, for the two conventions in use.

#pragma once

#include "kernels/simd.h"

namespace arseg {
namespace ARSEG_LEVEL {

// Two neighbours and the share of the second, which is the first again where it has none: what has no weight is not
// read, so that NaN and infinity stay where they are.
struct Neighbours {
  int64_t first, second;
  double share;
};

inline Neighbours neighbours_at(double position, int64_t size) {  // position in [0, size − 1]
  const int64_t first = static_cast<int64_t>(position);
  const double share = position - static_cast<double>(first);
  return {first, share > 0 ? smaller(first + 1, size - 1) : first, share};
}

// The outer samples of both grids lie on each other (ONNX `align_corners`); a single sample reads the first.
inline Neighbours corners_aligned(int64_t index, int64_t from_size, int64_t to_size) {
  if (from_size == to_size) return {index, index, 0.0};
  if (to_size == 1) return {0, 0, 0.0};
  const double position =
      static_cast<double>(index) * static_cast<double>(from_size - 1) / static_cast<double>(to_size - 1);
  return neighbours_at(position, from_size);
}

// The outer edges of the border samples lie on each other (ONNX `half_pixel`), clamped to the border.
inline Neighbours half_pixel(int64_t index, int64_t from_size, int64_t to_size) {
  const double position =
      (static_cast<double>(index) + 0.5) * static_cast<double>(from_size) / static_cast<double>(to_size) - 0.5;
  const double last = static_cast<double>(from_size - 1);
  return neighbours_at(position < 0 ? 0 : position > last ? last : position, from_size);
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
