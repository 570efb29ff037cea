// MovedLabels: labels of frames that a network saw, moved along the motion to another frame. Where they agree, that is
// the label; where they do not, their logits decide, each weighed by how well it shows what the frame shows.

#include "kernels/level.h"
#include "kernels/memory.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kBlock = 8;  // pixels on a block's side; the motion stands at blocks' centres
constexpr int64_t kBandRows = 16;
constexpr int64_t kMostClasses = 256;

inline float between(float first, float second, float share) { return first + (second - first) * share; }

// One source's motion along a row of pixels, in pixels, at the centres of blocks.
struct MotionRow {
  float* x;
  float* y;
};

void interpolate_motion(const MovedLabelsArguments& a, const float* motion, int64_t y, const MotionRow& row) {
  const float last = static_cast<float>(a.rows - 1);
  float position = (static_cast<float>(y) - 3.5f) / kBlock;
  position = position < 0 ? 0 : position > last ? last : position;
  const int64_t first = static_cast<int64_t>(position);
  const float share = position - static_cast<float>(first);
  const float* upper = motion + 2 * first * a.columns;
  const float* lower = motion + 2 * smaller(first + 1, a.rows - 1) * a.columns;
  for (int64_t c = 0; c < a.columns; ++c) {
    row.x[c] = kBlock * between(upper[2 * c], lower[2 * c], share);
    row.y[c] = kBlock * between(upper[2 * c + 1], lower[2 * c + 1], share);
  }
}

// The motion of the eight pixels between the centres of two blocks.
struct Segment {
  float x[2], y[2];

  float dx(int64_t pixel) const { return between(x[0], x[1], (static_cast<float>(pixel) + 0.5f) / kBlock); }
  float dy(int64_t pixel) const { return between(y[0], y[1], (static_cast<float>(pixel) + 0.5f) / kBlock); }
};

Segment segment_of(const MovedLabelsArguments& a, const MotionRow& row, int64_t index) {
  const int64_t left = clamp(index - 1, 0, a.columns - 1), right = clamp(index, 0, a.columns - 1);
  return {{row.x[left], row.x[right]}, {row.y[left], row.y[right]}};
}

// One lane for each pixel of a segment, at every level: wider vectors would not help, narrower ones are made of two.
typedef float Pixels __attribute__((vector_size(kBlock * sizeof(float))));
typedef int32_t Places __attribute__((vector_size(kBlock * sizeof(int32_t))));

constexpr Pixels kShares = {0.5f / 8, 1.5f / 8, 2.5f / 8, 3.5f / 8, 4.5f / 8, 5.5f / 8, 6.5f / 8, 7.5f / 8};
constexpr Places kLanesOfSegment = {0, 1, 2, 3, 4, 5, 6, 7};

// To whole pixels, halves to the even number; no farther than any picture reaches, and 0 for what is no number.
inline Places whole(Pixels pixels) {
  const float far = 65536;
  pixels = pixels == pixels ? pixels : Pixels{};
  pixels = pixels > far ? Pixels{} + far : pixels;
  pixels = pixels < -far ? Pixels{} - far : pixels;
  const float rounding = 3 << 22;  // a sum with it has no room for fractions
  return __builtin_convertvector((pixels + rounding) - rounding, Places);
}

inline Places inside(Places places, int32_t last) {
  places = places < 0 ? Places{} : places;
  return places > last ? Places{} + last : places;
}

// The labels of a segment's eight pixels, the first of which is x; of those outside the picture, of its border.
inline uint64_t look_up(const MovedLabelsArguments& a, const uint8_t* labels, const Segment& segment, int64_t y,
                        int64_t x) {
  const Places right = whole(segment.x[0] + (segment.x[1] - segment.x[0]) * kShares);
  const Places down = whole(segment.y[0] + (segment.y[1] - segment.y[0]) * kShares);
  uint64_t found;
  // Between two blocks motion is linear: what is equal at both ends is equal all the way.
  const int64_t from = x + right[0];
  if (right[0] == right[7] && down[0] == down[7] && from >= 0 && from + kBlock <= a.width) {
    __builtin_memcpy(&found, labels + clamp(y + down[0], 0, a.height - 1) * a.width + from, kBlock);
    return found;
  }
  const int32_t width = static_cast<int32_t>(a.width), height = static_cast<int32_t>(a.height);
  const Places rows = inside(down + static_cast<int32_t>(y), height - 1);
  const Places places = rows * width + inside(right + kLanesOfSegment + static_cast<int32_t>(x), width - 1);
  uint8_t bytes[kBlock];
  for (int64_t i = 0; i < kBlock; ++i) bytes[i] = labels[places[i]];
  __builtin_memcpy(&found, bytes, kBlock);
  return found;
}

