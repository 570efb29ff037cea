// Vectors of floats as wide as the level being compiled has them, on the vector extensions of GCC and Clang.

#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace arseg {
namespace ARSEG_LEVEL {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(float));

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
// Half as many lanes.
typedef double Doubles __attribute__((vector_size(kVectorBytes)));
typedef float HalfFloats __attribute__((vector_size(kVectorBytes / 2)));
typedef int32_t HalfInts __attribute__((vector_size(kVectorBytes / 2)));
typedef float UnalignedFloats __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef double UnalignedDoubles __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
typedef int32_t UnalignedInts __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

inline Floats load(const float* from) { return *reinterpret_cast<const UnalignedFloats*>(from); }
inline Ints load(const int32_t* from) { return *reinterpret_cast<const UnalignedInts*>(from); }
inline Doubles load(const double* from) { return *reinterpret_cast<const UnalignedDoubles*>(from); }
inline void store(float* to, Floats value) { *reinterpret_cast<UnalignedFloats*>(to) = value; }
inline void store(int32_t* to, Ints value) { *reinterpret_cast<UnalignedInts*>(to) = value; }
template <typename Whole, typename Half>
inline Whole join(Half low, Half high) {
  Whole both;
  __builtin_memcpy(&both, &low, sizeof low);
  __builtin_memcpy(reinterpret_cast<char*>(&both) + sizeof low, &high, sizeof high);
  return both;
}
inline Floats splat(float value) { return Floats{} + value; }
inline Floats maximum(Floats a, Floats b) { return a > b ? a : b; }

// Whether no lane is zero, of lanes that are all ones or zero.
inline bool all(Ints lanes) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)lanes) == 0xffff;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)lanes) == 0xff;
#endif
  int32_t every = -1;
  for (int lane = 0; lane < kLanes; ++lane) every &= lanes[lane];
  return every != 0;
}

// Loads once what several multiply-adds use. GCC otherwise puts the load into each of them as a memory operand, and an
// unaligned one, which mostly touches two cache lines, then costs more than the arithmetic.
inline Floats load_once(const float* from) {
  Floats value = load(from);
#if defined(__AVX512F__)
  asm("" : "+v"(value));
#elif defined(__x86_64__)
  asm("" : "+x"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#endif
  return value;
}

#if defined(__AVX512F__)
template <int first, int Count>
__attribute__((always_inline)) inline void shift_into(__m512i low, __m512i high, Floats (&shifted)[Count]) {
  if constexpr (first < Count) {
    shifted[first] = (Floats)_mm512_alignr_epi32(high, low, first);
    shift_into<first + 1>(low, high, shifted);
  }
}
#endif

// Sets shifted[d] to the vector that lies at from[d]. Up to a vector more is read. AVX-512 shifts in registers, as
// nearly every unaligned load there would touch two cache lines and cost as much as two.
template <int Count>
inline void load_shifts(const float* from, Floats (&shifted)[Count]) {
#if defined(__AVX512F__)
  if (Count > 2) {
    const __m512i low = (__m512i)load_once(from), high = (__m512i)load_once(from + kLanes);
    shifted[0] = (Floats)low;
    shift_into<1>(low, high, shifted);
    return;
  }
#endif
  for (int d = 0; d < Count; ++d) shifted[d] = load_once(from + d);
}

// All ones in the lanes from `low` to `high` − 1, for 0 <= low <= high <= kLanes.
inline Ints lanes_between(int64_t low, int64_t high) {
  Ints lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return (lane >= static_cast<int32_t>(low)) & (lane < static_cast<int32_t>(high));
}

inline Floats keep_between(Floats value, int64_t low, int64_t high) {
  return (Floats)((Ints)value & lanes_between(low, high));
}

// Those lanes from memory, zeros in the others, whose memory is not touched.
inline Floats load_between(const float* from, int64_t low, int64_t high) {
#if defined(__AVX512F__)
  const uint32_t mask = ((uint32_t{1} << high) - 1) & ~((uint32_t{1} << low) - 1);
  return (Floats)_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
#elif defined(__AVX2__)
  return (Floats)_mm256_maskload_ps(from, (__m256i)lanes_between(low, high));
#else
  Floats values = {};
  for (int64_t lane = low; lane < high; ++lane) values[lane] = from[lane];
  return values;
#endif
}

inline Floats load_first(const float* from, int64_t count) { return load_between(from, 0, count); }

// Only the first `count` lanes, up to kLanes.
inline void store_first(float* to, Floats value, int64_t count) {
  if (count == kLanes) return store(to, value);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((uint32_t{1} << count) - 1), (__m512)value);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(to, (__m256i)lanes_between(0, count), (__m256)value);
#else
  for (int64_t lane = 0; lane < count; ++lane) to[lane] = value[lane];
#endif
}

// from[index[lane]] in each lane.
inline Floats gather(const float* from, Ints index) {
#if defined(__AVX512F__)
  return (Floats)_mm512_i32gather_ps((__m512i)index, from, 4);
#elif defined(__AVX2__)
  return (Floats)_mm256_i32gather_ps(from, (__m256i)index, 4);
#else
  Floats values;
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = from[index[lane]];
  return values;
#endif
}

// from[index[lane]] and the float after it in each lane: half the reads of two gathers.
inline void gather_pairs(const float* from, Ints index, Floats& first, Floats& second) {
#if defined(__AVX512F__)
  const __m512 low = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_castsi512_si256((__m512i)index), from, 4));
  const __m512 high = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_extracti64x4_epi64((__m512i)index, 1), from, 4));
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  first = (Floats)_mm512_permutex2var_ps(low, even, high);
  second = (Floats)_mm512_permutex2var_ps(low, _mm512_or_si512(even, _mm512_set1_epi32(1)), high);
