// The kernels against their contracts written out for one output element at a time: what the Python tests check, for
// machines where only a compiler and an emulator are to be had. Exits with 1 and says where on the first difference.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "program.h"

namespace arseg {
namespace {

std::mt19937 random_bits(0);

struct Image {  // [N, C, h, w]
  Shape shape;
  std::vector<float> data;

  Image(std::initializer_list<int64_t> dims, float scale) {
    for (const int64_t dim : dims) shape.dims[shape.rank++] = dim;
    data.resize(static_cast<size_t>(elements(shape)));
    std::normal_distribution<float> normal(0, scale);
    for (float& value : data) value = normal(random_bits);
  }
  Tensor tensor() const { return {Element::kFloat, shape, data.data()}; }
  double at(int64_t n, int64_t c, int64_t y, int64_t x) const {  // 0 outside
    if (y < 0 || x < 0 || y >= shape[2] || x >= shape[3]) return 0;
    return data[static_cast<size_t>(((n * shape[1] + c) * shape[2] + y) * shape[3] + x)];
  }
};

double bilinear(const Image& image, int64_t n, int64_t c, double y, double x) {
  const double top = std::floor(y), left = std::floor(x), fy = y - top, fx = x - left;
  const auto tap = [&](int64_t i, int64_t j) {
    return image.at(n, c, static_cast<int64_t>(top) + i, static_cast<int64_t>(left) + j);
  };
  return (1 - fy) * ((1 - fx) * tap(0, 0) + fx * tap(0, 1)) + fy * ((1 - fx) * tap(1, 0) + fx * tap(1, 1));
}

double aligned(int64_t i, int64_t from, int64_t to) {
  return to == 1 ? 0.0 : static_cast<double>(i) * static_cast<double>(from - 1) / static_cast<double>(to - 1);
}

double centred(int64_t i, int64_t from, int64_t to) {
  const double position = (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
  return std::fmin(std::fmax(position, 0.0), static_cast<double>(from - 1));
}

// `motion` here is [N, 2, H, W]; the operators take [N, H, W, 2].
double warped(const Image& feature, const Image& motion, bool published, int64_t n, int64_t c, int64_t y, int64_t x) {
  const int64_t h = feature.shape[2], w = feature.shape[3], frame_h = motion.shape[2], frame_w = motion.shape[3];
  if (y < 0 || x < 0 || y >= h || x >= w) return 0;
  const double my = published ? aligned(y, frame_h, h) : centred(y, frame_h, h);
  const double mx = published ? aligned(x, frame_w, w) : centred(x, frame_w, w);
  const double ratio_y = static_cast<double>(h) / static_cast<double>(frame_h);
  const double ratio_x = published ? ratio_y : static_cast<double>(w) / static_cast<double>(frame_w);
  double to_x = static_cast<double>(x) + bilinear(motion, n, 0, my, mx) * ratio_x;
  double to_y = static_cast<double>(y) + bilinear(motion, n, 1, my, mx) * ratio_y;
  if (published) {
    if (w > 1) to_x = to_x * static_cast<double>(w) / static_cast<double>(w - 1) - 0.5;
    if (h > 1) to_y = to_y * static_cast<double>(h) / static_cast<double>(h - 1) - 0.5;
  } else {
    to_x = std::fmin(std::fmax(to_x, 0.0), static_cast<double>(w - 1));
    to_y = std::fmin(std::fmax(to_y, 0.0), static_cast<double>(h - 1));
  }
  return bilinear(feature, n, c, to_y, to_x);
}

std::vector<float> channels_last(const Image& motion) {
  std::vector<float> result;
  for (int64_t n = 0; n < motion.shape[0]; ++n) {
    for (int64_t y = 0; y < motion.shape[2]; ++y) {
      for (int64_t x = 0; x < motion.shape[3]; ++x) {
        for (int64_t axis = 0; axis < 2; ++axis) result.push_back(static_cast<float>(motion.at(n, axis, y, x)));
      }
    }
  }
  return result;
}

// Σ over the window of softmax(query · key) · value[channel]; the two functions give 0 outside the image.
template <typename Query, typename Key, typename Value>
double attended(int64_t channels, int64_t kernel_size, const Query& query, const Key& key, const Value& value) {
  const int64_t pad = kernel_size / 2;
  double total = 0, sum = 0;
  for (int64_t i = -pad; i <= pad; ++i) {
    for (int64_t j = -pad; j <= pad; ++j) {
      double score = 0;
      for (int64_t c = 0; c < channels; ++c) score += query(c) * key(c, i, j);
      total += std::exp(score);
      sum += std::exp(score) * value(i, j);
    }
  }
  return sum / total;
}

void expect_near(double actual, double expected, const char* what, const char* level, int64_t index) {
  if (std::fabs(actual - expected) <= 2e-5 * std::fmax(1.0, std::fabs(expected))) return;
  std::printf("%s, %s, element %lld: %.9g, expected %.9g\n", what, level, static_cast<long long>(index), actual,
              expected);
  std::exit(1);
}

template <typename Operator>
std::vector<float> run(const MapAttributes& attributes, const std::vector<Tensor>& inputs) {
  const Operator op(attributes);
  std::vector<float> output(static_cast<size_t>(elements(op.output_shape(inputs.data()))));
  op.compute(inputs.data(), output.data(), InlineThreads());
  return output;
}

struct Sizes {
  int64_t n, c, h, w, frame_h, frame_w, lr_h, lr_w, classes;
};

constexpr Sizes kSizes[] = {{1, 1, 1, 1, 1, 1, 1, 1, 1},
                            {1, 3, 1, 37, 8, 300, 1, 19, 2},
                            {1, 3, 19, 1, 80, 9, 10, 1, 5},
                            {2, 5, 11, 23, 22, 46, 6, 12, 12}};

template <typename Each>
void for_each_element(const Shape& shape, const Each& each) {
  int64_t index = 0;
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t c = 0; c < shape[1]; ++c) {
      for (int64_t y = 0; y < shape[2]; ++y) {
        for (int64_t x = 0; x < shape[3]; ++x) each(index++, n, c, y, x);
      }
    }
  }
}

void test_warp_and_creff(const Sizes& s, const char* sampling, const char* level) {
  const bool published = sampling[0] == 'p';
  MapAttributes attributes;
  attributes.strings["sampling"] = sampling;
  Image feature({s.n, s.c, s.h, s.w}, 0.5f);
  const Image lr({s.n, s.c, s.lr_h, s.lr_w}, 0.5f);
  const Image motion({s.n, 2, s.frame_h, s.frame_w}, 3.0f);
  const std::vector<float> motion_data = channels_last(motion);
  const Tensor motion_tensor{Element::kFloat, {4, {s.n, s.frame_h, s.frame_w, 2}}, motion_data.data()};

  // The feature is what bytes can say, so that it can be given both ways.
  const float step = 0.015625f;
  const uint8_t zero = 100;
  std::vector<uint8_t> feature_bytes;
  for (float& value : feature.data) {
    feature_bytes.push_back(static_cast<uint8_t>(std::fmin(std::fmax(std::rint(value / step) + zero, 0.0f), 255.0f)));
    value = static_cast<float>(feature_bytes.back() - zero) * step;
  }
  const Tensor byte_tensor{Element::kUint8, feature.shape, feature_bytes.data()};
  const Tensor step_tensor{Element::kFloat, {0, {}}, &step}, zero_tensor{Element::kUint8, {0, {}}, &zero};

  const std::vector<float> warp_bytes =
      run<MotionWarpUint8>(attributes, {byte_tensor, motion_tensor, step_tensor, zero_tensor});
  const std::vector<float> warp = run<MotionWarp>(attributes, {feature.tensor(), motion_tensor});
  for_each_element(feature.shape, [&](int64_t i, int64_t n, int64_t c, int64_t y, int64_t x) {
    expect_near(warp[static_cast<size_t>(i)], warped(feature, motion, published, n, c, y, x), "MotionWarp", level, i);
    expect_near(warp_bytes[static_cast<size_t>(i)], warp[static_cast<size_t>(i)], "MotionWarpUint8", level, i);
  });

  const Image weights[3] = {Image({s.c, 1, 3, 3}, 0.4f), Image({s.c, 1, 3, 3}, 0.4f), Image({s.c, 1, 3, 3}, 0.4f)};
  const Image biases[3] = {Image({s.c}, 0.4f), Image({s.c}, 0.4f), Image({s.c}, 0.4f)};
  const Image head({s.classes, s.c, 1, 1}, 0.4f), head_bias({s.classes}, 0.4f);
  const std::vector<float> logits =
      run<Creff>(attributes, {lr.tensor(), feature.tensor(), motion_tensor, weights[0].tensor(), biases[0].tensor(),
                              weights[1].tensor(), biases[1].tensor(), weights[2].tensor(), biases[2].tensor(),
                              head.tensor(), head_bias.tensor()});
  const std::vector<float> logits_bytes = run<CreffUint8>(
      attributes, {lr.tensor(), byte_tensor, motion_tensor, weights[0].tensor(), biases[0].tensor(),
                   weights[1].tensor(), biases[1].tensor(), weights[2].tensor(), biases[2].tensor(), head.tensor(),
                   head_bias.tensor(), step_tensor, zero_tensor});
  const auto resized = [&](int64_t n, int64_t c, int64_t y, int64_t x) {
    if (y < 0 || x < 0 || y >= s.h || x >= s.w) return 0.0;
    return bilinear(lr, n, c, aligned(y, s.lr_h, s.h), aligned(x, s.lr_w, s.w));
  };
  const auto convolved = [&](int which, int64_t n, int64_t c, int64_t y, int64_t x) {
    if (y < 0 || x < 0 || y >= s.h || x >= s.w) return 0.0;
    double sum = biases[which].data[static_cast<size_t>(c)];
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 0; j < 3; ++j) {
        const int64_t at_y = y + i - 1, at_x = x + j - 1;
        sum += weights[which].at(c, 0, i, j) *
               (which == 0 ? resized(n, c, at_y, at_x) : warped(feature, motion, published, n, c, at_y, at_x));
      }
    }
    return sum;
  };
  const Shape logits_shape{4, {s.n, s.classes, s.h, s.w}};
  for_each_element(logits_shape, [&](int64_t index, int64_t n, int64_t k, int64_t y, int64_t x) {
    if (index % 7 != 0) return;  // the reference is slow
    double sum = head_bias.data[static_cast<size_t>(k)];
    for (int64_t c = 0; c < s.c; ++c) {
      const double attention = attended(
          s.c, 7, [&](int64_t d) { return convolved(0, n, d, y, x); },
          [&](int64_t d, int64_t i, int64_t j) { return convolved(1, n, d, y + i, x + j); },
          [&](int64_t i, int64_t j) { return convolved(2, n, c, y + i, x + j); });
      sum += head.at(k, c, 0, 0) * (resized(n, c, y, x) + attention);
    }
    expect_near(logits[static_cast<size_t>(index)], sum, "Creff", level, index);
    expect_near(logits_bytes[static_cast<size_t>(index)], sum, "CreffUint8", level, index);
  });
}

