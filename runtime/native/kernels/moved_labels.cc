// MovedLabels: labels of frames that a network saw, moved along the motion to another frame. Where they agree, that is
// the label; where they do not, their logits decide, each weighed by how well it shows what the frame shows.

#include "kernels/level.h"
#include "kernels/memory.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kBlock = 8;  // pixels on a block's side; the motion stands at blocks' centres
constexpr int64_t kMostClasses = 256;
constexpr float kMargin = 1.0f / 256;  // pixels by which interpolation may round beyond what it lies between
constexpr float kFarthest = 32768;     // pixels; beyond, whole ones are no longer told apart well enough

// One lane for each pixel of a segment, at every level: wider vectors would not help, narrower ones are made of two.
typedef float Pixels __attribute__((vector_size(kBlock * sizeof(float))));
typedef int32_t Places __attribute__((vector_size(kBlock * sizeof(int32_t))));

constexpr Pixels kShares = {0.5f / 8, 1.5f / 8, 2.5f / 8, 3.5f / 8, 4.5f / 8, 5.5f / 8, 6.5f / 8, 7.5f / 8};
constexpr Places kLanesOfSegment = {0, 1, 2, 3, 4, 5, 6, 7};

// No farther than any picture reaches, and 0 for what is no number.
inline Pixels within_reach(Pixels pixels) {
  const float far = 65536;
  pixels = pixels == pixels ? pixels : Pixels{};
  pixels = pixels > far ? Pixels{} + far : pixels;
  return pixels < -far ? Pixels{} - far : pixels;
}

// To whole pixels, halves to the even number.
inline Places whole(Pixels pixels) {
#if defined(__AVX2__)
  return (Places)_mm256_cvtps_epi32((__m256)pixels);
#else
  const float rounding = 3 << 22;  // a sum with it has no room for fractions
  return __builtin_convertvector((pixels + rounding) - rounding, Places);
#endif
}

inline Places inside(Places places, int32_t last) {
  places = places < 0 ? Places{} : places;
  return places > last ? Places{} + last : places;
}

// The motion of a row of eight pixels, in pixels.
struct Segment {
  Pixels right, down;
};

// The motion at the left and the right end of each row between the centres of four blocks, in pixels.
struct Ends {
  float right[2][kBlock], down[2][kBlock];
  bool near;  // nothing of it is out of reach

  Segment row(int64_t index) const {
    const Pixels x = right[0][index] + (right[1][index] - right[0][index]) * kShares;
    const Pixels y = down[0][index] + (down[1][index] - down[0][index]) * kShares;
    return near ? Segment{x, y} : Segment{within_reach(x), within_reach(y)};
  }
};

inline bool is_near(const float* motion) {
  const float most = kFarthest / kBlock;
  return (motion[0] > -most) & (motion[0] < most) & (motion[1] > -most) & (motion[1] < most);
}

// One side of `ends`, 0 or 1, from the motion of the blocks above and below.
inline void set_end(const float* upper, const float* lower, int side, Ends& ends) {
  const Pixels x = kBlock * (upper[0] + (lower[0] - upper[0]) * kShares);
  const Pixels y = kBlock * (upper[1] + (lower[1] - upper[1]) * kShares);
  __builtin_memcpy(ends.right[side], &x, sizeof x);
  __builtin_memcpy(ends.down[side], &y, sizeof y);
  ends.near = ends.near && is_near(upper) && is_near(lower);
}

// Where a segment's eight pixels, the first of which is x, lie in a source; those outside the picture, on its border.
inline Places places_of(const MovedLabelsArguments& a, const Segment& segment, int64_t y, int64_t x) {
  const int32_t width = static_cast<int32_t>(a.width), height = static_cast<int32_t>(a.height);
  const Places rows = inside(whole(segment.down) + static_cast<int32_t>(y), height - 1);
  const Places columns = inside(whole(segment.right) + kLanesOfSegment + static_cast<int32_t>(x), width - 1);
  return rows * width + columns;
}