#elif defined(__AVX2__)
  // In the order in which the shuffles below put them together.
  const __m256i order = _mm256_permute4x64_epi64((__m256i)index, 0xd8);
  const double* const pairs = reinterpret_cast<const double*>(from);
  const __m256 low = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_castsi256_si128(order), 4));
  const __m256 high = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_extracti128_si256(order, 1), 4));
  first = (Floats)_mm256_shuffle_ps(low, high, 0x88);
  second = (Floats)_mm256_shuffle_ps(low, high, 0xdd);
#else
  first = gather(from, index);
  second = gather(from + 1, index);
#endif
}

// from[index[lane]] where every index is in [0, kLanes) and that many floats can be read.
inline Floats permute(const float* from, Ints index) {
#if defined(__AVX512F__)
  return (Floats)_mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(from));
#elif defined(__AVX2__)
  return (Floats)_mm256_permutevar8x32_ps(_mm256_loadu_ps(from), (__m256i)index);
#else
  return gather(from, index);
#endif
}

// The first lane that holds the largest value; none (kLanes) if that is no number.
inline int largest_lane(Floats values) {
#if defined(__AVX512F__)
  const float largest = _mm512_reduce_max_ps((__m512)values);
  const unsigned lanes = _mm512_cmp_ps_mask((__m512)values, _mm512_set1_ps(largest), _CMP_EQ_OQ);
  return lanes == 0 ? kLanes : __builtin_ctz(lanes);
#elif defined(__AVX2__)
  __m256 largest = _mm256_max_ps((__m256)values, _mm256_permute2f128_ps((__m256)values, (__m256)values, 1));
  largest = _mm256_max_ps(largest, _mm256_permute_ps(largest, 0x4e));
  largest = _mm256_max_ps(largest, _mm256_permute_ps(largest, 0xb1));
  const int lanes = _mm256_movemask_ps(_mm256_cmp_ps((__m256)values, largest, _CMP_EQ_OQ));
  return lanes == 0 ? kLanes : __builtin_ctz(static_cast<unsigned>(lanes));
#else
  int best = 0;
  for (int lane = 1; lane < kLanes; ++lane) best = values[lane] > values[best] ? lane : best;
  return values[best] == values[best] ? best : kLanes;
#endif
}

// Lanes below `split` from `left`, the others from `right`, each read at its own lane; nothing else is read.
inline Floats load_split(const float* left, const float* right, int split) {
#if defined(__AVX512F__)
  const __mmask16 low = static_cast<__mmask16>((1u << split) - 1);
  return (Floats)_mm512_mask_loadu_ps(_mm512_maskz_loadu_ps(low, left), static_cast<__mmask16>(~low), right);
#elif defined(__AVX2__)
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i low = _mm256_cmpgt_epi32(_mm256_set1_epi32(split), lane);
  const __m256i high = _mm256_xor_si256(low, _mm256_set1_epi32(-1));
  return (Floats)_mm256_or_ps(_mm256_maskload_ps(left, low), _mm256_maskload_ps(right, high));
#else
  Floats values;
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = lane < split ? left[lane] : right[lane];
  return values;
#endif
}

// e^x for x <= 0, to about 1e-7 of the result; 0 below the smallest normal float. NaN stays NaN.
inline Floats exp_of_negative(Floats x) {
  const Floats rounder = splat(12582912.0f);  // 1.5·2^23: adding it leaves the nearest integer in the low bits
  const Floats lowest = splat(-87.0f);
  const Floats clamped = x < lowest ? lowest : x;
  const Floats shifted = clamped * 1.44269504f + rounder;
  const Floats n = shifted - rounder;
  const Floats r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  Floats p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Floats power = (Floats)(((Words)shifted + 127u) << 23);  // 2^n: only n's low bits survive the shift
  const Floats result = p * power;
  return x < lowest ? Floats{} : result;
}

// 2^f for |f| <= 1/2 is nearly this polynomial of f.
constexpr float kRoughExp0 = 1.0004433f, kRoughExp1 = 0.70344672f, kRoughExp2 = 0.23842498f;

// The same to 1.8e-3 of the result, and no less than 2^-126; of 0 it is kRoughExp0.
inline Floats rough_exp_of_negative(Floats x) {
  const Floats lowest = splat(-126.0f);
  Floats exponent = x * 1.44269504f;
  exponent = exponent < lowest ? lowest : exponent;
#if defined(__AVX512F__)
  const Floats n = (Floats)_mm512_roundscale_ps((__m512)exponent, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Floats f = exponent - n;
  return (Floats)_mm512_scalef_ps((__m512)((f * kRoughExp2 + kRoughExp1) * f + kRoughExp0), (__m512)n);
#else
  const Floats rounder = splat(12582912.0f);  // as above
  const Floats shifted = exponent + rounder;
  const Floats f = exponent - (shifted - rounder);
  const Floats power = (Floats)(((Words)shifted + 127u) << 23);
  return ((f * kRoughExp2 + kRoughExp1) * f + kRoughExp0) * power;
#endif
}

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
constexpr int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t clamp(int64_t value, int64_t low, int64_t high) { return smaller(larger(value, low), high); }

}  // namespace ARSEG_LEVEL
}  // namespace arseg