void test_attention(const Sizes& s, int64_t kernel_size, const char* level) {
  MapAttributes attributes;
  attributes.integers["kernel_size"] = kernel_size;
  const Image query({s.n, s.c, s.h, s.w}, 0.5f), key({s.n, s.c, s.h, s.w}, 0.5f), value({s.n, s.c, s.h, s.w}, 0.5f);
  const std::vector<float> result = run<LocalAttention>(attributes, {query.tensor(), key.tensor(), value.tensor()});
  for_each_element(query.shape, [&](int64_t index, int64_t n, int64_t c, int64_t y, int64_t x) {
    const double expected = attended(
        s.c, kernel_size, [&](int64_t d) { return query.at(n, d, y, x); },
        [&](int64_t d, int64_t i, int64_t j) { return key.at(n, d, y + i, x + j); },
        [&](int64_t i, int64_t j) { return value.at(n, c, y + i, x + j); });
    expect_near(result[static_cast<size_t>(index)], expected, "LocalAttention", level, index);
  });
}

void test_labels(const Sizes& s, bool align_corners, const char* level) {
  constexpr int64_t kUpscale = 4;
  MapAttributes attributes;
  attributes.integers["upscale"] = kUpscale;
  attributes.integers["align_corners"] = align_corners;
  const auto at = [&](int64_t i, int64_t from, int64_t to) {
    return align_corners ? aligned(i, from, to) : centred(i, from, to);
  };
  const Image logits({s.n, s.classes, s.h, s.w}, 1.0f);
  const int64_t size[2] = {s.h * kUpscale - (s.h > 1 ? 3 : 0), s.w * kUpscale};
  const SegmentationLabels op(attributes);
  const Tensor inputs[] = {
      logits.tensor(), {Element::kInt64, {1, {2}}, size}, {Element::kInt64, {1, {2}}, size}};
  std::vector<uint8_t> labels(static_cast<size_t>(elements(op.output_shape(inputs)))), alone(labels.size());
  std::vector<uint8_t> confidence(static_cast<size_t>(elements(op.second_output_shape(inputs))));
  op.compute(inputs, labels.data(), confidence.data(), InlineThreads());
  op.compute(inputs, alone.data(), nullptr, InlineThreads());
  const auto upscaled = [&](int64_t n, int64_t c, int64_t y, int64_t x) {
    return bilinear(logits, n, c, centred(y, s.h, s.h * kUpscale), centred(x, s.w, s.w * kUpscale));
  };
  const Shape labels_shape{4, {s.n, 1, size[0], size[1]}};
  for_each_element(labels_shape, [&](int64_t index, int64_t n, int64_t, int64_t y, int64_t x) {
    const double at_y = at(y, s.h * kUpscale, size[0]), at_x = at(x, s.w * kUpscale, size[1]);
    const auto logit = [&](int64_t c) {
      const int64_t top = static_cast<int64_t>(at_y), left = static_cast<int64_t>(at_x);
      const double fy = at_y - static_cast<double>(top), fx = at_x - static_cast<double>(left);
      const double upper = (1 - fx) * upscaled(n, c, top, left) + (fx > 0 ? fx * upscaled(n, c, top, left + 1) : 0);
      if (fy == 0) return upper;
      const double lower =
          (1 - fx) * upscaled(n, c, top + 1, left) + (fx > 0 ? fx * upscaled(n, c, top + 1, left + 1) : 0);
      return (1 - fy) * upper + fy * lower;
    };
    double highest = logit(0), parts = 0;
    for (int64_t c = 1; c < s.classes; ++c) highest = std::fmax(highest, logit(c));
    for (int64_t c = 0; c < s.classes; ++c) parts += std::exp(logit(c) - highest);
    const size_t pixel = static_cast<size_t>(index);
    expect_near(logit(labels[pixel]), highest, "SegmentationLabels", level, index);
    expect_near(alone[pixel], labels[pixel], "SegmentationLabels", level, index);
    // Within 1 of 255.
    const double off = std::fabs(confidence[pixel] - 255 / parts);
    expect_near(off <= 1 ? 0 : off, 0, "SegmentationLabels' confidence", level, index);
  });
}

