// SegmentationLabels: the class of each pixel of the full frame, straight from low-resolution logits, and on request how
// sure that is: its share in the softmax, 255 for all of it.
//
// A share is the exact one to less than 1 of 255. A pixel's logits lie between those of the places that it is made of.
// Where one class leads at all of these, it does so at the pixel, and as e^x is convex, what another has of the softmax
// for each part of the leader's is at most the largest that it has at one of the places. So most of a picture is quick:
// where the others have nearly nothing, nothing is interpolated; where few classes have anything, only these are.

#include "kernels/interpolation.h"
#include "kernels/level.h"
#include "kernels/memory.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kBandRows = 16;
constexpr int64_t kBandRowsOfLeaders = 32;  // places above and below a band are looked at for it alone

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

// What the others may have for each part of the leader's where the share is said to be 255: it then is at least 254.
constexpr float kCertain = 1.0f / 254;
// What all may have together that are left out: 1/8 of 255.
constexpr float kLeftOut = 1.0f / 2040;
constexpr int32_t kNoLabel = -1;
constexpr int64_t kMostLeaderClasses = 32;  // they are bits of a word

// What is known of places in the logits: the class that leads; the others that have anything, a bit for each; and −1
// where these have no more than kCertain together, else 0.
struct Leaders {
  int32_t* label;
  int32_t* others;
  int32_t* certain;
};

// What is known of vectors of pixels: the class that leads, and the others that have anything, or kNoLabel, and those that
// can lead or have anything.
struct Candidates {
  int32_t* label;
  uint32_t* classes;
};

struct Buffers {
  int64_t columns;       // of the output, in whole vectors
  float* row;            // [classes][row_stride]: the logits at the output's row, not yet resized in x
  int64_t row_stride;    // the logits' width and, as vectors are read from any tap, some zeros
  int32_t* first;        // [columns]
  float* weight[kTaps];  // [columns] each
  // With confidence:
  float* values;         // [classes][kLanes]: the logits of a vector of pixels
  int64_t logits_stride;  // whole vectors of the logits' width
  Leaders leaders;       // [kBandRowsOfLeaders + kTaps][logits_stride]
  Candidates candidates;  // [columns / kLanes]
};

// Whether it pays to look for leaders: there must be several pixels to a place in the logits.
bool seeks_leaders(const SegmentationLabelsArguments& a) {
  return a.confidence != nullptr && a.classes <= kMostLeaderClasses && a.output_height >= 2 * a.height &&
         a.output_width >= 2 * a.width;
}

int32_t* integers_in(Arena& arena, int64_t count) { return reinterpret_cast<int32_t*>(arena.floats(count)); }

Leaders leaders_in(Arena& arena, int64_t count) {
  Leaders leaders;
  leaders.label = integers_in(arena, count), leaders.others = integers_in(arena, count);
  leaders.certain = integers_in(arena, count);
  return leaders;
}

Buffers lay_out(const SegmentationLabelsArguments& a, Arena& arena) {
  Buffers b{};
  b.columns = round_up(a.output_width, kLanes);
  b.row_stride = round_up(a.width + kTaps, kLanes) + kLanes;
  b.row = arena.floats(a.classes * b.row_stride);
  b.first = integers_in(arena, b.columns);
  for (float*& weight : b.weight) weight = arena.floats(b.columns);
  if (a.confidence != nullptr) b.values = arena.floats(a.classes * kLanes);
  if (seeks_leaders(a)) {
    b.logits_stride = round_up(a.width, kLanes);
    b.leaders = leaders_in(arena, (kBandRowsOfLeaders + kTaps) * b.logits_stride);
    b.candidates.label = integers_in(arena, b.columns / kLanes);
    b.candidates.classes = reinterpret_cast<uint32_t*>(integers_in(arena, b.columns / kLanes));
  }
  return b;
}

bool same_size(const SegmentationLabelsArguments& a) {
  return a.upscale == 1 && a.output_height == a.height && a.output_width == a.width;
}