// What a map of the picture's size has there.
inline uint64_t look_up([[maybe_unused]] const MovedLabelsArguments& a, const uint8_t* map, Places places) {
#if defined(__AVX2__)
  // Four bytes each, the last of which must not lie behind the picture.
  const int32_t last = static_cast<int32_t>(a.width * a.height) - 4;
  if (last >= 0) {
    const Places from = places < last ? places : Places{} + last;
    const __m256i words = _mm256_i32gather_epi32(reinterpret_cast<const int*>(map), (__m256i)from, 1);
    const __m256i bytes =
        _mm256_and_si256(_mm256_srlv_epi32(words, (__m256i)((places - from) << 3)), _mm256_set1_epi32(255));
    const __m128i pairs = _mm_packs_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    uint64_t found;
    _mm_storel_epi64(reinterpret_cast<__m128i*>(&found), _mm_packus_epi16(pairs, pairs));
    return found;
  }
#endif
  uint8_t bytes[kBlock];
  for (int64_t i = 0; i < kBlock; ++i) bytes[i] = map[places[i]];
  uint64_t found;
  __builtin_memcpy(&found, bytes, kBlock);
  return found;
}

typedef uint8_t SegmentBytes __attribute__((vector_size(kBlock)));

inline SegmentBytes bytes_of(uint64_t eight) {
  SegmentBytes bytes;
  __builtin_memcpy(&bytes, &eight, kBlock);
  return bytes;
}

// What stands in the row of blocks at `row` for each pixel of a segment that begins at x, in the middle of a block.
inline Pixels of_blocks(const MovedLabelsArguments& a, const float* row, int64_t x) {
  const float left = row[clamp(x / kBlock, 0, a.columns - 1)];
  const float right = row[clamp((x + kBlock / 2) / kBlock, 0, a.columns - 1)];
  return kLanesOfSegment < static_cast<int32_t>(kBlock / 2) ? Pixels{} + left : Pixels{} + right;
}

// Bytes of what is 0 or more.
inline SegmentBytes rounded(Pixels values) {
  values = values < 255 ? values : Pixels{} + 255;
  return __builtin_convertvector(__builtin_convertvector(values + 0.5f, Places), SegmentBytes);
}

// Where a segment's pixels lie in a source's logits: the first float of the upper left of four cells, the way to the
// others, and the share of each, by the source's weight.
struct Cells {
  Places first, right, down;
  Pixels shares[4];
};

inline Pixels inside(Pixels pixels, float last) {
  pixels = pixels > 0 ? pixels : Pixels{};
  return pixels > last ? Pixels{} + last : pixels;
}

Cells cells_of(const MovedLabelsArguments& a, const float* weights, const Segment& segment, int64_t y, int64_t x) {
  const auto lanes = __builtin_convertvector(kLanesOfSegment, Pixels) + static_cast<float>(x);
  Pixels right = lanes + segment.right, down = static_cast<float>(y) + segment.down;
  right = inside(right * a.logits_scale_x + a.logits_offset_x, static_cast<float>(a.logits_width - 1));
  down = inside(down * a.logits_scale_y + a.logits_offset_y, static_cast<float>(a.logits_height - 1));
  const Places column = __builtin_convertvector(right, Places), row = __builtin_convertvector(down, Places);
  const int32_t classes = static_cast<int32_t>(a.classes), width = static_cast<int32_t>(a.logits_width);
  Cells cells;
  cells.first = (row * width + column) * classes;
  cells.right = column < width - 1 ? Places{} + classes : Places{};
  cells.down = row < static_cast<int32_t>(a.logits_height - 1) ? Places{} + width * classes : Places{};
  const Pixels share_x = right - __builtin_convertvector(column, Pixels);
  const Pixels share_y = down - __builtin_convertvector(row, Pixels);
  const Pixels weight = of_blocks(a, weights, x);
  cells.shares[0] = weight * (1 - share_y) * (1 - share_x);
  cells.shares[1] = weight * (1 - share_y) * share_x;
  cells.shares[2] = weight * share_y * (1 - share_x);
  cells.shares[3] = weight * share_y * share_x;
  return cells;
}

// The class whose sum is the largest; of equal ones the first.
int64_t largest_of(const float* sums, int64_t classes) {
  int64_t best = 0;
  for (int64_t n = 1; n < classes; ++n) best = sums[n] > sums[best] ? n : best;
  return best;
}

// Some classes' sums at pixel i of a segment over all sources, `lanes` of them from `first` on.
inline Floats sum_logits(const MovedLabelsArguments& a, const Cells* cells, int64_t i, int64_t first, int64_t lanes) {
  Floats sum = {};
  for (int64_t k = 0; k < a.sources; ++k) {
    const Cells& c = cells[k];
    const float* const upper = a.source[k].logits + c.first[i] + first;
    const float* const lower = upper + c.down[i];
    sum += c.shares[0][i] * load_first(upper, lanes) + c.shares[1][i] * load_first(upper + c.right[i], lanes) +
           c.shares[2][i] * load_first(lower, lanes) + c.shares[3][i] * load_first(lower + c.right[i], lanes);
  }
  return sum;
}