void test_normalize(const Sizes& s, const char* level) {
  MapAttributes attributes;
  for (const char* name : {"mean_r", "mean_g", "mean_b"}) attributes.numbers[name] = 0.4f;
  for (const char* name : {"std_r", "std_g", "std_b"}) attributes.numbers[name] = 0.25f;
  Image planes({1, 3, s.h, s.w}, 1.0f);
  std::vector<uint8_t> frame(static_cast<size_t>(s.h * s.w * 3));
  for_each_element(planes.shape, [&](int64_t index, int64_t, int64_t c, int64_t y, int64_t x) {
    const uint8_t value = static_cast<uint8_t>(random_bits() & 255u);
    frame[static_cast<size_t>((y * s.w + x) * 3 + c)] = value;
    planes.data[static_cast<size_t>(index)] = value;
  });
  const int64_t size[2] = {s.lr_h, s.lr_w};
  const std::vector<float> result = run<NormalizeImage>(
      attributes, {{Element::kUint8, {4, {1, s.h, s.w, 3}}, frame.data()}, {Element::kInt64, {1, {2}}, size}});
  const float step = 0.02f;
  const uint8_t zero = 90;
  const NormalizeImageUint8 in_bytes(attributes);
  const Tensor inputs[] = {{Element::kUint8, {4, {1, s.h, s.w, 3}}, frame.data()},
                           {Element::kInt64, {1, {2}}, size},
                           {Element::kFloat, {0, {}}, &step},
                           {Element::kUint8, {0, {}}, &zero}};
  std::vector<uint8_t> bytes(static_cast<size_t>(elements(in_bytes.output_shape(inputs))));
  in_bytes.compute(inputs, bytes.data(), InlineThreads());
  const Shape result_shape{4, {1, 3, s.lr_h, s.lr_w}};
  for_each_element(result_shape, [&](int64_t index, int64_t, int64_t c, int64_t y, int64_t x) {
    const double pixel = bilinear(planes, 0, c, aligned(y, s.h, s.lr_h), aligned(x, s.w, s.lr_w));
    expect_near(result[static_cast<size_t>(index)], (pixel / 255 - 0.4) / 0.25, "NormalizeImage", level, index);
    const double exact = std::fmin(std::fmax((pixel / 255 - 0.4) / 0.25 / step + zero, 0.0), 255.0);
    const double off = std::fabs(bytes[static_cast<size_t>(index)] - exact);
    expect_near(off <= 0.501 ? 0 : off, 0, "NormalizeImageUint8", level, index);
  });
}

int test_level(const char* level) {
  setenv("ARSEG_EDGE_SIMD", level, 1);
  try {
    choose_kernels();
  } catch (const Error& error) {
    std::printf("%s: not here (%s)\n", level, error.what());
    return 0;
  }
  for (const Sizes& s : kSizes) {
    test_warp_and_creff(s, "published", level);
    test_warp_and_creff(s, "consistent", level);
    for (const int64_t kernel_size : {1, 3, 7, 9}) test_attention(s, kernel_size, level);
    for (const bool align_corners : {false, true}) test_labels(s, align_corners, level);
    test_normalize(s, level);
  }
  std::printf("%s: passed\n", level);
  return 1;
}

}  // namespace
}  // namespace arseg

int main() {
  int passed = 0;
  for (const char* level : {"baseline", "avx2", "avx512"}) passed += arseg::test_level(level);
  return passed > 0 ? 0 : 1;
}
