// Steps from frame to frame on the grid of 8×8 blocks: brightness of blocks, and where their content lies in an anchor.
//
// Compiled without fused products and sums (CMakeLists.txt), so that every level gives the same results as OpenCV does:
// branches of a video hang on them.

#include "kernels/level.h"
#include "kernels/simd.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kBlock = 8;
constexpr int64_t kMostColumns = 4096;  // of blocks
constexpr float kFarthest = 1 << 16;    // blocks; beyond, 1/32 is no longer told apart

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

struct Pair {
  Floats x, y;
};

// To the nearest integer, halves to the even one; `values` lie within ±2^21.
inline Ints nearest(Floats values) {
#if defined(__AVX512F__)
  return (Ints)_mm512_cvtps_epi32((__m512)values);
#elif defined(__AVX2__)
  return (Ints)_mm256_cvtps_epi32((__m256)values);
#else
  const float rounding = 3 << 22;  // a sum with it has no room for fractions
  return __builtin_convertvector((values + rounding) - rounding, Ints);
#endif
}

inline Floats floats(Ints values) { return __builtin_convertvector(values, Floats); }

inline Ints inside(Ints values, int32_t last) {
  values = values > 0 ? values : Ints{};
  return values > last ? Ints{} + last : values;
}

// What is no number goes to 0, as below.
inline Floats inside(Floats values, float last) {
  values = values > 0 ? values : Floats{};
  return values > last ? splat(last) : values;
}

// Four bytes at any place.
inline Words gather_words(const uint8_t* from, Ints places) {
#if defined(__AVX512F__)
  return (Words)_mm512_i32gather_epi32((__m512i)places, from, 1);
#elif defined(__AVX2__)
  return (Words)_mm256_i32gather_epi32(reinterpret_cast<const int*>(from), (__m256i)places, 1);
#else
  Words words;
  for (int lane = 0; lane < kLanes; ++lane) {
    uint32_t word;
    __builtin_memcpy(&word, from + places[lane], sizeof word);
    words[lane] = word;
  }
  return words;
#endif
}

struct Grid {
  int32_t rows, columns;
};

// A field of pairs at places in 1/32 of a block, between four of them, its border repeated: OpenCV's `remap`.
inline Pair look_up(const float* field, const Grid& grid, const Pair& places) {
  constexpr int32_t kParts = 32;
  const auto parts = [](Floats place) {
    place = place > -kFarthest ? place : splat(-kFarthest);
    return nearest((place < kFarthest ? place : splat(kFarthest)) * static_cast<float>(kParts));
  };
  const Ints x = parts(places.x), y = parts(places.y);
  const Floats right = floats(x & (kParts - 1)) * (1.0f / kParts), lower = floats(y & (kParts - 1)) * (1.0f / kParts);
  const Ints column = x >> 5, row = y >> 5;
  const Ints columns[2] = {inside(column, grid.columns - 1), inside(column + 1, grid.columns - 1)};
  const Ints rows[2] = {inside(row, grid.rows - 1) * grid.columns, inside(row + 1, grid.rows - 1) * grid.columns};
  const Floats shares[2][2] = {{(1 - lower) * (1 - right), (1 - lower) * right}, {lower * (1 - right), lower * right}};
  Pair sum = {};
  for (int down = 0; down < 2; ++down) {
    for (int across = 0; across < 2; ++across) {
      Pair found;
      gather_pairs(field, (rows[down] + columns[across]) * 2, found.x, found.y);
      found.x *= shares[down][across], found.y *= shares[down][across];
      sum.x = down + across == 0 ? found.x : sum.x + found.x;
      sum.y = down + across == 0 ? found.y : sum.y + found.y;
    }
  }
  return sum;
}

// A grey picture of at least four blocks at places inside it.
inline Ints look_up(const uint8_t* grey, const Grid& grid, const Pair& places) {
  const Ints column = __builtin_convertvector(places.x, Ints), row = __builtin_convertvector(places.y, Ints);
  const Floats right = places.x - floats(column), lower = places.y - floats(row);
  const int32_t last = grid.rows * grid.columns - 4;
  const auto across = [&](Ints place) {
    const Ints from = place < last ? place : Ints{} + last;
    const Words words = gather_words(grey, from), shift = (Words)(place - from) * 8;
    const Floats here = floats((Ints)(words >> shift & 255));
    // Of the last block in a row the next one has no share, whatever stands there.
    return here + (floats((Ints)(words >> ((shift + 8) & 31) & 255)) - here) * right;
  };
  const Ints place = row * grid.columns + column;
  const Floats upper = across(place);
  return nearest(upper + (across(row < grid.rows - 1 ? place + grid.columns : place) - upper) * lower);
}

// What lies at some blocks.
struct Followed {
  Pair positions, motion;
  Ints shown;
};

inline Followed follow_some(const FollowArguments& a, const Grid& grid, const Pair& own, Pair step) {
  if (a.inverse) {
    step.x = -step.x, step.y = -step.y;
    for (int64_t i = 0; i < a.inverse; ++i) {
      const Pair there = look_up(a.step, grid, {own.x + step.x, own.y + step.y});
      step.x = -there.x, step.y = -there.y;
    }
  }
  Followed found;
  const Pair there = look_up(a.known, grid, {own.x + step.x, own.y + step.y});
  found.positions.x = inside(there.x, static_cast<float>(grid.columns - 1));
  found.positions.y = inside(there.y, static_cast<float>(grid.rows - 1));
  found.motion = {found.positions.x - own.x, found.positions.y - own.y};
  found.shown = look_up(a.anchor, grid, found.positions);
  return found;
}

