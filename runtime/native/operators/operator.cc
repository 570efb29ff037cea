#include "operators/operator.h"

#include <cmath>

namespace arseg {

Sampling sampling_attribute(const Attributes& attributes) {
  const std::string sampling = attributes.string("sampling");
  if (sampling == "published") return Sampling::kPublished;
  require(sampling == "consistent", "attribute sampling is \"", sampling.substr(0, 64),
          "\", expected \"published\" or \"consistent\"");
  return Sampling::kConsistent;
}

int64_t kernel_size_attribute(const Attributes& attributes) {
  const int64_t size = attributes.integer("kernel_size", 7);
  require(size >= 1 && size <= kMaxKernelSize && size % 2 == 1, "attribute kernel_size is ", size,
          ", expected an odd number from 1 to ", kMaxKernelSize);
  return size;
}

void require_pixels(const char* name, int64_t height, int64_t width) {
  require(height <= kMaxPixels / width, name, " is ", height, " x ", width, ", at most ", kMaxPixels,
          " pixels are supported");
}

void require_channels(const char* name, int64_t channels) {
  require(channels <= kMaxChannels, name, " has ", channels, " channels, at most ", kMaxChannels, " are supported");
}

void require_quantisation(const char* what, const Tensor& scale, const Tensor& zero_point, int64_t channels) {
  const bool scalar = scale.shape.rank == 0 || (scale.shape.rank == 1 && scale.shape[0] == 1);
  require(scalar || (scale.shape.rank == 1 && scale.shape[0] == channels), what, "_scale has shape ", scale.shape,
          ", expected [] or [", channels, "]");
  bool same = scale.shape.rank == zero_point.shape.rank;
  for (int axis = 0; same && axis < scale.shape.rank; ++axis) same = scale.shape[axis] == zero_point.shape[axis];
  require(same, what, "_zero_point has shape ", zero_point.shape, ", expected that of the scale, ", scale.shape);
  for (int64_t i = 0; i < (scalar ? 1 : channels); ++i) {
    const float value = scale.floats()[i];
    require(std::isnormal(value) && value > 0, what, "_scale is ", value, ", expected a number above 0");
  }
}

Feature float_feature(const Tensor& feature) { return {feature.floats(), nullptr, nullptr, nullptr, false}; }

Feature byte_feature(const Tensor& feature, const Tensor& scale, const Tensor& zero_point) {
  const bool per_channel = scale.shape.rank == 1 && scale.shape[0] > 1;
  return {nullptr, feature.bytes(), scale.floats(), zero_point.bytes(), per_channel};
}

Size size_input(const Tensor& tensor) {
  require_shape(tensor, "size", {2});
  const Size size{tensor.integers()[0], tensor.integers()[1]};
  require(size.height >= 1 && size.width >= 1 && size.height <= kMaxSide && size.width <= kMaxSide, "size is [",
          size.height, ", ", size.width, "], expected 1 to ", kMaxSide, " each");
  return size;
}

}  // namespace arseg
