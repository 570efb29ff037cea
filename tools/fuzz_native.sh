#!/bin/sh
# Builds the native operators with address and undefined-behaviour sanitizers and throws random hostile calls at them:
#   tools/fuzz_native.sh [cases = 100000] [seed = 0]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${ARSEG_FUZZ_BUILD:-$root/build/fuzz}
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DARSEG_SANITIZE=address,undefined \
  -DARSEG_NATIVE_TESTS=ON >/dev/null
cmake --build "$build" --target fuzz --parallel 2 >/dev/null
exec "$build/fuzz" "${1:-100000}" "${2:-0}"
