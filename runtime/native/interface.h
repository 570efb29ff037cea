// The number of what Python and models expect of the library: its C functions for Python, and its operators' inputs,
// attributes and meaning. Whoever changes one of them adds 1 here and in `runtime/native/__init__.py`, so that a library
// that was built before is not used with sources that have gone on.

#pragma once

namespace arseg {

constexpr int kInterface = 7;

}  // namespace arseg
