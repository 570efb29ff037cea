#include <cmath>

#include "operators/operators.h"

namespace arseg {

NormalizeImage::NormalizeImage(const Attributes& attributes) {
  const char* const means[] = {"mean_r", "mean_g", "mean_b"};
  const char* const deviations[] = {"std_r", "std_g", "std_b"};
  for (int colour = 0; colour < 3; ++colour) {
    mean_[colour] = attributes.number(means[colour]);
    std_[colour] = attributes.number(deviations[colour]);
    require(std::isfinite(mean_[colour]), "attribute ", means[colour], " is ", mean_[colour], ", expected a number");
    require(std::isnormal(std_[colour]) && std_[colour] > 0, "attribute ", deviations[colour], " is ", std_[colour],
            ", expected a number above 0");
  }
}

Shape NormalizeImage::output_shape(const Tensor* inputs) const {
  const Shape& frame = inputs[0].shape;
  require_shape(inputs[0], "frame", {kAny, kAny, kAny, 3});
  require_pixels("frame", frame[1], frame[2]);
  require(frame[2] <= kMaxSide, "frame has shape ", frame, ", at most ", kMaxSide, " pixels wide is supported");
  const Size size = size_input(inputs[1]);
  return {4, {frame[0], 3, size.height, size.width}};
}

NormalizeImageArguments NormalizeImage::arguments(const Tensor* inputs) const {
  const Shape& frame = inputs[0].shape;
  const Size size = size_input(inputs[1]);
  NormalizeImageArguments arguments{};
  arguments.batch = frame[0];
  arguments.height = frame[1], arguments.width = frame[2];
  arguments.output_height = size.height, arguments.output_width = size.width;
  for (int colour = 0; colour < 3; ++colour) {
    arguments.mean[colour] = mean_[colour];
    arguments.std[colour] = std_[colour];
  }
  arguments.frame = inputs[0].bytes();
  return arguments;
}

void NormalizeImage::compute(const Tensor* inputs, void* output, const Threads& threads) const {
  NormalizeImageArguments call = arguments(inputs);
  call.output = static_cast<float*>(output);
  run_kernel(kernels_.normalize_image, call, scratch_, threads);
}

Shape NormalizeImageUint8::output_shape(const Tensor* inputs) const {
  require_quantisation("image", inputs[2], inputs[3], 1);
  return NormalizeImage::output_shape(inputs);
}

void NormalizeImageUint8::compute(const Tensor* inputs, void* output, const Threads& threads) const {
  NormalizeImageArguments call = arguments(inputs);
  call.output_bytes = static_cast<uint8_t*>(output);
  call.scale = inputs[2].floats()[0];
  call.zero_point = inputs[3].bytes()[0];
  run_kernel(kernels_.normalize_image, call, scratch_, threads);
}

}  // namespace arseg
