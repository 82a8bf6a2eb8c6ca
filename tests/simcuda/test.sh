#!/usr/bin/env bash
# Runs the GPU tests on the simulated device, and the tests of whole runs with device "auto" selecting it.
set -euo pipefail
cd "$(dirname "$0")/../.."
readonly OUT=target/simcuda
tests/simcuda/build.sh "${LIBTORCH:-.libtorch}/lib" "$OUT"
export LD_LIBRARY_PATH=$PWD/$OUT/torch/lib XDG_CACHE_HOME=$PWD/$OUT/cache
# The timeline needs a clock, which the simulation does not have.
# One at a time: the tests draw from one generator.
cargo test --locked --test cuda -- --ignored --test-threads=1 --skip the_timeline_of_a_gpu
# A filter matches a part of the name, so "checkpoints::" would also select the tests of kept checkpoints, and "crash::"
# those of ranks, which need NCCL.
LD_PRELOAD=$PWD/$OUT/driver.so cargo test --locked --test program --test library -- \
    checkpoints:: crash:: numerics:: inference:: grad_cam:: torchscript:: \
    --skip kept_checkpoints:: --skip ranks::crash::
