// Tensors, attributes and threads as the operators see them, independent of ONNX Runtime.

#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <sstream>
#include <string>
#include <utility>

namespace arseg {

enum class Element { kFloat = 1, kUint8 = 2, kInt64 = 7 };  // values: ONNX's TensorProto.DataType

constexpr int kMaxRank = 8;

struct Shape {
  int rank = 0;
  int64_t dims[kMaxRank] = {};

  int64_t operator[](int axis) const { return dims[axis]; }
};

struct Tensor {
  Element element = Element::kFloat;
  Shape shape;
  const void* data = nullptr;

  const float* floats() const { return static_cast<const float*>(data); }
  const uint8_t* bytes() const { return static_cast<const uint8_t*>(data); }
  const int64_t* integers() const { return static_cast<const int64_t*>(data); }
};

// What an operator refuses to do; one line with the offending values.
class Error : public std::exception {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

inline std::ostream& operator<<(std::ostream& stream, const Shape& shape) {
  stream << '[';
  for (int axis = 0; axis < shape.rank; ++axis) stream << (axis ? ", " : "") << shape.dims[axis];
  return stream << ']';
}

template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

// Throws `Error` unless `condition`; the parts are only formatted then.
template <typename... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) throw Error(text(parts...));
}

constexpr int64_t kAny = -1;

// Throws `Error` unless the tensor has this rank and these sizes; `kAny` stands for any size of at least 1.
void require_shape(const Tensor& tensor, const char* name, std::initializer_list<int64_t> expected);

// A node's attributes. Each getter throws `Error` for an attribute of another type, or without a value and a default.
class Attributes {
 public:
  virtual ~Attributes() = default;
  virtual std::string string(const char* name) const = 0;
  virtual int64_t integer(const char* name, int64_t otherwise) const = 0;
  virtual float number(const char* name) const = 0;
};

// Where an operator's work is spread. `run` calls `task(context, i)` once for every i in [0, count), on any threads and
// in any order, returns when all are done, and throws what a task threw.
class Threads {
 public:
  using Task = void (*)(void* context, int64_t index);
  virtual ~Threads() = default;
  virtual void run(int64_t count, Task task, void* context) const = 0;
};

}  // namespace arseg
