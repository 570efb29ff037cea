// How the attention kernels walk an image: in strips some vectors wide, each cut into bands, each band a task that goes
// down row by row and keeps the last few rows of what it needs in ring buffers small enough for the L2 cache.

#pragma once

#include "kernels/simd.h"

namespace arseg {
namespace ARSEG_LEVEL {

// A part of one image.
struct Band {
  int64_t image;
  int64_t x_begin, x_end;
  int64_t y_begin, y_end;
};

struct Strips {
  int64_t height, width;
  int64_t strip_width;  // a multiple of kLanes
  int64_t band_height;

  int64_t across() const { return (width + strip_width - 1) / strip_width; }
  int64_t down() const { return (height + band_height - 1) / band_height; }
  Band band(int64_t task) const {
    const int64_t row_of_bands = task / across();
    const int64_t x = task % across() * strip_width, y = row_of_bands % down() * band_height;
    return {row_of_bands / down(), x, smaller(x + strip_width, width), y, smaller(y + band_height, height)};
  }
};

// Strips as wide as the buffers allow, evenly cut; bands high enough that what is computed twice at their seams stays
// small, but enough of them to keep many threads busy.
inline Strips cut(int64_t height, int64_t width, int64_t widest, int64_t row_multiple) {
  constexpr int64_t kTasksWanted = 16;
  constexpr int64_t kLowestBand = 40;
  const int64_t vectors = (width + kLanes - 1) / kLanes;
  const int64_t most = larger(widest / kLanes, 1);
  const int64_t strips = (vectors + most - 1) / most;
  const int64_t strip_width = (vectors + strips - 1) / strips * kLanes;
  const int64_t bands_wanted = (kTasksWanted + strips - 1) / strips;
  const int64_t bands = clamp(height / kLowestBand, 1, bands_wanted);
  return {height, width, strip_width, round_up((height + bands - 1) / bands, row_multiple)};
}

// The last few rows of a strip: [row modulo `rows`][channel][column], the first column being `x_first` in the image.
// Rows above and below the image read as zeros.
struct RowRing {
  float* data;
  const float* zeros;  // one row
  int64_t rows, channels, columns;
  int64_t image_height;

  static int64_t floats(int64_t rows, int64_t channels, int64_t columns) { return rows * channels * columns; }
  bool inside(int64_t y) const { return y >= 0 && y < image_height; }
  float* slot(int64_t y) const { return data + y % rows * channels * columns; }
  const float* row(int64_t y) const { return inside(y) ? slot(y) : zeros; }
};

// Clears the columns of a row of all channels that lie left or right of the image.
inline void clear_outside(float* row, int64_t channels, int64_t columns, int64_t x_first, int64_t image_width) {
  const int64_t left = clamp(-x_first, 0, columns);
  const int64_t right = clamp(image_width - x_first, 0, columns);
  if (left == 0 && right == columns) return;
  for (int64_t c = 0; c < channels; ++c, row += columns) {
    for (int64_t j = 0; j < left; ++j) row[j] = 0;
    for (int64_t j = right; j < columns; ++j) row[j] = 0;
  }
}

// Hands out parts of a scratch buffer; with no buffer, only counts.
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}
  float* floats(int64_t count) { return static_cast<float*>(bytes(static_cast<size_t>(count) * sizeof(float))); }
  void* bytes(size_t count) {
    char* const part = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (count + 63) / 64 * 64;
    return part;
  }
  // What to allocate: kernels may read (never write) one vector and a window past the last part.
  size_t size() const { return used_ + 64 * sizeof(float); }

 private:
  char* memory_;
  size_t used_ = 0;
};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
