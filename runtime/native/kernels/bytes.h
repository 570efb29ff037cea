// Bytes read as floats: a feature in eight bits is turned into floats where it is sampled, in registers.

#pragma once

#include "kernels/simd.h"

namespace arseg {
namespace ARSEG_LEVEL {

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

inline Floats to_floats(Bytes bytes) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32((__m128i)bytes));
#elif defined(__AVX2__)
  int64_t packed;
  __builtin_memcpy(&packed, &bytes, sizeof packed);
  return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(packed)));
#else
  return __builtin_convertvector(__builtin_convertvector(bytes, Ints), Floats);
#endif
}

inline Floats load(const uint8_t* from) {
  Bytes bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return to_floats(bytes);
}

// from[index[lane]] in each lane.
inline Floats gather(const uint8_t* from, Ints index) {
  Bytes bytes;
  for (int lane = 0; lane < kLanes; ++lane) bytes[lane] = from[index[lane]];
  return to_floats(bytes);
}

// Whether `gather_pairs` may be used on a plane whose rows lie `down` bytes apart: it reads four bytes at a time.
constexpr bool pairs_can_be_gathered(const uint8_t*, int64_t down) { return down >= 4; }
constexpr bool pairs_can_be_gathered(const float*, int64_t) { return true; }

// from[index[lane]] and the byte after it in each lane. The four bytes that are read for it end with these two, or are
// the plane's first four: nothing outside the plane is touched.
inline void gather_pairs(const uint8_t* from, Ints index, Floats& first, Floats& second) {
#if defined(__AVX512F__) || defined(__AVX2__)
  const Ints back = index < 2 ? index : Ints{} + 2, start = index - back, shift = back * 8;
#if defined(__AVX512F__)
  const __m512i words = _mm512_srlv_epi32(_mm512_i32gather_epi32((__m512i)start, from, 1), (__m512i)shift);
#else
  const __m256i read = _mm256_i32gather_epi32(reinterpret_cast<const int*>(from), (__m256i)start, 1);
  const __m256i words = _mm256_srlv_epi32(read, (__m256i)shift);
#endif
  first = __builtin_convertvector((Ints)words & 255, Floats);
  second = __builtin_convertvector(((Ints)words >> 8) & 255, Floats);
#else
  first = gather(from, index);
  second = gather(from + 1, index);
#endif
}

// Lanes below `split` from `left`, the others from `right`, each read at its own lane; nothing else is read.
inline Floats load_split(const uint8_t* left, const uint8_t* right, int split) {
#if defined(__AVX512F__)
  const __mmask16 low = static_cast<__mmask16>((1u << split) - 1);
  const __m128i bytes = _mm_mask_loadu_epi8(_mm_maskz_loadu_epi8(low, left), static_cast<__mmask16>(~low), right);
  return to_floats((Bytes)bytes);
#else
  Bytes bytes;
  for (int lane = 0; lane < kLanes; ++lane) bytes[lane] = lane < split ? left[lane] : right[lane];
  return to_floats(bytes);
#endif
}

// The first `count` lanes as bytes; they hold whole numbers from 0 to 255.
inline void store_first(uint8_t* to, Ints values, int64_t count) {
#if defined(__AVX512F__)
  const __mmask16 mask = static_cast<__mmask16>((uint32_t{1} << count) - 1);
  _mm512_mask_cvtepi32_storeu_epi8(to, mask, (__m512i)values);
#else
  const Bytes bytes = __builtin_convertvector(values, Bytes);
  __builtin_memcpy(to, &bytes, static_cast<size_t>(count));
#endif
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