// The label of pixel i of a segment by the logits of all sources.
int64_t by_logits(const MovedLabelsArguments& a, const Cells* cells, int64_t i) {
  const float lowest = -__builtin_inff();
  if (a.classes <= 2 * kLanes) {  // nearly always
    const int64_t low = smaller(a.classes, kLanes), high = a.classes - low;
    Floats first = sum_logits(a, cells, i, 0, low);
    first = lanes_between(0, low) ? first : splat(lowest);
    const int first_best = largest_lane(first);
    if (high == 0 && first_best < kLanes) return first_best;
    if (first_best < kLanes) {
      Floats second = sum_logits(a, cells, i, kLanes, high);
      second = lanes_between(0, high) ? second : splat(lowest);
      const int second_best = largest_lane(second);
      if (second_best < kLanes) return second[second_best] > first[first_best] ? kLanes + second_best : first_best;
    }
  }
  float sums[kMostClasses + kLanes];
  for (int64_t n = 0; n < a.classes; n += kLanes) store(sums + n, sum_logits(a, cells, i, n, smaller(a.classes - n, kLanes)));
  return largest_of(sums, a.classes);
}

// The same by the weights alone.
int64_t by_weights(const MovedLabelsArguments& a, const uint8_t (*found)[kBlock], int64_t block, int64_t i) {
  float sums[kMostClasses];
  for (int64_t n = 0; n < a.classes; ++n) sums[n] = 0;
  for (int64_t k = 0; k < a.sources; ++k) {
    if (found[k][i] < a.classes) sums[found[k][i]] += a.source[k].weight[block];
  }
  return largest_of(sums, a.classes);
}

// The pixels between the centres of four blocks, those outside the picture left out.
struct Square {
  int64_t index;       // of the square in its row; it lies between the blocks index − 1 and index
  int64_t x, y;        // of its first pixel, which may lie outside
  int64_t begin, end;  // its columns inside the picture, from x
  int64_t first_row, last_row;
};

inline void write_segment(const MovedLabelsArguments& a, uint8_t* map, const Square& square, int64_t y,
                          SegmentBytes values) {
  uint8_t* const to = map + y * a.width + square.x;
  if (square.end - square.begin == kBlock) {
    __builtin_memcpy(to, &values, kBlock);
  } else {
    for (int64_t i = square.begin; i < square.end; ++i) to[i] = values[i];
  }
}

void decide_square(const MovedLabelsArguments& a, const Square& square) {
  const int64_t left = clamp(square.index - 1, 0, a.columns - 1), right = clamp(square.index, 0, a.columns - 1);
  const int64_t top = clamp((square.y + kBlock / 2) / kBlock - 1, 0, a.rows - 1);
  const int64_t bottom = clamp((square.y + kBlock / 2) / kBlock, 0, a.rows - 1);
  Ends ends[kMostMovedSources];
  Places places[kMostMovedSources][kBlock];
  uint64_t found[kMostMovedSources][kBlock];
  for (int64_t k = 0; k < a.sources; ++k) {
    const float* const upper = a.source[k].motion + 2 * top * a.columns;
    const float* const lower = a.source[k].motion + 2 * bottom * a.columns;
    ends[k].near = true;
    set_end(upper + 2 * left, lower + 2 * left, 0, ends[k]);
    set_end(upper + 2 * right, lower + 2 * right, 1, ends[k]);
    for (int64_t row = 0; row < kBlock; ++row) {
      places[k][row] = places_of(a, ends[k].row(row), square.y + row, square.x);
      found[k][row] = look_up(a, a.source[k].labels, places[k][row]);
    }
  }
  for (int64_t y = square.first_row; y < square.last_row; ++y) {
    const int64_t row = y - square.y;
    uint64_t apart = 0;
    for (int64_t k = 1; k < a.sources; ++k) apart |= found[k][row] ^ found[0][row];
    uint8_t labels[kMostMovedSources][kBlock];
    for (int64_t k = 0; k < a.sources; ++k) __builtin_memcpy(labels[k], &found[k][row], kBlock);
    const int64_t block_row = smaller(y / kBlock, a.rows - 1) * a.columns;
    if (apart != 0) {
      uint8_t differs[kBlock];
      __builtin_memcpy(differs, &apart, kBlock);
      Cells cells[kMostMovedSources];
      for (int64_t k = 0; k < a.sources && a.with_logits; ++k) {
        cells[k] = cells_of(a, a.source[k].weight + block_row, ends[k].row(row), y, square.x);
      }
      for (int64_t i = square.begin; i < square.end; ++i) {
        if (differs[i] == 0) continue;
        const int64_t block = block_row + smaller((square.x + i) / kBlock, a.columns - 1);
        labels[0][i] = static_cast<uint8_t>(a.with_logits ? by_logits(a, cells, i) : by_weights(a, labels, block, i));
      }
    }
    SegmentBytes chosen;
    __builtin_memcpy(&chosen, labels[0], kBlock);
    write_segment(a, a.output, square, y, chosen);
    if (a.confidence == nullptr) continue;
    // Those count that found the same.
    Pixels sure = {};
    for (int64_t k = 0; k < a.sources; ++k) {
      const SegmentBytes same = (SegmentBytes)(bytes_of(found[k][row]) == chosen);
      const SegmentBytes agreed = bytes_of(look_up(a, a.source[k].confidence, places[k][row])) & same;
      sure += __builtin_convertvector(agreed, Pixels) * of_blocks(a, a.source[k].factor + block_row, square.x);
    }
    write_segment(a, a.confidence, square, y, rounded(sure));
  }
}