struct Winner {
  Ints label;
  Floats logit;
};

// The largest of `classes` vectors, lane by lane; the first one of several, and 0 where that is NaN.
template <typename Logits>
inline Winner winner_of(int64_t classes, const Logits& logits) {
  Winner winner = {{}, logits(0)};
  for (int64_t n = 1; n < classes; ++n) {
    const Floats candidate = logits(n);
    const Ints higher = candidate > winner.logit;
    winner.logit = higher ? candidate : winner.logit;
    winner.label = higher ? Ints{} + static_cast<int32_t>(n) : winner.label;
  }
  return winner;
}

// What the others have of the softmax for each part that the winner has. NaN where logits are none or infinite.
template <typename Logits>
inline Floats parts_of_others(int64_t classes, const Logits& logits, Floats highest) {
  Floats sum = splat(-kRoughExp0);  // the winner's own
  for (int64_t n = 0; n < classes; ++n) sum += rough_exp_of_negative(logits(n) - highest);
  return sum;
}

inline void store_bytes(uint8_t* to, Ints labels, int64_t count) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  const Bytes bytes = __builtin_convertvector(labels, Bytes);
  if (count == kLanes) {
    __builtin_memcpy(to, &bytes, kLanes);
  } else {
    for (int64_t lane = 0; lane < count; ++lane) to[lane] = bytes[lane];
  }
}

inline void store_confidence(uint8_t* to, Floats others, int64_t count) {
  const Floats share = 255.0f / (1.0f + others) + 0.5f;
  store_bytes(to, __builtin_convertvector(share == share ? share : Floats{}, Ints), count);
}

// The labels of `count` pixels, and how sure they are where somebody asks. `logits` gives each class's.
template <bool Asked, typename Logits>
inline void label_pixels(const SegmentationLabelsArguments& a, const Buffers& b, const Logits& logits, int64_t count,
                         uint8_t* output, uint8_t* confidence) {
  if (!Asked) return store_bytes(output, winner_of(a.classes, logits).label, count);
  const Winner winner = winner_of(a.classes, [&](int64_t n) {
    const Floats values = logits(n);
    store(b.values + n * kLanes, values);
    return values;
  });
  store_bytes(output, winner.label, count);
  const auto kept = [&](int64_t n) { return load(b.values + n * kLanes); };
  store_confidence(confidence, parts_of_others(a.classes, kept, winner.logit), count);
}

// The same of pixels of which something is known.
template <typename Logits>
inline void label_candidates(const Buffers& b, int64_t vector, const Logits& logits, int64_t count, uint8_t* output,
                             uint8_t* confidence) {
  const int32_t label = b.candidates.label[vector];
  uint32_t rest = b.candidates.classes[vector];
  Floats sum = {};
  if (label != kNoLabel) {
    store_bytes(output, Ints{} + label, count);
    if (rest == 0) return store_bytes(confidence, Ints{} + 255, count);
    const Floats leader = logits(label);
    for (; rest != 0; rest &= rest - 1) sum += rough_exp_of_negative(logits(__builtin_ctz(rest)) - leader);
    return store_confidence(confidence, sum, count);
  }
  int64_t kept = 0;
  Winner winner = {};
  for (; rest != 0; rest &= rest - 1, ++kept) {
    const int32_t n = __builtin_ctz(rest);
    const Floats candidate = logits(n);
    store(b.values + kept * kLanes, candidate);
    const Ints higher = kept == 0 ? Ints{} - 1 : candidate > winner.logit;
    winner.logit = higher ? candidate : winner.logit;
    winner.label = higher ? Ints{} + n : winner.label;
  }
  store_bytes(output, winner.label, count);
  const auto again = [&](int64_t n) { return load(b.values + n * kLanes); };
  store_confidence(confidence, parts_of_others(kept, again, winner.logit), count);
}

