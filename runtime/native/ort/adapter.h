// Between ONNX Runtime and the operators: inputs, attributes, threads and errors. No exception passes it.

#pragma once

#include <exception>
#include <memory>
#include <new>

#include "operators/operator.h"
#include "ort/abi.h"

namespace arseg {

class OrtAttributes final : public Attributes {
 public:
  OrtAttributes(const OrtFunctions& ort, const OrtKernelInfo* info) : ort_(ort), info_(info) {}
  std::string string(const char* name) const override;
  int64_t integer(const char* name, int64_t otherwise) const override;
  float number(const char* name) const override;

 private:
  enum class Type { kAbsent, kString, kInteger, kNumber };
  Type type_of(const char* name) const;

  const OrtFunctions& ort_;
  const OrtKernelInfo* info_;
};

// The session's own intra-op threads.
class OrtThreads final : public Threads {
 public:
  OrtThreads(const OrtFunctions& ort, const OrtKernelContext* context) : ort_(ort), context_(context) {}
  void run(int64_t count, Task task, void* context) const override;

 private:
  const OrtFunctions& ort_;
  const OrtKernelContext* context_;
};

// Throws what a status says, and releases it; nothing for null, which is success.
void check(const OrtFunctions& ort, OrtStatus* status);

void read_inputs(const OrtFunctions& ort, const OrtKernelContext* context, const Signature& signature, Tensor* inputs);
size_t output_count(const OrtFunctions& ort, const OrtKernelContext* context);
void* make_output(const OrtFunctions& ort, OrtKernelContext* context, size_t index, const Shape& shape);
void copy_input_shape(const OrtFunctions& ort, OrtShapeInferContext* context, int input);

// Runs `action` and turns what it throws into a status that names the operator.
template <typename Action>
OrtStatus* guarded(const OrtFunctions& ort, const char* name, const Action& action) noexcept {
  try {
    action();
    return nullptr;
  } catch (const Error& error) {
    try {
      return ort.CreateStatus(ORT_INVALID_ARGUMENT, text("arseg.", name, ": ", error.what()).c_str());
    } catch (...) {
      return ort.CreateStatus(ORT_INVALID_ARGUMENT, error.what());
    }
  } catch (const std::bad_alloc&) {
    return ort.CreateStatus(ORT_RUNTIME_EXCEPTION, "arseg: out of memory");
  } catch (const std::exception& error) {
    return ort.CreateStatus(ORT_RUNTIME_EXCEPTION, error.what());
  } catch (...) {
    return ort.CreateStatus(ORT_RUNTIME_EXCEPTION, "arseg: unknown exception");
  }
}

// One operator class as ONNX Runtime's table of functions.
template <typename Operator>
class Adapter final : public OrtCustomOp {
 public:
  explicit Adapter(const OrtFunctions& functions) : OrtCustomOp{}, ort_(functions) {
    version = kOrtApiVersion;
    GetName = [](const OrtCustomOp*) { return Operator::signature.name; };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // the CPU's
    GetInputTypeCount = [](const OrtCustomOp*) { return static_cast<size_t>(Operator::signature.input_count); };
    GetInputType = [](const OrtCustomOp*, size_t i) {
      return static_cast<ONNXTensorElementDataType>(Operator::signature.inputs[i]);
    };
    GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{Operator::signature.second_output ? 2 : 1}; };
    GetOutputType = [](const OrtCustomOp*, size_t) {
      return static_cast<ONNXTensorElementDataType>(Operator::signature.output);
    };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t i) {
      const int required = Operator::signature.input_count - Operator::signature.optional_inputs;
      return i < static_cast<size_t>(required) ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
    };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t i) {
      return i == 0 ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
    };
    GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
    GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
    GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = create;
    KernelComputeV2 = compute;
    KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    if constexpr (Operator::signature.same_shape_as >= 0) InferOutputShapeFn = infer_shape;
  }

 private:
  struct Kernel {
    const OrtFunctions& ort;
    Operator op;
  };

  static OrtStatus* ARSEG_ORT_CALL create(const OrtCustomOp* self, const OrtApi*, const OrtKernelInfo* info,
                                          void** kernel) {
    const OrtFunctions& ort = static_cast<const Adapter*>(self)->ort_;
    return guarded(ort, Operator::signature.name, [&] {
      *kernel = new Kernel{ort, Operator(OrtAttributes(ort, info))};
    });
  }

  static OrtStatus* ARSEG_ORT_CALL compute(void* opaque, OrtKernelContext* context) {
    const Kernel& kernel = *static_cast<const Kernel*>(opaque);
    return guarded(kernel.ort, Operator::signature.name, [&] {
      Tensor inputs[kMaxInputs];
      read_inputs(kernel.ort, context, Operator::signature, inputs);
      void* const output = make_output(kernel.ort, context, 0, kernel.op.output_shape(inputs));
      const OrtThreads threads(kernel.ort, context);
      if constexpr (Operator::signature.second_output) {
        const bool wanted = output_count(kernel.ort, context) > 1;
        void* const second =
            wanted ? make_output(kernel.ort, context, 1, kernel.op.second_output_shape(inputs)) : nullptr;
        kernel.op.compute(inputs, output, second, threads);
      } else {
        kernel.op.compute(inputs, output, threads);
      }
    });
  }

  static OrtStatus* ARSEG_ORT_CALL infer_shape(const OrtCustomOp* self, OrtShapeInferContext* context) {
    const OrtFunctions& ort = static_cast<const Adapter*>(self)->ort_;
    return guarded(ort, Operator::signature.name,
                   [&] { copy_input_shape(ort, context, Operator::signature.same_shape_as); });
  }

  const OrtFunctions& ort_;
};

}  // namespace arseg
