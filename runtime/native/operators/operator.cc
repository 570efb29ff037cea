#include "operators/operator.h"

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

Size size_input(const Tensor& tensor) {
  require_shape(tensor, "size", {2});
  const Size size{tensor.integers()[0], tensor.integers()[1]};
  require(size.height >= 1 && size.width >= 1 && size.height <= kMaxSide && size.width <= kMaxSide, "size is [",
          size.height, ", ", size.width, "], expected 1 to ", kMaxSide, " each");
  return size;
}

}  // namespace arseg
