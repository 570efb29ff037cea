// Where `MotionWarp` reads: worked out once for a row of pixels and used for all channels.

#pragma once

#include "kernels/bytes.h"
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
constexpr uint8_t kOneRun = 0;  // values between are the lane at which the second of two runs begins
constexpr uint8_t kScattered = 127;
constexpr uint8_t kAtBorder = 128;  // added where a lane has a tap outside the plane, or that ends on it

struct WarpPlan {
  int32_t* offset;   // of the upper left tap in its plane, [count]
  float* share[2];   // of the right and of the lower taps, [count] each, for vectors not at the border
  float* weight[4];  // upper left, upper right, lower left, lower right, [count] each; 0 for taps outside the plane
  uint8_t* runs;     // one for each vector

  static size_t bytes(int64_t count) { return static_cast<size_t>(round_up(count * 28 + count / kLanes, 64)); }
};

// Lays a plan for `count` pixels, a multiple of kLanes, into memory of `WarpPlan::bytes(count)`.
inline WarpPlan warp_plan_in(void* memory, int64_t count) {
  WarpPlan plan;
  plan.offset = static_cast<int32_t*>(memory);
  float* part = reinterpret_cast<float*>(plan.offset + count);
  for (float*& share : plan.share) share = part, part += count;
  for (float*& weight : plan.weight) weight = part, part += count;
  plan.runs = reinterpret_cast<uint8_t*>(part);
  return plan;
}

inline double without_nonfinite(float value) {
  if (value != value) return 0.0;
  constexpr float kLargest = 3.402823466e38f;
  return value > kLargest ? kLargest : value < -kLargest ? -kLargest : value;
}

// Displacements in pixels of the feature.
struct Displacements {
  double x[kLanes], y[kLanes];
};

template <Sampling sampling>
inline void displacements_at(const WarpGeometry& g, const float* motion, Neighbours row, int64_t x_first,
                             Displacements& d) {
  constexpr bool kPublished = sampling == Sampling::kPublished;
  const double ratio_y = static_cast<double>(g.height) / static_cast<double>(g.motion_height);
  const double ratio_x = kPublished ? ratio_y : static_cast<double>(g.width) / static_cast<double>(g.motion_width);
  const float* const above = motion + row.first * g.motion_width * 2;
  const float* const below = motion + row.second * g.motion_width * 2;
  const auto at = [](const float* line, int64_t i) {
    return kPublished ? static_cast<double>(line[i]) : without_nonfinite(line[i]);
  };
  if (g.motion_width == g.width && row.share == 0 && x_first >= 0 && x_first + kLanes <= g.width) {
    const float* const row_below = above + (x_first + g.motion_width) * 2;  // likely the next one planned
    __builtin_prefetch(row_below);
    __builtin_prefetch(row_below + kLanes);
    for (int lane = 0; lane < kLanes; ++lane) {
      d.x[lane] = at(above, (x_first + lane) * 2) * ratio_x;
      d.y[lane] = at(above, (x_first + lane) * 2 + 1) * ratio_y;
    }
    return;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t x = clamp(x_first + lane, 0, g.width - 1);
    const Neighbours column =
        kPublished ? corners_aligned(x, g.motion_width, g.width) : half_pixel(x, g.motion_width, g.width);
    const auto mean = [&](int axis) {
      const int64_t left = column.first * 2 + axis, right = column.second * 2 + axis;
      const double upper = at(above, left) * (1 - column.share) + at(above, right) * column.share;
      const double lower = at(below, left) * (1 - column.share) + at(below, right) * column.share;
      return upper * (1 - row.share) + lower * row.share;
    };
    d.x[lane] = mean(0) * ratio_x;
    d.y[lane] = mean(1) * ratio_y;
  }
}

// Where the samples of one vector lie in one dimension.
struct Footprints {
  Ints first;        // of two neighbours that are both inside
  Floats share;      // of the second, where `plain`
  Floats weight[2];  // 0 for a tap outside
  Ints plain;        // all ones where both taps are inside and adjacent to the position
};