// A square that has one label, of which all sources are sure.
void fill_square(const MovedLabelsArguments& a, const Square& square, uint8_t label) {
  const SegmentBytes labels = SegmentBytes{} + label;
  SegmentBytes sure = {};
  int64_t known = -1;
  for (int64_t y = square.first_row; y < square.last_row; ++y) {
    write_segment(a, a.output, square, y, labels);
    if (a.confidence == nullptr) continue;
    const int64_t block_row = smaller(y / kBlock, a.rows - 1) * a.columns;
    if (block_row != known) {
      Pixels factor = {};
      for (int64_t k = 0; k < a.sources; ++k) factor += of_blocks(a, a.source[k].factor + block_row, square.x);
      sure = rounded(255 * factor);
      known = block_row;
    }
    write_segment(a, a.confidence, square, y, sure);
  }
}

// For each square of a row, and one source: the first and the last block that its pixels can come from, as (x, y).
struct Reach {
  int32_t* first;
  int32_t* last;
};

// What `find_reach` needs: the motion above and below a row of squares, as far as it goes each way.
struct Extent {
  float* low;
  float* high;
};

Reach reach_in(Arena& arena, int64_t columns) {
  const size_t bytes = static_cast<size_t>(2 * (columns + 1)) * sizeof(int32_t);
  Reach reach;
  reach.first = static_cast<int32_t*>(arena.bytes(bytes)), reach.last = static_cast<int32_t*>(arena.bytes(bytes));
  return reach;
}

Extent extent_in(Arena& arena, int64_t columns) {
  Extent extent;
  extent.low = arena.floats(2 * (columns + 2)), extent.high = arena.floats(2 * (columns + 2));
  return extent;
}

inline float lower_of(float a, float b) { return a < b ? a : b; }
inline float higher_of(float a, float b) { return a > b ? a : b; }

