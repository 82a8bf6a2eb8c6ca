#!/usr/bin/env bash
# Builds the simulated device: build.sh LIB OUT creates OUT/torch/lib, a copy of the lib folder LIB of libtorch with the
# simulated libtorch_cuda.so instead of the real one. The headers are next to LIB. An interrupted build is rebuilt.
set -euo pipefail
lib=$(realpath "${1:?the lib folder of libtorch}") out=${2:?a folder for the simulated device}
mkdir -p "$out/torch/lib"
out=$(realpath "$out")
cd "$(dirname "$0")"
readonly CXX=${CXX:-c++}
readonly INCLUDES=(-I"$lib/../include" -I"$lib/../include/torch/csrc/api/include" -I.)
# ops_cuda.inc is checked in; to regenerate it for another libtorch: PYTHON=(one with yaml) gen_ops.py WHEEL
# ops_cuda.inc
"$CXX" -std=c++17 -O2 -fPIC -Wno-unknown-pragmas -c ../kernels/emulated.cpp -o "$out/kernels.o"
"$CXX" -std=c++20 -O1 -g1 -fPIC -shared -fopenmp -Wno-psabi "${INCLUDES[@]}" simcuda.cpp "$out/kernels.o" \
    -o "$out/torch/lib/libtorch_cuda.so.new" -L"$lib" -ltorch_cpu -lc10 -Wl,-soname,libtorch_cuda.so
for file in "$lib"/*; do
    [ "${file##*/}" = libtorch_cuda.so ] || ln -sfn "$file" "$out/torch/lib/${file##*/}"
done
"${CC:-cc}" -O1 -fno-delete-null-pointer-checks -shared -fPIC driver.c -o "$out/driver.so"
mv "$out/torch/lib/libtorch_cuda.so.new" "$out/torch/lib/libtorch_cuda.so"
# libtorch finds NVIDIA libraries relative to its own location.
[ ! -d "$lib/../../nvidia" ] || ln -sfn "$lib/../../nvidia" "$out/nvidia"
