// SegmentationLabels: the class of each pixel of the full frame, straight from low-resolution logits.

#include "kernels/interpolation.h"
#include "kernels/level.h"
#include "kernels/memory.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kBandRows = 16;

// Upsampling and resize are both linear in each dimension, so one after the other they are a weighted sum of at most
// three neighbours, `first` being the first.
constexpr int kTaps = 3;

struct Taps {
  int64_t first;
  float weight[kTaps];
};

Taps taps_at(const SegmentationLabelsArguments& a, int64_t index, int64_t size, int64_t output_size) {
  const int64_t upscale = a.upscale;
  const Neighbours outer = a.align_corners ? corners_aligned(index, size * upscale, output_size)
                                           : half_pixel(index, size * upscale, output_size);
  const Neighbours inner[2] = {half_pixel(outer.first, size, size * upscale),
                               half_pixel(outer.second, size, size * upscale)};
  const double share[2] = {1 - outer.share, outer.share};
  Taps taps = {clamp(inner[0].first, 0, larger(size - kTaps, 0)), {}};
  for (int i = 0; i < 2; ++i) {
    taps.weight[inner[i].first - taps.first] += static_cast<float>(share[i] * (1 - inner[i].share));
    taps.weight[inner[i].second - taps.first] += static_cast<float>(share[i] * inner[i].share);
  }
  return taps;
}

struct Buffers {
  int64_t columns;       // of the output, in whole vectors
  float* row;            // [classes][row_stride]: the logits at the output's row, not yet resized in x
  int64_t row_stride;    // the logits' width and, as vectors are read from any tap, some zeros
  int32_t* first;        // [columns]
  float* weight[kTaps];  // [columns] each
};

Buffers lay_out(const SegmentationLabelsArguments& a, Arena& arena) {
  Buffers b;
  b.columns = round_up(a.output_width, kLanes);
  b.row_stride = round_up(a.width + kTaps, kLanes) + kLanes;
  b.row = arena.floats(a.classes * b.row_stride);
  b.first = reinterpret_cast<int32_t*>(arena.floats(b.columns));
  for (float*& weight : b.weight) weight = arena.floats(b.columns);
  return b;
}

bool same_size(const SegmentationLabelsArguments& a) {
  return a.upscale == 1 && a.output_height == a.height && a.output_width == a.width;
}

// The index of the largest of `classes` vectors, lane by lane; the first one of several, and 0 where that is NaN.
template <typename Logits>
inline Ints argmax(int64_t classes, const Logits& logits) {
  Floats highest = logits(0);
  Ints label = {};
  for (int64_t n = 1; n < classes; ++n) {
    const Floats candidate = logits(n);
    const Ints higher = candidate > highest;
    highest = higher ? candidate : highest;
    label = higher ? Ints{} + static_cast<int32_t>(n) : label;
  }
  return label;
}

inline void store_labels(uint8_t* to, Ints labels, int64_t count) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  const Bytes bytes = __builtin_convertvector(labels, Bytes);
  if (count == kLanes) {
    __builtin_memcpy(to, &bytes, kLanes);
  } else {
    for (int64_t lane = 0; lane < count; ++lane) to[lane] = bytes[lane];
  }
}

void label_row_of_same_size(const SegmentationLabelsArguments& a, const float* row, uint8_t* output) {
  const int64_t plane_size = a.height * a.width;
  int64_t x = 0;
  for (; x + kLanes <= a.width; x += kLanes) {
    store_labels(output + x, argmax(a.classes, [&](int64_t n) { return load(row + n * plane_size + x); }), kLanes);
  }
  const int64_t rest = a.width - x;
  if (rest == 0) return;
  const Ints labels = argmax(a.classes, [&](int64_t n) { return load_first(row + n * plane_size + x, rest); });
  store_labels(output + x, labels, rest);
}

// Interpolates the rows of all classes at one output row.
void interpolate_rows(const SegmentationLabelsArguments& a, const float* logits, const Taps& taps, const Buffers& b) {
  const int64_t plane_size = a.height * a.width;
  for (int64_t n = 0; n < a.classes; ++n) {
    float* row = b.row + n * b.row_stride;
    for (int64_t x = 0; x < b.row_stride; x += kLanes) {
      const int64_t count = clamp(a.width - x, 0, kLanes);
      Floats sum = {};
      for (int tap = 0; tap < kTaps && count > 0; ++tap) {
        if (taps.weight[tap] == 0) continue;
        const float* from = logits + n * plane_size + (taps.first + tap) * a.width + x;
        sum += taps.weight[tap] * (count == kLanes ? load(from) : load_first(from, count));
      }
      store(row + x, sum);
    }
  }
}

template <int UsedTaps>
void label_row(const SegmentationLabelsArguments& a, const Buffers& b, uint8_t* output) {
  for (int64_t x = 0; x < a.output_width; x += kLanes) {
    const int32_t base = b.first[x];
    const bool near = b.first[x + kLanes - 1] - base < kLanes;
    const Ints first = load(b.first + x);
    Floats weight[UsedTaps];
    for (int tap = 0; tap < UsedTaps; ++tap) weight[tap] = load(b.weight[tap] + x);
    const auto interpolated = [&](int64_t n) {
      const float* row = b.row + n * b.row_stride;
      Floats sum = {};
      for (int tap = 0; tap < UsedTaps; ++tap) {
        sum += weight[tap] * (near ? permute(row + base + tap, first - base) : gather(row + tap, first));
      }
      return sum;
    };
    store_labels(output + x, argmax(a.classes, interpolated), smaller(kLanes, a.output_width - x));
  }
}

Work plan(const SegmentationLabelsArguments& a) {
  Arena arena(nullptr);
  lay_out(a, arena);
  return {a.batch * ((a.output_height + kBandRows - 1) / kBandRows), arena.size()};
}

void run(const SegmentationLabelsArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Buffers b = lay_out(a, arena);
  const int64_t bands = (a.output_height + kBandRows - 1) / kBandRows;
  const int64_t image = task / bands, y_begin = task % bands * kBandRows;
  const int64_t y_end = smaller(y_begin + kBandRows, a.output_height);
  const float* logits = a.logits + image * a.classes * a.height * a.width;
  uint8_t* output = a.output + image * a.output_height * a.output_width;
  if (same_size(a)) {
    for (int64_t y = y_begin; y < y_end; ++y) {
      label_row_of_same_size(a, logits + y * a.width, output + y * a.output_width);
    }
    return;
  }
  bool third_tap = false;
  for (int64_t x = 0; x < b.columns; ++x) {
    const Taps taps = taps_at(a, smaller(x, a.output_width - 1), a.width, a.output_width);
    b.first[x] = static_cast<int32_t>(taps.first);
    for (int tap = 0; tap < kTaps; ++tap) b.weight[tap][x] = taps.weight[tap];
    third_tap = third_tap || taps.weight[2] != 0;
  }
  for (int64_t y = y_begin; y < y_end; ++y) {
    interpolate_rows(a, logits, taps_at(a, y, a.height, a.output_height), b);
    third_tap ? label_row<3>(a, b, output + y * a.output_width) : label_row<2>(a, b, output + y * a.output_width);
  }
}

}  // namespace

const Kernel<SegmentationLabelsArguments> segmentation_labels_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