// Motion between four centres lies between theirs. What is no number, or too far, reaches from edge to edge.
void find_reach(const MovedLabelsArguments& a, const float* motion, int64_t row, const Extent& extent,
                const Reach& reach) {
  const float* __restrict__ const upper = motion + 2 * clamp(row - 1, 0, a.rows - 1) * a.columns;
  const float* __restrict__ const lower = motion + 2 * clamp(row, 0, a.rows - 1) * a.columns;
  float* __restrict__ const low = extent.low;
  float* __restrict__ const high = extent.high;
  int32_t* __restrict__ const first = reach.first;
  int32_t* __restrict__ const last = reach.last;
  const float most = kFarthest / kBlock, edge = 2 * kFarthest / kBlock;
  const int64_t values = 2 * a.columns;
  for (int64_t j = 0; j < values; ++j) {
    const float above = upper[j], below = lower[j];
    const bool near_above = (above > -most) & (above < most), near_below = (below > -most) & (below < most);
    low[j + 2] = lower_of(near_above ? above : -edge, near_below ? below : -edge);
    high[j + 2] = higher_of(near_above ? above : edge, near_below ? below : edge);
  }
  for (int64_t axis = 0; axis < 2; ++axis) {
    low[axis] = low[axis + 2], high[axis] = high[axis + 2];
    low[values + 2 + axis] = low[values + axis], high[values + 2 + axis] = high[values + axis];
  }
  // Half a pixel more, as whole pixels are rounded to.
  const float y = static_cast<float>(row * kBlock - kBlock / 2), room = 0.5f + kMargin;
  const float right = static_cast<float>(a.width - 1), bottom = static_cast<float>(a.height - 1);
  const int32_t squares = static_cast<int32_t>(a.columns + 1);
  for (int32_t j = 0; j < 2 * squares; ++j) {
    const bool down = (j & 1) != 0;
    const float start = down ? y : static_cast<float>((j >> 1) * 8 - 4), end = down ? bottom : right;
    const float from = start + kBlock * lower_of(low[j], low[j + 2]) - room;
    const float to = start + kBlock * higher_of(high[j], high[j + 2]) + (kBlock - 1 + room);
    first[j] = static_cast<int32_t>(lower_of(higher_of(from, 0), end)) >> 3;
    last[j] = static_cast<int32_t>(lower_of(higher_of(to, 0), end)) >> 3;
  }
}

// The one label of all that a square can come from in a source; kMixedLabels if there are several.
inline uint8_t label_within(const MovedLabelsArguments& a, const uint8_t* uniform, const Reach& reach, int64_t index) {
  const int32_t left = reach.first[2 * index], right = reach.last[2 * index];
  const int32_t top = reach.first[2 * index + 1], bottom = reach.last[2 * index + 1];
  if (right - left > 3 || bottom - top > 3) return kMixedLabels;
  // Each entry stands for two by two blocks.
  const uint8_t* const upper = uniform + top * a.columns;
  const uint8_t* const lower = uniform + (bottom > top ? bottom - 1 : top) * a.columns;
  const int32_t other = right > left ? right - 1 : left;
  const uint8_t label = upper[left];
  return upper[other] == label && lower[left] == label && lower[other] == label ? label : kMixedLabels;
}

Work plan(const MovedLabelsArguments& a) {
  Arena arena(nullptr);
  extent_in(arena, a.columns);
  for (int64_t k = 0; k < a.sources; ++k) reach_in(arena, a.columns);
  return {a.rows + 1, arena.size()};
}

void run(const MovedLabelsArguments& a, int64_t task, void* scratch) {
  Square square;
  square.y = task * kBlock - kBlock / 2;
  square.first_row = larger(square.y, 0), square.last_row = smaller(square.y + kBlock, a.height);
  if (square.first_row >= square.last_row) return;
  Arena arena(scratch);
  const Extent extent = extent_in(arena, a.columns);
  Reach reach[kMostMovedSources];
  bool mapped = true;
  for (int64_t k = 0; k < a.sources; ++k) {
    reach[k] = reach_in(arena, a.columns);
    mapped = mapped && a.source[k].uniform != nullptr;
    if (mapped) find_reach(a, a.source[k].motion, task, extent, reach[k]);
  }
  for (square.index = 0; square.index <= a.columns; ++square.index) {
    square.x = square.index * kBlock - kBlock / 2;
    square.begin = larger(-square.x, 0), square.end = smaller(a.width - square.x, kBlock);
    if (square.begin >= square.end) continue;
    uint8_t label = mapped ? label_within(a, a.source[0].uniform, reach[0], square.index) : kMixedLabels;
    for (int64_t k = 1; k < a.sources && label != kMixedLabels; ++k) {
      if (label_within(a, a.source[k].uniform, reach[k], square.index) != label) label = kMixedLabels;
    }
    for (int64_t k = 0; k < a.sources && label != kMixedLabels && a.confidence != nullptr; ++k) {
      const uint8_t* const unsure = a.source[k].unsure;
      if (unsure == nullptr || label_within(a, unsure, reach[k], square.index) != 0) label = kMixedLabels;
    }
    if (label == kMixedLabels) {
      decide_square(a, square);
      continue;
    }
    fill_square(a, square, label);
  }
}

}  // namespace

const Kernel<MovedLabelsArguments> moved_labels_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
