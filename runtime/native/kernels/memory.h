// Scratch memory and moving pixels about.

#pragma once

#include "kernels/simd.h"

namespace arseg {
namespace ARSEG_LEVEL {

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

// Rows in scratch memory are whole vectors.
inline void clear(float* row, int64_t columns) {
  for (int64_t j = 0; j < columns; j += kLanes) store(row + j, Floats{});
}

// Clears the columns of a row that lie left or right of the image, column 0 being x_first.
inline void clear_outside(float* row, int64_t columns, int64_t x_first, int64_t image_width) {
  const int64_t left = clamp(-x_first, 0, columns), right = clamp(image_width - x_first, 0, columns);
  for (int64_t j = 0; j < left; j += kLanes) {
    store(row + j, keep_between(load(row + j), smaller(left - j, kLanes), kLanes));
  }
  for (int64_t j = right / kLanes * kLanes; j < columns; j += kLanes) {
    store(row + j, keep_between(load(row + j), 0, larger(right - j, 0)));
  }
}

// Columns x_first to x_first + columns − 1 of an image's row, with zeros left and right of the image.
inline void copy_row(const float* image_row, int64_t image_width, int64_t x_first, int64_t columns, float* to) {
  const int64_t left = clamp(-x_first, 0, columns), right = clamp(image_width - x_first, left, columns);
  const float* const from = image_row + x_first;
  const auto copy_part = [&](int64_t j) {
    const int64_t low = clamp(left - j, 0, kLanes), high = clamp(right - j, low, kLanes);
    store(to + j, load_between(from + j, low, high));
  };
  const int64_t whole = smaller(round_up(left, kLanes), columns);
  int64_t j = 0;
  for (; j < whole; j += kLanes) copy_part(j);
  for (; j + kLanes <= right; j += kLanes) store(to + j, load(from + j));
  for (; j < columns; j += kLanes) copy_part(j);
}

// `count` pixels to where nothing may be written past them.
inline void write_row(const float* from, int64_t count, float* to) {
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) store(to + j, load(from + j));
  if (j < count) store_first(to + j, load(from + j), count - j);
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
