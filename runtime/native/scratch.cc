#include "scratch.h"

#include <cstring>

namespace arseg {

// Cleared once, so that the lanes which kernels compute and throw away never meet denormals.
ScratchPool::Buffer::Buffer(size_t bytes) : data(::operator new(bytes, kAlignment)), size(bytes) {
  std::memset(data, 0, bytes);
}

std::unique_ptr<ScratchPool::Buffer> ScratchPool::take(size_t bytes) {
  std::unique_ptr<Buffer> buffer;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      buffer = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (!buffer || buffer->size < bytes) {
    buffer.reset();
    buffer = std::make_unique<Buffer>(bytes);
  }
  return buffer;
}

void ScratchPool::give_back(std::unique_ptr<Buffer> buffer) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  try {
    free_.push_back(std::move(buffer));
  } catch (const std::bad_alloc&) {
    // The list could not grow: the buffer is freed instead of kept.
  }
}

}  // namespace arseg
