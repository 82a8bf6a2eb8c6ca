// SIMD vectors shared by the CPU kernels of this folder.

#pragma once

#include <cstdint>
#include <cstring>

// A 32-byte vector is one register with AVX2 and later; elsewhere the compiler splits it.
#if defined(__x86_64__)
#define FOR_THIS_MACHINE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_THIS_MACHINE
#endif

// For code that runs only if has_avx512() is true.
#if defined(__x86_64__)
#define WITH_AVX512 __attribute__((target("avx512f")))
#else
#define WITH_AVX512
#endif

namespace gradwatch {

inline bool has_avx512() {
#if defined(__x86_64__)
    static const bool has = __builtin_cpu_supports("avx512f");
    return has;
#else
    return false;
#endif
}

constexpr int64_t LANES = 8;
using Ints = int32_t __attribute__((vector_size(32)));
using Floats = float __attribute__((vector_size(32)));
// Half as many lanes, because f64 is twice as wide.
using HalfFloats = float __attribute__((vector_size(16)));
using Doubles = double __attribute__((vector_size(32)));
constexpr int64_t WIDE_LANES = 4;

// Elements of one piece of work. Sums add the pieces in order, so they do not depend on the threads.
constexpr int64_t PIECE = 1 << 16;

template <typename Vector, typename T>
[[gnu::always_inline]] inline void load(const T* values, Vector& vector) {
    memcpy(&vector, values, sizeof vector);
}

// Converts four floats to doubles, exactly.
[[gnu::always_inline]] inline Doubles load_wide(const float* values) {
    HalfFloats narrow;
    load(values, narrow);
    return __builtin_convertvector(narrow, Doubles);
}

template <typename Vector>
[[gnu::always_inline]] inline auto sum_of(const Vector& vector) {
    auto sum = vector[0];
    for (size_t lane = 1; lane < sizeof vector / sizeof sum; ++lane) sum += vector[lane];
    return sum;
}

} // namespace gradwatch
