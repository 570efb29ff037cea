// NormalizeImage: from the frame's bytes to what a network takes, resized on the way.

#include "kernels/bytes.h"
#include "kernels/interpolation.h"
#include "kernels/level.h"
#include "kernels/memory.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kBandRows = 16;
constexpr int64_t kColours = 3;

struct Buffers {
  int64_t columns;  // of the output, in whole vectors
  float* row;       // [3 · width]: the frame's row at the output's row, not yet resized in x
  int32_t* first;   // [columns]: index in `row` of the left neighbour's red, …
  int32_t* second;  // … of the right neighbour's, …
  float* share;     // … and the right one's share
};

Buffers lay_out(const NormalizeImageArguments& a, Arena& arena) {
  Buffers b;
  b.columns = round_up(a.output_width, kLanes);
  b.row = arena.floats(kColours * a.width);
  b.first = reinterpret_cast<int32_t*>(arena.floats(b.columns));
  b.second = reinterpret_cast<int32_t*>(arena.floats(b.columns));
  b.share = arena.floats(b.columns);
  return b;
}

Work plan(const NormalizeImageArguments& a) {
  Arena arena(nullptr);
  lay_out(a, arena);
  return {a.batch * ((a.output_height + kBandRows - 1) / kBandRows), arena.size()};
}

void interpolate_rows(const uint8_t* upper, const uint8_t* lower, float share, int64_t count, float* row) {
  if (share == 0) {
    for (int64_t i = 0; i < count; ++i) row[i] = upper[i];
  } else {
    for (int64_t i = 0; i < count; ++i) row[i] = upper[i] * (1 - share) + lower[i] * share;
  }
}

// Rounded to the nearest byte, halves to the even one; what lies outside becomes the nearest byte.
Ints to_bytes(Floats values, float scale, uint8_t zero_point) {
  const Floats low = splat(-static_cast<float>(zero_point)), high = low + 255.0f;
  const Floats steps = values / scale;
  const Floats above = steps > low ? steps : low, inside = above < high ? above : high;
  const Floats rounder = splat(12582912.0f);  // 1.5·2^23: adding it leaves the nearest integer in the low bits
  return ((Ints)(inside + rounder) - (Ints)rounder) + static_cast<int32_t>(zero_point);
}

void run(const NormalizeImageArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Buffers b = lay_out(a, arena);
  const int64_t bands = (a.output_height + kBandRows - 1) / kBandRows;
  const int64_t image = task / bands, y_begin = task % bands * kBandRows;
  const int64_t y_end = smaller(y_begin + kBandRows, a.output_height);
  const int64_t row_bytes = kColours * a.width, plane_size = a.output_height * a.output_width;
  const bool same_width = a.output_width == a.width;
  for (int64_t x = 0; x < b.columns; ++x) {
    const Neighbours column = corners_aligned(smaller(x, a.output_width - 1), a.width, a.output_width);
    b.first[x] = static_cast<int32_t>(column.first * kColours);
    b.second[x] = static_cast<int32_t>(column.second * kColours);
    b.share[x] = static_cast<float>(column.share);
  }
  const uint8_t* frame = a.frame + image * a.height * row_bytes;
  for (int64_t y = y_begin; y < y_end; ++y) {
    const Neighbours rows = corners_aligned(y, a.height, a.output_height);
    interpolate_rows(frame + rows.first * row_bytes, frame + rows.second * row_bytes, static_cast<float>(rows.share),
                     row_bytes, b.row);
    for (int64_t c = 0; c < kColours; ++c) {
      const Floats scale = splat(1.0f / (255.0f * a.std[c])), shift = splat(-a.mean[c] / a.std[c]);
      const int64_t output_row = (image * kColours + c) * plane_size + y * a.output_width;
      for (int64_t x = 0; x < a.output_width; x += kLanes) {
        Floats pixels = gather(b.row + c, load(b.first + x));
        if (!same_width) {
          pixels += (gather(b.row + c, load(b.second + x)) - pixels) * load(b.share + x);
        }
        const int64_t place = output_row + x, count = smaller(kLanes, a.output_width - x);
        pixels = pixels * scale + shift;
        if (a.output != nullptr) {
          store_first(a.output + place, pixels, count);
        } else {
          store_first(a.output_bytes + place, to_bytes(pixels, a.scale, a.zero_point), count);
        }
      }
    }
  }
}

}  // namespace

const Kernel<NormalizeImageArguments> normalize_image_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
