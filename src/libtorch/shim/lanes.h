// Eight elements at a time: what the CPU kernels of this folder share.

#pragma once

#include <cstdint>
#include <cstring>

// Vectors of other sizes than the machine's are split by the compiler; the clones only say which machine.
#if defined(__x86_64__)
#define FOR_THIS_MACHINE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_THIS_MACHINE
#endif

namespace gradwatch {

using Floats = float __attribute__((vector_size(32)));
using Ints = int32_t __attribute__((vector_size(32)));
using Doubles = double __attribute__((vector_size(64)));
constexpr int64_t LANES = 8;

// Elements of one piece of work. Sums are made piece by piece in this order, so they do not depend on the threads.
constexpr int64_t PIECE = 1 << 16;

[[gnu::always_inline]] inline void load(const float* values, Floats& value) {
    memcpy(&value, values, sizeof value);
}

} // namespace gradwatch
