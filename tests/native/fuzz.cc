// Throws random and mostly hostile calls at the operators: ranks and sizes that do not fit, NaN, infinities, huge
// displacements, every SIMD level. Each call must end in an `Error` or in a result; the sanitizers watch the memory.
// Likewise at what Python calls for motion.
//
//     fuzz [cases = 100000] [seed = 0]

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "motion/motion.h"
#include "program.h"

namespace arseg {
namespace {

constexpr int64_t kMostElements = 1 << 18;  // of a tensor that is really made

std::mt19937_64 random_bits;

int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }
bool chance(int percent) { return pick(1, 100) <= percent; }

template <typename Value>
Value one_of(std::initializer_list<Value> values) {
  return values.begin()[pick(0, static_cast<int64_t>(values.size()) - 1)];
}

int64_t size() { return chance(80) ? pick(1, 9) : chance(80) ? pick(1, 36) : pick(1, 130); }

float number() {
  if (chance(85)) return std::normal_distribution<float>()(random_bits);
  const float inf = std::numeric_limits<float>::infinity();
  return one_of({0.0f, -0.0f, std::nanf(""), inf, -inf, 2147483648.0f, -2147483648.0f, 3e38f, -3e38f, 1e-42f, 1e9f});
}

Shape shape(std::initializer_list<int64_t> dims) {
  Shape result;
  for (const int64_t dim : dims) result.dims[result.rank++] = dim;
  return result;
}

// Sometimes changes a shape into one that does not fit.
Shape distorted(Shape s) {
  if (chance(95)) return s;
  if (chance(30)) {
    s.rank = static_cast<int>(pick(0, kMaxRank));
    for (int axis = 0; axis < s.rank; ++axis) s.dims[axis] = pick(0, 3);
  } else if (s.rank > 0) {
    const int64_t huge = std::numeric_limits<int64_t>::max();
    s.dims[pick(0, s.rank - 1)] = one_of<int64_t>({0, -1, 1, 2, 3, 7, 4097, int64_t{1} << 31, int64_t{1} << 40, huge});
  }
  return s;
}

bool can_be_made(const Shape& s) {
  int64_t count = 1;
  for (int axis = 0; axis < s.rank; ++axis) {
    if (s[axis] < 0 || s[axis] > kMostElements) return false;
    count *= s[axis];
    if (count > kMostElements) return false;
  }
  return true;
}

// One tensor in memory of exactly its size, so that one element too far is noticed.
struct Memory {
  std::unique_ptr<char[]> bytes;
  Tensor tensor;

