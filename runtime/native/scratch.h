// Working memory that outlives a call: an operator allocates on its first run and when its input grows, not after.

#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace arseg {

// A free list, as one session may be run from several threads and one run uses several threads.
class ScratchPool {
 public:
  class Lease;

 private:
  static constexpr std::align_val_t kAlignment{64};

  struct Buffer {
    explicit Buffer(size_t bytes);
    ~Buffer() { ::operator delete(data, kAlignment); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    void* data;
    size_t size;
  };

  std::unique_ptr<Buffer> take(size_t bytes);
  void give_back(std::unique_ptr<Buffer> buffer) noexcept;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Buffer>> free_;
};

// One buffer, held while in scope. Throws std::bad_alloc.
class ScratchPool::Lease {
 public:
  Lease(ScratchPool& pool, size_t bytes) : pool_(pool), buffer_(pool.take(bytes)) {}
  ~Lease() { pool_.give_back(std::move(buffer_)); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  void* data() const { return buffer_->data; }

 private:
  ScratchPool& pool_;
  std::unique_ptr<Buffer> buffer_;
};

}  // namespace arseg
