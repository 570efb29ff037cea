// What an operator is, apart from how ONNX Runtime calls it. An operator class has
//
//     static constexpr Signature signature;
//     explicit Operator(const Attributes&);                   reads its attributes
//     Shape output_shape(const Tensor* inputs) const;         every check, before anything is allocated
//     void compute(const Tensor* inputs, void* output, const Threads&) const;
//
// One whose signature has a second output, which a node may leave out, has
//
//     Shape second_output_shape(const Tensor* inputs) const;
//     void compute(const Tensor* inputs, void* output, void* second_output, const Threads&) const;
//
// instead of the latter, and is given null for what is left out. An operator throws `Error`, or std::bad_alloc, nothing else.

#pragma once

#include <cstdint>
#include <string>

#include "kernels/kernels.h"
#include "scratch.h"
#include "tensor.h"

namespace arseg {

constexpr int kMaxInputs = 13;

struct Signature {
  const char* name;
  int input_count;
  Element inputs[kMaxInputs];
  Element output;
  int same_shape_as = -1;       // the input whose type and shape the output has
  int optional_inputs = 0;      // of `input_count`, the last ones; without data where a node leaves them out
  bool second_output = false;   // of the type of the first; a node may leave it out
};

// Bounds that keep offsets in 32 bits and scratch memory in proportion; far above what any model here uses.
constexpr int64_t kMaxPixels = (int64_t{1} << 31) - 1;  // of one image
constexpr int64_t kMaxChannels = 4096;
constexpr int64_t kMaxKernelSize = 31;
constexpr int64_t kMaxSide = 32768;  // of an image whose size is an input

Sampling sampling_attribute(const Attributes& attributes);
int64_t kernel_size_attribute(const Attributes& attributes);
void require_pixels(const char* name, int64_t height, int64_t width);
void require_channels(const char* name, int64_t channels);

// Height and width from an int64 [2] input.
struct Size {
  int64_t height, width;
};
Size size_input(const Tensor& tensor);

// A feature in bytes, with the scale and zero point that follow from `scale` and `zero_point`: scalars, or one of each
// for every channel. `require_quantisation` checks them.
void require_quantisation(const char* what, const Tensor& scale, const Tensor& zero_point, int64_t channels);
Feature float_feature(const Tensor& feature);
Feature byte_feature(const Tensor& feature, const Tensor& scale, const Tensor& zero_point);

// Runs a kernel's tasks on `threads`, each with scratch memory from `pool`.
template <typename Arguments>
void run_kernel(const Kernel<Arguments>& kernel, const Arguments& arguments, ScratchPool& pool,
                const Threads& threads) {
  struct Call {
    const Kernel<Arguments>& kernel;
    const Arguments& arguments;
    ScratchPool& pool;
    size_t scratch_bytes;
  };
  const Work work = kernel.plan(arguments);
  Call call{kernel, arguments, pool, work.scratch_bytes};
  threads.run(
      work.tasks,
      [](void* context, int64_t task) {
        Call& call = *static_cast<Call*>(context);
        const ScratchPool::Lease scratch(call.pool, call.scratch_bytes);
        call.kernel.run(call.arguments, task, scratch.data());
      },
      &call);
}

}  // namespace arseg