// Half a vector of taps and shares at a time, in double precision. NaN counts as far outside.
template <Sampling sampling>
inline void nearest_taps(Doubles position, double last, HalfInts& tap, HalfFloats& share) {
  const Doubles low = Doubles{} + (sampling == Sampling::kPublished ? -2.0 : 0.0);
  const Doubles high = Doubles{} + (sampling == Sampling::kPublished ? last + 2.0 : last);
  const Doubles above_low = position > low ? position : low;
  const Doubles inside = above_low < high ? above_low : high;
  tap = __builtin_convertvector(inside + 2.0, HalfInts) - 2;
  share = __builtin_convertvector(inside - __builtin_convertvector(tap, Doubles), HalfFloats);
}

template <Sampling sampling>
inline Footprints footprints(const Doubles (&positions)[2], int32_t size) {
  HalfInts taps[2];
  HalfFloats shares[2];
  for (int half = 0; half < 2; ++half) {
    nearest_taps<sampling>(positions[half], static_cast<double>(size - 1), taps[half], shares[half]);
  }
  const Ints tap = join<Ints>(taps[0], taps[1]), most = Ints{} + (size > 1 ? size - 2 : 0);
  const Floats share = join<Floats>(shares[0], shares[1]), none = {};
  const Ints above = tap < 0 ? Ints{} : tap, first = above > most ? most : above;
  Footprints f;
  f.first = first;
  f.share = share;
  f.weight[0] = tap == first ? 1.0f - share : tap + 1 == first ? share : none;
  f.weight[1] = tap == first ? share : tap == first + 1 ? 1.0f - share : none;
  if (size == 1) f.weight[1] = none;
  f.plain = size > 1 ? tap == first : Ints{};
  return f;
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

template <Sampling sampling>
inline void plan_row_as(const WarpGeometry& g, const float* motion, int64_t y, int64_t x_first, int64_t count,
                        const WarpPlan& plan) {
  constexpr bool kPublished = sampling == Sampling::kPublished;
  const Neighbours row =
      kPublished ? corners_aligned(y, g.motion_height, g.height) : half_pixel(y, g.motion_height, g.height);
  // The published models map positions to [−1, 1] under one convention and back under the other.
  const bool mapped_x = kPublished && g.width > 1, mapped_y = kPublished && g.height > 1;
  const double scale_x = mapped_x ? static_cast<double>(g.width) / static_cast<double>(g.width - 1) : 1.0;
  const double scale_y = mapped_y ? static_cast<double>(g.height) / static_cast<double>(g.height - 1) : 1.0;
  const double shift_x = mapped_x ? 0.5 : 0.0, shift_y = mapped_y ? 0.5 : 0.0;
  const int32_t width = static_cast<int32_t>(g.width), height = static_cast<int32_t>(g.height);
  for (int64_t j = 0; j < count; j += kLanes) {
    Displacements d;
    displacements_at<sampling>(g, motion, row, x_first + j, d);
    double column[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      column[lane] = static_cast<double>(clamp(x_first + j + lane, 0, g.width - 1));
    }
    Doubles at_x[2], at_y[2];
    for (int half = 0; half < 2; ++half) {
      const int lane = half * (kLanes / 2);
      at_x[half] = (load(column + lane) + load(d.x + lane)) * scale_x - shift_x;
      at_y[half] = (static_cast<double>(y) + load(d.y + lane)) * scale_y - shift_y;
    }
    const Footprints across = footprints<sampling>(at_x, width), down = footprints<sampling>(at_y, height);
    store(plan.offset + j, down.first * width + across.first);
    store(plan.share[0] + j, across.share);
    store(plan.share[1] + j, down.share);
    for (int tap = 0; tap < 4; ++tap) store(plan.weight[tap] + j, down.weight[tap / 2] * across.weight[tap % 2]);
    const bool plain = all(across.plain & down.plain);
    plan.runs[j / kLanes] = static_cast<uint8_t>(runs_of(plan.offset + j) + (plain ? 0 : kAtBorder));
  }
}

// Plans `count` pixels (a multiple of kLanes) of row y from column x_first on; columns outside are planned as the
// nearest inside. `motion` is one [H, W, 2] map. A displacement that is not finite gives weights of 0 under
// `published`; under `consistent` NaN counts as 0 and infinities clamp to the border.
inline void plan_row(const WarpGeometry& g, const float* motion, int64_t y, int64_t x_first, int64_t count,
                     const WarpPlan& plan) {
  if (g.sampling == Sampling::kPublished) {
    plan_row_as<Sampling::kPublished>(g, motion, y, x_first, count, plan);
  } else {
    plan_row_as<Sampling::kConsistent>(g, motion, y, x_first, count, plan);
  }
}

// Fetches most of what the samples from the plan's entry j on read in a row of a plane: after some frames the motion of
// real video is the same over few pixels, so that their taps lie in many cache lines. A prefetch outside does no harm.
template <typename Pixel>
inline void ask_for_samples(const Pixel* plane, const WarpPlan& plan, int64_t j) {
  constexpr int kAsked = kLanes > 8 ? 4 : 2;
  for (int i = 0; i < kAsked; ++i) __builtin_prefetch(plane + plan.offset[j + i * (kLanes - 1) / (kAsked - 1)]);
}

// The kLanes samples of one plane from the plan's entry j on. A pixel of a plane of bytes stands for itself less `zero`;
// taps outside the plane are 0 and not the byte 0.
template <typename Pixel>
__attribute__((always_inline)) inline Floats sample(const Pixel* plane, int64_t right, int64_t down,
                                                    const WarpPlan& plan, int64_t j, float zero = 0) {
  constexpr bool kBytes = sizeof(Pixel) == 1;
  const uint8_t runs = plan.runs[j / kLanes] & 127, border = plan.runs[j / kLanes] & kAtBorder;
  Floats taps[4];
  const Pixel* corner[4] = {plane, plane + right, plane + down, plane + down + right};
  if (runs == kOneRun) {
    for (int tap = 0; tap < 4; ++tap) taps[tap] = load(corner[tap] + plan.offset[j]);
  } else if (runs == kScattered) {
    const Ints offset = load(plan.offset + j);
    if (right == 1 && pairs_can_be_gathered(plane, down)) {
      gather_pairs(plane, offset, taps[0], taps[1]);
      gather_pairs(plane + down, offset, taps[2], taps[3]);
    } else {
      for (int tap = 0; tap < 4; ++tap) taps[tap] = gather(corner[tap], offset);
    }
  } else {
    const int64_t left_start = plan.offset[j], right_start = plan.offset[j + runs] - static_cast<int64_t>(runs);
    for (int tap = 0; tap < 4; ++tap) {
      taps[tap] = load_split(corner[tap] + left_start, corner[tap] + right_start, runs);
    }
  }
  if (border == 0) {
    const Floats across = load(plan.share[0] + j);
    const Floats upper = taps[0] + (taps[1] - taps[0]) * across;
    const Floats lower = taps[2] + (taps[3] - taps[2]) * across;
    const Floats inside = upper + (lower - upper) * load(plan.share[1] + j);
    return kBytes ? inside - zero : inside;
  }
  if (kBytes) {
    for (Floats& tap : taps) tap -= zero;
  }
  Floats sum = taps[0] * load(plan.weight[0] + j);
  for (int tap = 1; tap < 4; ++tap) sum += taps[tap] * load(plan.weight[tap] + j);
  return sum;
}

// Calls `each(plane, zero, scale)` for one plane of a feature, as floats or as bytes: what is sampled from it, times
// `scale`, is the feature's.
template <typename Each>
inline void with_plane(const Feature& feature, int64_t channel, int64_t plane, int64_t plane_size, const Each& each) {
  if (feature.bytes == nullptr) return each(feature.floats + plane * plane_size, 0.0f, 1.0f);
  const int64_t at = feature.per_channel ? channel : 0;
  each(feature.bytes + plane * plane_size, static_cast<float>(feature.zero_point[at]), feature.scale[at]);
}

// A sample as the feature has it; `scale` is 1 where it is kept in floats.
template <typename Pixel>
inline Floats scaled(Floats samples, float scale) {
  return sizeof(Pixel) == 1 ? samples * scale : samples;
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