template <bool Asked>
void label_row_of_same_size(const SegmentationLabelsArguments& a, const Buffers& b, const float* row, uint8_t* output,
                            uint8_t* confidence) {
  const int64_t plane_size = a.height * a.width;
  for (int64_t x = 0; x < a.width; x += kLanes) {
    const int64_t count = smaller(kLanes, a.width - x);
    const auto logits = [&](int64_t n) {
      const float* const from = row + n * plane_size + x;
      return count == kLanes ? load(from) : load_first(from, count);
    };
    label_pixels<Asked>(a, b, logits, count, output + x, Asked ? confidence + x : nullptr);
  }
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

template <int UsedTaps, bool Asked>
void label_row(const SegmentationLabelsArguments& a, const Buffers& b, uint8_t* output, uint8_t* confidence) {
  for (int64_t x = 0; x < a.output_width; x += kLanes) {
    const int64_t count = smaller(kLanes, a.output_width - x);
    const int32_t base = b.first[x], last = b.first[x + kLanes - 1];
    const bool near = last - base < kLanes;
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
    if (Asked && b.candidates.label != nullptr) {
      label_candidates(b, x / kLanes, interpolated, count, output + x, confidence + x);
    } else {
      label_pixels<Asked>(a, b, interpolated, count, output + x, Asked ? confidence + x : nullptr);
    }
  }
}

// Finds the leaders of `rows` rows of logits.
void find_leaders(const SegmentationLabelsArguments& a, const float* logits, int64_t rows, const Buffers& b) {
  const int64_t plane_size = a.height * a.width;
  const Floats little = splat(kLeftOut / static_cast<float>(a.classes));  // of each
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t x = 0; x < a.width; x += kLanes) {
      const int64_t count = smaller(kLanes, a.width - x);
      const auto at = [&](int64_t n) {
        const float* const from = logits + n * plane_size + row * a.width + x;
        return count == kLanes ? load(from) : load_first(from, count);
      };
      const Winner winner = winner_of(a.classes, at);
      Floats sum = splat(-kRoughExp0);
      Ints others = {};
      for (int64_t n = 0; n < a.classes; ++n) {
        const Floats part = rough_exp_of_negative(at(n) - winner.logit);
        sum += part;
        others |= ~(part <= little) & (winner.label != static_cast<int32_t>(n)) & static_cast<int32_t>(1u << n);
      }
      const int64_t place = row * b.logits_stride + x;
      store(b.leaders.label + place, winner.label);
      store(b.leaders.others + place, others);
      store(b.leaders.certain + place, sum < kCertain);
    }
  }
}

// The classes that can lead, or have anything of the softmax, between `places` of `rows` rows of logits. `leader` leads
// somewhere there: what is below it everywhere, and farther than `far`, a negative number, is so of the winner, too.
uint32_t candidates_between(const SegmentationLabelsArguments& a, const float* logits, int64_t rows, int64_t places,
                            int32_t leader, float far) {
  const int64_t plane_size = a.height * a.width;
  const Ints inside = lanes_between(0, places);
  uint32_t classes = 0;
  for (int64_t n = 0; n < a.classes; ++n) {
    Ints noticed = {};
    for (int64_t row = 0; row < rows; ++row) {
      const float* const from = logits + row * a.width;
      noticed |= ~(load_first(from + n * plane_size, places) - load_first(from + leader * plane_size, places) <= far);
    }
    if (!all(~(noticed & inside))) classes |= 1u << n;
  }
  return classes;
}

