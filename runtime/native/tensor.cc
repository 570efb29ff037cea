#include "tensor.h"

namespace arseg {

void require_shape(const Tensor& tensor, const char* name, std::initializer_list<int64_t> expected) {
  bool fits = tensor.shape.rank == static_cast<int>(expected.size());
  int axis = 0;
  for (const int64_t size : expected) {
    fits = fits && (size == kAny ? tensor.shape[axis] >= 1 : tensor.shape[axis] == size);
    ++axis;
  }
  if (fits) return;
  std::ostringstream wanted;
  for (const int64_t size : expected) {
    wanted << (wanted.tellp() > 0 ? ", " : "");
    size == kAny ? wanted << ">=1" : wanted << size;
  }
  throw Error(text(name, " has shape ", tensor.shape, ", expected [", wanted.str(), "]"));
}

}  // namespace arseg