// Adds a source's logits at a place of the picture, in pixels.
void add_logits(const MovedLabelsArguments& a, const float* logits, float x, float y, float weight, float* sums) {
  const float last_x = static_cast<float>(a.logits_width - 1), last_y = static_cast<float>(a.logits_height - 1);
  x = x * a.logits_scale_x + a.logits_offset_x, y = y * a.logits_scale_y + a.logits_offset_y;
  x = x > 0 ? x : 0, y = y > 0 ? y : 0;  // also of what is no number
  x = x > last_x ? last_x : x, y = y > last_y ? last_y : y;
  const int64_t left = static_cast<int64_t>(x), top = static_cast<int64_t>(y);
  const int64_t right = smaller(left + 1, a.logits_width - 1), bottom = smaller(top + 1, a.logits_height - 1);
  const float share_x = x - static_cast<float>(left), share_y = y - static_cast<float>(top);
  const float* const corners[4] = {
      logits + (top * a.logits_width + left) * a.classes, logits + (top * a.logits_width + right) * a.classes,
      logits + (bottom * a.logits_width + left) * a.classes, logits + (bottom * a.logits_width + right) * a.classes};
  const float shares[4] = {weight * (1 - share_y) * (1 - share_x), weight * (1 - share_y) * share_x,
                           weight * share_y * (1 - share_x), weight * share_y * share_x};
  for (int64_t n = 0; n < a.classes; ++n) {
    sums[n] += shares[0] * corners[0][n] + shares[1] * corners[1][n] + shares[2] * corners[2][n] +
               shares[3] * corners[3][n];
  }
}

uint8_t decide(const MovedLabelsArguments& a, const Segment* segments, const uint8_t (*found)[kBlock], int64_t y,
               int64_t x, int64_t i) {
  const int64_t block = smaller(y / kBlock, a.rows - 1) * a.columns + smaller((x + i) / kBlock, a.columns - 1);
  float sums[kMostClasses];
  for (int64_t n = 0; n < a.classes; ++n) sums[n] = 0;
  for (int64_t k = 0; k < a.sources; ++k) {
    const MovedLabelsSource& source = a.source[k];
    const float weight = source.weight[block];
    if (a.with_logits) {
      add_logits(a, source.logits, static_cast<float>(x + i) + segments[k].dx(i),
                 static_cast<float>(y) + segments[k].dy(i), weight, sums);
    } else if (found[k][i] < a.classes) {
      sums[found[k][i]] += weight;
    }
  }
  int64_t best = 0;
  for (int64_t n = 1; n < a.classes; ++n) best = sums[n] > sums[best] ? n : best;
  return static_cast<uint8_t>(best);
}

Work plan(const MovedLabelsArguments& a) {
  Arena arena(nullptr);
  for (int64_t k = 0; k < 2 * a.sources; ++k) arena.floats(a.columns);
  return {(a.height + kBandRows - 1) / kBandRows, arena.size()};
}

void run(const MovedLabelsArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  MotionRow rows[kMostMovedSources];
  for (int64_t k = 0; k < a.sources; ++k) {
    rows[k].x = arena.floats(a.columns);
    rows[k].y = arena.floats(a.columns);
  }
  const int64_t last_row = smaller((task + 1) * kBandRows, a.height);
  for (int64_t y = task * kBandRows; y < last_row; ++y) {
    uint8_t* const output = a.output + y * a.width;
    for (int64_t k = 0; k < a.sources; ++k) interpolate_motion(a, a.source[k].motion, y, rows[k]);
    // From centre to centre; the first segment starts before the picture, the last may end behind it.
    for (int64_t index = 0, x = -kBlock / 2; x < a.width; ++index, x += kBlock) {
      Segment segments[kMostMovedSources];
      uint8_t found[kMostMovedSources][kBlock];
      uint64_t first = 0, apart = 0;
      for (int64_t k = 0; k < a.sources; ++k) {
        segments[k] = segment_of(a, rows[k], index);
        const uint64_t here = look_up(a, a.source[k].labels, segments[k], y, x);
        first = k == 0 ? here : first;
        apart |= here ^ first;
        __builtin_memcpy(found[k], &here, kBlock);
      }
      const int64_t begin = larger(-x, 0), end = smaller(a.width - x, kBlock);
      for (int64_t i = begin; i < end && apart != 0; ++i) {
        bool agreed = true;
        for (int64_t k = 1; k < a.sources; ++k) agreed = agreed && found[k][i] == found[0][i];
        if (!agreed) found[0][i] = decide(a, segments, found, y, x, i);
      }
      if (end - begin == kBlock) {
        __builtin_memcpy(output + x, found[0], kBlock);
      } else {
        for (int64_t i = begin; i < end; ++i) output[x + i] = found[0][i];
      }
    }
  }
}

}  // namespace

const Kernel<MovedLabelsArguments> moved_labels_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