// What is known of the vectors of an output row that is made of `rows` rows of logits. The first of them is `first_row`,
// and number `leaders_row` in `b.leaders`; `used_columns` is how many taps have any weight.
void find_candidates(const SegmentationLabelsArguments& a, const float* logits, int64_t first_row, int64_t rows,
                     int used_columns, int64_t leaders_row, const Buffers& b) {
  const float far = __builtin_logf(kLeftOut / static_cast<float>(a.classes));
  const uint32_t every = static_cast<uint32_t>((uint64_t{1} << a.classes) - 1);
  for (int64_t x = 0; x < a.output_width; x += kLanes) {
    const int64_t base = b.first[x], places = smaller(b.first[x + kLanes - 1] + used_columns, a.width) - base;
    const int64_t first = leaders_row * b.logits_stride + base;
    int32_t label = b.leaders.label[first], certain = -1;
    uint32_t classes = 0;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t place = first + row * b.logits_stride, end = place + places; place < end; ++place) {
        if (b.leaders.label[place] != label) label = kNoLabel;
        classes |= static_cast<uint32_t>(b.leaders.others[place]), certain &= b.leaders.certain[place];
      }
    }
    if (label != kNoLabel) {
      classes = certain ? 0 : classes;
    } else if (places <= kLanes) {
      const int32_t leader = b.leaders.label[first + places / 2];
      classes = candidates_between(a, logits + first_row * a.width + base, rows, places, leader, far);
    } else {
      classes = every;
    }
    b.candidates.label[x / kLanes] = label, b.candidates.classes[x / kLanes] = classes;
  }
}

int64_t band_rows(const SegmentationLabelsArguments& a) { return seeks_leaders(a) ? kBandRowsOfLeaders : kBandRows; }

Work plan(const SegmentationLabelsArguments& a) {
  Arena arena(nullptr);
  lay_out(a, arena);
  return {a.batch * divide_up(a.output_height, band_rows(a)), arena.size()};
}

template <bool Asked>
void run_band(const SegmentationLabelsArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Buffers b = lay_out(a, arena);
  const int64_t bands = divide_up(a.output_height, band_rows(a));
  const int64_t image = task / bands, y_begin = task % bands * band_rows(a);
  const int64_t y_end = smaller(y_begin + band_rows(a), a.output_height);
  const float* logits = a.logits + image * a.classes * a.height * a.width;
  uint8_t* output = a.output + image * a.output_height * a.output_width;
  uint8_t* const confidence = Asked ? a.confidence + image * a.output_height * a.output_width : nullptr;
  const auto confidence_row = [&](int64_t y) { return Asked ? confidence + y * a.output_width : nullptr; };
  if (same_size(a)) {
    for (int64_t y = y_begin; y < y_end; ++y) {
      label_row_of_same_size<Asked>(a, b, logits + y * a.width, output + y * a.output_width, confidence_row(y));
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
  const int64_t first_row = taps_at(a, y_begin, a.height, a.output_height).first;
  if (Asked && b.candidates.label != nullptr) {
    const int64_t rows = taps_at(a, y_end - 1, a.height, a.output_height).first + kTaps - first_row;
    find_leaders(a, logits + first_row * a.width, smaller(rows, a.height - first_row), b);
  }
  const int used_columns = third_tap ? 3 : 2;
  int64_t known_first = -1, known_rows = 0;
  for (int64_t y = y_begin; y < y_end; ++y) {
    const Taps taps = taps_at(a, y, a.height, a.output_height);
    if (Asked && b.candidates.label != nullptr) {
      const int64_t rows = taps.weight[2] != 0 ? 3 : taps.weight[1] != 0 ? 2 : 1;
      // What holds between more rows holds between fewer.
      if (taps.first != known_first || rows > known_rows) {
        known_first = taps.first, known_rows = rows;
        find_candidates(a, logits, taps.first, rows, used_columns, taps.first - first_row, b);
      }
    }
    interpolate_rows(a, logits, taps, b);
    const auto row = third_tap ? label_row<3, Asked> : label_row<2, Asked>;
    row(a, b, output + y * a.output_width, confidence_row(y));
  }
}

void run(const SegmentationLabelsArguments& a, int64_t task, void* scratch) {
  a.confidence == nullptr ? run_band<false>(a, task, scratch) : run_band<true>(a, task, scratch);
}

}  // namespace

const Kernel<SegmentationLabelsArguments> segmentation_labels_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
