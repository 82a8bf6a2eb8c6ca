#!/usr/bin/env bash
# Tests that the simulated device detects errors: selftest.sh LIB OUT, after build.sh LIB OUT.
set -euo pipefail
lib=$(realpath "${1:?}") out=$(realpath "${2:?}")
cd "$(dirname "$0")"
"${CXX:-c++}" -std=c++20 -O0 -I"$lib/../include" -I"$lib/../include/torch/csrc/api/include" selftest.cpp -o "$out/selftest" \
    -L"$out/torch/lib" -ltorch_cpu -lc10 -Wl,-rpath,"$out/torch/lib" -Wl,--disable-new-dtags \
    -Wl,--unresolved-symbols=ignore-in-shared-libs
"$out/selftest" "$out/torch/lib/libtorch_cuda.so"
