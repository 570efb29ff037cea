#!/bin/sh
# Cross-compiles the native operators for aarch64 and runs their tests under emulation. Needs, on Debian:
#   apt-get install g++-aarch64-linux-gnu qemu-user
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${ARSEG_AARCH64_BUILD:-$root/build/aarch64}
emulator=$(command -v qemu-aarch64)
cmake -S "$root" -B "$build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DARSEG_NATIVE_TESTS=ON >/dev/null
cmake --build "$build" --parallel 2 >/dev/null
for program in "kernels_test" "motion_test" "fuzz ${1:-5000}"; do
  # shellcheck disable=SC2086 # a program and its argument
  "$emulator" -L /usr/aarch64-linux-gnu "$build"/$program
done