  static size_t element_bytes(Element element) {
    return element == Element::kFloat ? 4 : element == Element::kInt64 ? 8 : 1;
  }
  Memory(Element element, const Shape& s) {
    tensor.element = element;
    tensor.shape = s;
    if (!can_be_made(s)) return;
    const int64_t count = elements(s);
    bytes.reset(new char[static_cast<size_t>(count) * element_bytes(element)]);
    tensor.data = bytes.get();
    for (int64_t i = 0; i < count; ++i) {
      if (element == Element::kFloat) reinterpret_cast<float*>(bytes.get())[i] = number();
      if (element == Element::kUint8) reinterpret_cast<uint8_t*>(bytes.get())[i] = static_cast<uint8_t>(pick(0, 255));
      if (element == Element::kInt64) {
        const int64_t huge = std::numeric_limits<int64_t>::max();
        reinterpret_cast<int64_t*>(bytes.get())[i] =
            chance(95) ? pick(1, 200) : one_of<int64_t>({0, -1, 32768, 32769, huge, -huge});
      }
    }
  }
};

enum Outcome { kRan, kRefused, kOnlyChecked, kOutcomes };

template <typename Operator>
Outcome call(const MapAttributes& attributes, std::initializer_list<Shape> shapes) {
  try {
    const Operator op(attributes);
    std::vector<Memory> memory;
    std::vector<Tensor> inputs;
    bool complete = true;
    for (const Shape& s : shapes) {
      memory.emplace_back(Operator::signature.inputs[memory.size()], distorted(s));
      inputs.push_back(memory.back().tensor);
      complete = complete && memory.back().bytes != nullptr;
      // The values of a size are read by the checks; ONNX Runtime never hands out a shape without its data.
      if (inputs.back().element == Element::kInt64 && !memory.back().bytes) return kOnlyChecked;
    }
    if constexpr (Operator::signature.second_output) {
      // Its size is the first output's, or nothing; any other is refused.
      if (complete && elements(inputs[1].shape) == 2 && elements(inputs[2].shape) == 2 && chance(90)) {
        const bool nothing = chance(20);
        for (int i = 0; i < 2; ++i) {
          reinterpret_cast<int64_t*>(memory[2].bytes.get())[i] = nothing ? 0 : inputs[1].integers()[i];
        }
      }
    }
    constexpr int last = Operator::signature.input_count - 1;
    if (Operator::signature.inputs[last] == Element::kUint8 && memory[last - 1].bytes && chance(90)) {
      // Scales that are taken; any other is refused.
      float* const scales = reinterpret_cast<float*>(memory[last - 1].bytes.get());
      for (int64_t i = 0; i < elements(inputs[last - 1].shape); ++i) scales[i] = 0.01f * static_cast<float>(pick(1, 9));
    }
    const Shape output_shape = op.output_shape(inputs.data());
    if (!complete || !can_be_made(output_shape)) return kOnlyChecked;
    const Memory output(Operator::signature.output, output_shape);
    if constexpr (Operator::signature.second_output) {
      const Shape second_shape = op.second_output_shape(inputs.data());
      if (!can_be_made(second_shape)) return kOnlyChecked;
      const Memory second(Operator::signature.output, second_shape);
      op.compute(inputs.data(), output.bytes.get(), chance(80) ? second.bytes.get() : nullptr, InlineThreads());
    } else {
      op.compute(inputs.data(), output.bytes.get(), InlineThreads());
    }
    return kRan;
  } catch (const Error& error) {
    if (std::strlen(error.what()) == 0) std::abort();
    return kRefused;
  }
}

// Arrays of exactly their size, of any content.
template <typename Element>
std::unique_ptr<Element[]> noise(int64_t count) {
  std::unique_ptr<Element[]> made(new Element[static_cast<size_t>(count)]);
  char* const bytes = reinterpret_cast<char*>(made.get());
  for (size_t i = 0; i < static_cast<size_t>(count) * sizeof(Element); ++i) bytes[i] = static_cast<char>(pick(0, 255));
  return made;
}

// A size that must be refused, or nothing changed.
bool spoil(Picture& picture) {
  if (chance(90)) return false;
  int64_t* const sides[] = {&picture.height, &picture.width, &picture.rows, &picture.columns};
  const int64_t huge = std::numeric_limits<int64_t>::max();
  *sides[pick(0, 3)] = one_of<int64_t>({0, -1, -huge - 1, kLargestSide + 1, int64_t{1} << 31, huge});
  return true;
}

// A null pointer in place of the array now and then, which must be refused.
template <typename Element>
Element* or_null(Element* array, bool& refused) {
  if (chance(98)) return array;
  refused = true;
  return nullptr;
}

Outcome checked(int done, bool refused) {
  if (done == refused) std::abort();
  return refused ? kRefused : kRan;
}

Outcome call_published() {
  const int64_t height = size(), width = size(), count = pick(1, 3), pixels = height * width;
  Picture picture{height, width, blocks_along(height), blocks_along(width)};
  const int64_t cells = picture.rows * picture.columns;
  const auto displacement = noise<Displacement>(cells);
  for (int64_t i = 0; i < cells; ++i) {
    if (chance(70)) displacement[i] = {number() * 20, number() * 20};
  }
  const auto reference = noise<int8_t>(cells);
  const auto known = noise<Position>(pixels), positions = noise<Position>(pixels);
  const auto motion = noise<Displacement>(pixels);
  bool refused = spoil(picture);
  const Position* frames[] = {known.get(), known.get(), known.get()};
  frames[count - 1] = or_null(frames[count - 1], refused);
  const int64_t known_count = chance(98) ? count : pick(-1, 0);
  refused = refused || known_count < 1;
  const int done = arseg_published(picture.height, picture.width, picture.rows, picture.columns,
                                   or_null(displacement.get(), refused), or_null(reference.get(), refused), frames,
                                   known_count, or_null(positions.get(), refused), or_null(motion.get(), refused));
  return checked(done, refused);
}

Outcome call_vectors() {
  const int64_t height = size(), width = size(), count = pick(0, 100);
  Picture picture{height, width, blocks_along(height), blocks_along(width)};
  const int64_t cells = picture.rows * picture.columns;
  const auto records = noise<VectorRecord>(count);
  for (int64_t i = 0; i < count; ++i) {
    if (chance(10)) continue;
    records[i].dst_x = static_cast<int16_t>(pick(-20, width + 20));
    records[i].dst_y = static_cast<int16_t>(pick(-20, height + 20));
  }
  const auto displacement = noise<Displacement>(2 * cells);
  const auto reference = noise<int8_t>(2 * cells);
  bool refused = spoil(picture);
  const int64_t listed = chance(98) ? count : -1;
  refused = refused || listed < 0;
  const int done = arseg_vectors(picture.height, picture.width, picture.rows, picture.columns, records.get(), listed,
                                 or_null(displacement.get(), refused), or_null(reference.get(), refused));
  return checked(done, refused);
}

// Whether the level that was chosen runs here.
bool has_level() {
  try {
    choose_kernels();
    return true;
  } catch (const Error&) {
    return false;
  }
}

Outcome call_block_luma() {
  const int64_t height = size(), width = size(), stride = width + pick(0, 9);
  Picture picture{height, width, blocks_along(height), blocks_along(width)};
  const auto plane = noise<uint8_t>(height * stride - (stride - width));
  const auto means = noise<uint8_t>(picture.rows * picture.columns);
  bool refused = !has_level();
  int64_t* const sides[] = {&picture.height, &picture.width};
  if (chance(3)) *sides[pick(0, 1)] = one_of<int64_t>({0, -1, kLargestSide + 1}), refused = true;
  const int64_t given = chance(98) ? stride : picture.width - 1;
  refused = refused || given < picture.width;
  const int done = arseg_block_luma(picture.height, picture.width, given, or_null(plane.get(), refused),
                                    or_null(means.get(), refused));
  return checked(done, refused);
}

Outcome call_follow() {
  int64_t rows = size(), columns = size();
  const int64_t cells = rows * columns, inverse = chance(98) ? pick(0, 3) : -1;
  const auto known = noise<Displacement>(cells), step = noise<Displacement>(cells);
  const auto positions = noise<Displacement>(cells), motion = noise<Displacement>(cells);
  for (int64_t i = 0; i < cells; ++i) {
    if (chance(70)) step[i] = {number() * 3, number() * 3};
    if (chance(70)) known[i] = {static_cast<float>(pick(0, columns)), static_cast<float>(pick(0, rows))};
  }
  const auto anchor = noise<uint8_t>(cells), shown = noise<uint8_t>(cells);
  bool refused = !has_level() || cells < 4 || inverse < 0;
  if (chance(3)) (chance(50) ? rows : columns) = one_of<int64_t>({0, -1, kLargestSide}), refused = true;
  const int followed = arseg_follow(rows, columns, inverse, or_null(known.get(), refused),
                                    or_null(step.get(), refused), or_null(anchor.get(), refused),
                                    or_null(positions.get(), refused), or_null(motion.get(), refused),
                                    or_null(shown.get(), refused));
  for (int64_t i = 0; i < cells && followed; ++i) {
    const bool inside = positions[i].x >= 0 && positions[i].x <= static_cast<float>(columns - 1) &&
                        positions[i].y >= 0 && positions[i].y <= static_cast<float>(rows - 1);
    if (!inside) std::abort();
  }
  return checked(followed, refused);
}

Outcome call_difference() {
  int64_t rows = size(), columns = size();
  const int64_t cells = rows * columns;
  const auto luma = noise<uint8_t>(cells), shown = noise<uint8_t>(cells), difference = noise<uint8_t>(cells);
  bool refused = !has_level();
  if (chance(3)) (chance(50) ? rows : columns) = one_of<int64_t>({0, -1, kLargestSide}), refused = true;
  const int done = arseg_difference(rows, columns, or_null(luma.get(), refused), or_null(shown.get(), refused),
                                    or_null(difference.get(), refused));
  return checked(done, refused);
}

Outcome one_case() {
  setenv("ARSEG_EDGE_SIMD", one_of({"", "baseline", "avx2", "avx512"}), 1);
  MapAttributes attributes;
  attributes.strings["sampling"] = chance(98) ? one_of({"published", "consistent"}) : one_of({"", "nearest"});
  attributes.integers["kernel_size"] = chance(95)
                                           ? one_of<int64_t>({1, 3, 5, 7, 9})
                                           : one_of<int64_t>({-7, 0, 2, 31, 33, std::numeric_limits<int64_t>::max()});
  attributes.integers["upscale"] = chance(95) ? one_of<int64_t>({1, 2, 3, 8}) : one_of<int64_t>({-1, 0, 64, 65});
  attributes.integers["align_corners"] = chance(98) ? pick(0, 1) : one_of<int64_t>({-1, 2});
  for (const char* name : {"mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b"}) {
    attributes.numbers[name] = chance(99) ? 0.4f : number();
  }
  const int64_t n = pick(1, 2), c = chance(99) ? size() : one_of<int64_t>({512, 4096, 4097}), h = size(), w = size();
  const auto one_or_each = [&] { return chance(50) ? shape({}) : shape({c}); };
  switch (pick(0, 12)) {
    case 0:
      return call<MotionWarp>(attributes, {shape({n, c, h, w}), shape({n, size(), size(), 2})});
    case 1:
      return call<LocalAttention>(attributes, {shape({n, c, h, w}), shape({n, c, h, w}), shape({n, c, h, w})});
    case 2: {
      const int64_t classes = pick(1, 20);
      return call<Creff>(attributes, {shape({n, c, size(), size()}), shape({n, c, h, w}), shape({n, size(), size(), 2}),
                                      shape({c, 1, 3, 3}), shape({c}), shape({c, 1, 3, 3}), shape({c}),
                                      shape({c, 1, 3, 3}), shape({c}), shape({classes, c, 1, 1}), shape({classes})});
    }
    case 3:
      return call<SegmentationLabels>(attributes, {shape({n, pick(1, 40), h, w}), shape({2}), shape({2})});
    case 4:
      return call<NormalizeImage>(attributes, {shape({n, h, w, 3}), shape({2})});
    case 5:
      return call_published();
    case 6: {
      const Shape each = one_or_each();
      return call<MotionWarpUint8>(attributes, {shape({n, c, h, w}), shape({n, size(), size(), 2}), each, each});
    }
    case 7: {
      const int64_t classes = pick(1, 20);
      const Shape each = one_or_each();
      return call<CreffUint8>(
          attributes, {shape({n, c, size(), size()}), shape({n, c, h, w}), shape({n, size(), size(), 2}),
                       shape({c, 1, 3, 3}), shape({c}), shape({c, 1, 3, 3}), shape({c}), shape({c, 1, 3, 3}),
                       shape({c}), shape({classes, c, 1, 1}), shape({classes}), each, each});
    }
    case 8:
      return call<NormalizeImageUint8>(attributes, {shape({n, h, w, 3}), shape({2}), shape({}), shape({})});
    case 9:
      return call_block_luma();
    case 10:
      return call_follow();
    case 11:
      return call_difference();
    default:
      return call_vectors();
  }
}

}  // namespace
}  // namespace arseg

int main(int argc, char** argv) {
  const long cases = argc > 1 ? std::atol(argv[1]) : 100000;
  const long seed = argc > 2 ? std::atol(argv[2]) : 0;
  arseg::random_bits.seed(static_cast<unsigned long>(seed));
  long outcomes[arseg::kOutcomes] = {};
  for (long i = 0; i < cases; ++i) ++outcomes[arseg::one_case()];
  std::printf("%ld cases, seed %ld: %ld ran, %ld refused, %ld too large to run\n", cases, seed, outcomes[arseg::kRan],
              outcomes[arseg::kRefused], outcomes[arseg::kOnlyChecked]);
  return 0;
}
