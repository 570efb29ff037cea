// Where `MotionWarp` reads: worked out once for a row of pixels and used for all channels.

#pragma once

#include "kernels/interpolation.h"
#include "kernels/kernels.h"

namespace arseg {
namespace ARSEG_LEVEL {

struct WarpGeometry {
  int64_t height, width;  // of the feature
  int64_t motion_height, motion_width;
  Sampling sampling;

  // From a sample's upper left tap to the others; 0 where there is no neighbour, whose weight is then 0.
  int64_t step_right() const { return width > 1 ? 1 : 0; }
  int64_t step_down() const { return height > 1 ? width : 0; }
};

// How the lanes of one vector lie in memory. Motion is the same over whole blocks, so most vectors are one or two runs
// of consecutive pixels, which plain loads read several times faster than a gather.
constexpr uint8_t kOneRun = 0;      // values between are the lane at which the second of two runs begins
constexpr uint8_t kScattered = 255;

struct WarpPlan {
  int32_t* offset;  // of the upper left tap in its plane, [count]
  float* weight[4];  // upper left, upper right, lower left, lower right, [count] each; 0 for taps outside the plane
  uint8_t* runs;     // one for each vector

  static size_t bytes(int64_t count) {
    return static_cast<size_t>(round_up(count * 20 + count / kLanes, 64));
  }
};

// Lays a plan for `count` pixels, a multiple of kLanes, into memory of `WarpPlan::bytes(count)`.
inline WarpPlan warp_plan_in(void* memory, int64_t count) {
  WarpPlan plan;
  plan.offset = static_cast<int32_t*>(memory);
  float* weights = reinterpret_cast<float*>(plan.offset + count);
  for (int tap = 0; tap < 4; ++tap) plan.weight[tap] = weights + tap * count;
  plan.runs = reinterpret_cast<uint8_t*>(weights + 4 * count);
  return plan;
}

struct Displacement {
  double x, y;  // in pixels of the feature
};

inline double without_nonfinite(float value) {
  if (value != value) return 0.0;
  constexpr float kLargest = 3.402823466e38f;
  return value > kLargest ? kLargest : value < -kLargest ? -kLargest : value;
}

inline Displacement displacement_at(const WarpGeometry& g, const float* motion, Neighbours row, int64_t x) {
  const bool published = g.sampling == Sampling::kPublished;
  const Neighbours column =
      published ? corners_aligned(x, g.motion_width, g.width) : half_pixel(x, g.motion_width, g.width);
  const double ratio_y = static_cast<double>(g.height) / static_cast<double>(g.motion_height);
  const double ratio_x = published ? ratio_y : static_cast<double>(g.width) / static_cast<double>(g.motion_width);
  const float* const above = motion + row.first * g.motion_width * 2;
  const float* const below = motion + row.second * g.motion_width * 2;
  const auto mean = [&](int axis) {
    const auto at = [&](const float* line, int64_t i) {
      const float value = line[i * 2 + axis];
      return published ? static_cast<double>(value) : without_nonfinite(value);
    };
    const double first = at(above, column.first);
    if (column.share == 0 && row.share == 0) return first;
    const double upper = first * (1 - column.share) + at(above, column.second) * column.share;
    const double lower = at(below, column.first) * (1 - column.share) + at(below, column.second) * column.share;
    return upper * (1 - row.share) + lower * row.share;
  };
  return {mean(0) * ratio_x, mean(1) * ratio_y};
}

// A sampling position in one dimension: the first of two neighbours that are both inside, and their weights.
struct Footprint {
  int64_t first;
  float weight[2];
};

inline Footprint footprint(double position, int64_t size, Sampling sampling) {
  const double last = static_cast<double>(size - 1);
  const double low = sampling == Sampling::kPublished ? -2.0 : 0.0;
  const double high = sampling == Sampling::kPublished ? last + 2.0 : last;
  const double inside = position < low ? low : position > high ? high : position;
  const int64_t tap = static_cast<int64_t>(inside + 2.0) - 2;
  const float share = static_cast<float>(inside - static_cast<double>(tap));
  const int64_t first = clamp(tap, 0, larger(size - 2, 0));
  const auto weight_of = [&](int64_t index) {
    return index >= size ? 0.0f : index == tap ? 1.0f - share : index == tap + 1 ? share : 0.0f;
  };
  return {first, {weight_of(first), weight_of(first + 1)}};
}

inline uint8_t runs_of(const int32_t* offset) {
  int split = 0;
  for (int lane = 1; lane < kLanes; ++lane) {
    if (offset[lane] == offset[lane - 1] + 1) continue;
    if (split != 0) return kScattered;
    split = lane;
  }
  return static_cast<uint8_t>(split);
}

// Plans `count` pixels (a multiple of kLanes) of row y from column x_first on; columns outside are planned as the
// nearest inside. `motion` is one [H, W, 2] map. A displacement that is not finite gives weights of 0 under
// `published`; under `consistent` NaN counts as 0 and infinities clamp to the border.
inline void plan_row(const WarpGeometry& g, const float* motion, int64_t y, int64_t x_first, int64_t count,
                     const WarpPlan& plan) {
  const bool published = g.sampling == Sampling::kPublished;
  const Neighbours row = published ? corners_aligned(y, g.motion_height, g.height)
                                   : half_pixel(y, g.motion_height, g.height);
  // The published models map positions to [−1, 1] under one convention and back under the other.
  const auto sampled = [published](double position, int64_t size) {
    if (!published || size == 1) return position;
    return position * static_cast<double>(size) / static_cast<double>(size - 1) - 0.5;
  };
  for (int64_t j = 0; j < count; ++j) {
    const int64_t x = clamp(x_first + j, 0, g.width - 1);
    const Displacement d = displacement_at(g, motion, row, x);
    const bool finite = d.x - d.x == 0 && d.y - d.y == 0;
    const Footprint across =
        footprint(finite ? sampled(static_cast<double>(x) + d.x, g.width) : -2.0, g.width, g.sampling);
    const Footprint down =
        footprint(finite ? sampled(static_cast<double>(y) + d.y, g.height) : -2.0, g.height, g.sampling);
    plan.offset[j] = static_cast<int32_t>(down.first * g.width + across.first);
    plan.weight[0][j] = down.weight[0] * across.weight[0];
    plan.weight[1][j] = down.weight[0] * across.weight[1];
    plan.weight[2][j] = down.weight[1] * across.weight[0];
    plan.weight[3][j] = down.weight[1] * across.weight[1];
  }
  for (int64_t j = 0; j < count; j += kLanes) plan.runs[j / kLanes] = runs_of(plan.offset + j);
}

// The kLanes samples of one plane from the plan's entry j on.
inline Floats sample(const float* plane, int64_t right, int64_t down, const WarpPlan& plan, int64_t j) {
  const uint8_t runs = plan.runs[j / kLanes];
  Floats taps[4];
  const float* corner[4] = {plane, plane + right, plane + down, plane + down + right};
  if (runs == kOneRun) {
    for (int tap = 0; tap < 4; ++tap) taps[tap] = load(corner[tap] + plan.offset[j]);
  } else if (runs == kScattered) {
    const Ints offset = load(plan.offset + j);
    for (int tap = 0; tap < 4; ++tap) taps[tap] = gather(corner[tap], offset);
  } else {
    const int64_t left_start = plan.offset[j], right_start = plan.offset[j + runs] - static_cast<int64_t>(runs);
    for (int tap = 0; tap < 4; ++tap) {
      taps[tap] = load_split(corner[tap] + left_start, corner[tap] + right_start, runs);
    }
  }
  Floats sum = taps[0] * load(plan.weight[0] + j);
  for (int tap = 1; tap < 4; ++tap) sum += taps[tap] * load(plan.weight[tap] + j);
  return sum;
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