inline Pair load_pairs(const float* from) {
  Pair pair;
  for (int lane = 0; lane < kLanes; ++lane) pair.x[lane] = from[2 * lane], pair.y[lane] = from[2 * lane + 1];
  return pair;
}

inline void store_pairs(float* to, const Pair& pair) {
  for (int lane = 0; lane < kLanes; ++lane) to[2 * lane] = pair.x[lane], to[2 * lane + 1] = pair.y[lane];
}

void follow(const FollowArguments& a) {
  const Grid grid = {static_cast<int32_t>(a.rows), static_cast<int32_t>(a.columns)};
  const int64_t cells = a.rows * a.columns;
  Ints column = {}, row = {};
  for (int lane = 0; lane < kLanes; ++lane) column[lane] = lane % grid.columns, row[lane] = lane / grid.columns;
  for (int64_t first = 0; first < cells; first += kLanes) {
    const Pair own = {floats(column), floats(row)};
    if (first + kLanes <= cells) {
      const Followed found = follow_some(a, grid, own, load_pairs(a.step + 2 * first));
      store_pairs(a.positions + 2 * first, found.positions);
      store_pairs(a.motion + 2 * first, found.motion);
      const Bytes shown = __builtin_convertvector(found.shown, Bytes);
      __builtin_memcpy(a.shown + first, &shown, sizeof shown);
    } else {
      const size_t rest = static_cast<size_t>(cells - first), bytes = 2 * rest * sizeof(float);
      float pairs[2 * kLanes] = {};
      __builtin_memcpy(pairs, a.step + 2 * first, bytes);
      const Followed found = follow_some(a, grid, own, load_pairs(pairs));
      store_pairs(pairs, found.positions);
      __builtin_memcpy(a.positions + 2 * first, pairs, bytes);
      store_pairs(pairs, found.motion);
      __builtin_memcpy(a.motion + 2 * first, pairs, bytes);
      const Bytes shown = __builtin_convertvector(found.shown, Bytes);
      __builtin_memcpy(a.shown + first, &shown, rest);
    }
    column += kLanes;
    for (Ints beyond = column >= grid.columns; !all(~beyond); beyond = column >= grid.columns) {
      column -= beyond & grid.columns;
      row -= beyond;
    }
  }
}

// Mirrored at the border, which is not repeated.
inline int64_t mirrored(int64_t index, int64_t count) {
  if (count == 1) return 0;
  return index < 0 ? -index : index < count ? index : 2 * count - 2 - index;
}

void difference(const DifferenceArguments& a) {
  uint16_t sums[kMostColumns + 2];
  for (int64_t row = 0; row < a.rows; ++row) {
    const uint8_t* luma[3];
    const uint8_t* shown[3];
    for (int64_t i = 0; i < 3; ++i) {
      const int64_t from = mirrored(row + i - 1, a.rows) * a.columns;
      luma[i] = a.luma + from, shown[i] = a.shown + from;
    }
    for (int64_t x = 0; x < a.columns; ++x) {
      int sum = 0;
      for (int64_t i = 0; i < 3; ++i) {
        const int apart = luma[i][x] - shown[i][x];
        sum += apart < 0 ? -apart : apart;
      }
      sums[x + 1] = static_cast<uint16_t>(sum);
    }
    sums[0] = sums[mirrored(-1, a.columns) + 1];
    sums[a.columns + 1] = sums[mirrored(a.columns, a.columns) + 1];
    uint8_t* const output = a.output + row * a.columns;
    // A ninth is never a half.
    for (int64_t x = 0; x < a.columns; ++x) {
      output[x] = static_cast<uint8_t>((sums[x] + sums[x + 1] + sums[x + 2] + 4u) * 7282u >> 16);
    }
  }
}

void block_luma(const BlockLumaArguments& a) {
  const int64_t rows = divide_up(a.height, kBlock), columns = divide_up(a.width, kBlock);
  constexpr int64_t kStrip = 512;  // columns of blocks at a time
  uint16_t sums[kStrip * kBlock];
  for (int64_t row = 0; row < rows; ++row) {
    const uint8_t* lines[kBlock];
    for (int64_t i = 0; i < kBlock; ++i) lines[i] = a.plane + smaller(row * kBlock + i, a.height - 1) * a.stride;
    for (int64_t first = 0; first < columns; first += kStrip) {
      const int64_t count = smaller(columns - first, kStrip), start = first * kBlock;
      const int64_t pixels = smaller(a.width - start, count * kBlock);
      for (int64_t x = 0; x < pixels; ++x) {
        int sum = 0;
        for (int64_t i = 0; i < kBlock; ++i) sum += lines[i][start + x];
        sums[x] = static_cast<uint16_t>(sum);
      }
      for (int64_t x = pixels; x < count * kBlock; ++x) sums[x] = sums[pixels - 1];
      for (int64_t block = 0; block < count; ++block) {
        unsigned sum = 0;
        for (int64_t i = 0; i < kBlock; ++i) sum += sums[block * kBlock + i];
        // Halves to the even number.
        a.output[row * columns + first + block] = static_cast<uint8_t>((sum + 31 + (sum >> 6 & 1)) >> 6);
      }
    }
  }
}

}  // namespace

const BlockSteps block_steps = {block_luma, follow, difference};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
