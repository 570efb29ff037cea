// What the test programs share: attributes from a map, and threads that are none.

#pragma once

#include <map>
#include <string>

#include "operators/operators.h"

namespace arseg {

struct MapAttributes final : Attributes {
  std::map<std::string, std::string> strings;
  std::map<std::string, int64_t> integers;
  std::map<std::string, float> numbers;

  std::string string(const char* name) const override {
    require(strings.count(name) == 1, "attribute ", name, " is missing or not a string");
    return strings.at(name);
  }
  int64_t integer(const char* name, int64_t otherwise) const override {
    return integers.count(name) == 1 ? integers.at(name) : otherwise;
  }
  float number(const char* name) const override {
    require(numbers.count(name) == 1, "attribute ", name, " is missing or not a float");
    return numbers.at(name);
  }
};

struct InlineThreads final : Threads {
  void run(int64_t count, Task task, void* context) const override {
    for (int64_t i = 0; i < count; ++i) task(context, i);
  }
};

inline int64_t elements(const Shape& shape) {
  int64_t count = 1;
  for (int axis = 0; axis < shape.rank; ++axis) count *= shape[axis];
  return count;
}

}  // namespace arseg
