// Sums over floats in one pass; see sums.h.

#include "sums.h"

#include "lanes.h"

#include <algorithm>
#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gradwatch {

namespace {

[[gnu::always_inline]] inline void add_rest(const float* values, int64_t count, Sums& total) {
    for (int64_t i = 0; i < count; ++i) {
        const double value = values[i];
        total.squares += value * value;
        total.sum += value;
        total.largest = std::max(total.largest, std::bit_cast<int32_t>(values[i]) & 0x7fffffff);
    }
}

// Several sums at a time, so that none waits for the one before it.
template <bool WITH_SUM>
[[gnu::always_inline]] inline Sums sums_of(const float* values, int64_t count) {
    Doubles squares[4] = {}, sums[2] = {};
    Ints largest = {};
    constexpr int64_t STRIDE = 4 * WIDE_LANES;
    const int64_t whole = count - count % STRIDE;
    for (int64_t start = 0; start < whole; start += STRIDE) {
        for (int64_t i = 0; i < 2; ++i) {
            // Squares of f32 are exact in f64, and no sum of them leaves its range.
            const auto* here = values + start + 2 * i * WIDE_LANES;
            const Doubles first = load_wide(here), second = load_wide(here + WIDE_LANES);
            squares[2 * i] += first * first;
            squares[2 * i + 1] += second * second;
            if (WITH_SUM) sums[i] += first + second;
        }
        for (int64_t i = 0; i < STRIDE; i += LANES) {
            Ints magnitude;
            load(values + start + i, magnitude);
            magnitude &= 0x7fffffff;
            largest = magnitude > largest ? magnitude : largest;
        }
    }
    Sums total{sum_of((squares[0] + squares[1]) + (squares[2] + squares[3])), sum_of(sums[0] + sums[1])};
    for (int64_t lane = 0; lane < LANES; ++lane) total.largest = std::max(total.largest, largest[lane]);
    add_rest(values + whole, count - whole, total);
    return total;
}

FOR_THIS_MACHINE Sums portable_norms(const float* values, int64_t count) { return sums_of<false>(values, count); }
FOR_THIS_MACHINE Sums portable_sums(const float* values, int64_t count) { return sums_of<true>(values, count); }

#if defined(__x86_64__)
// The same with eight lanes, and with conversions that the compiler does not find.
template <bool WITH_SUM>
WITH_AVX512 Sums avx512_sums(const float* values, int64_t count) {
    __m512d squares[4] = {}, sums[2] = {};
    __m512i largest[2] = {};
    const auto magnitudes = _mm512_set1_epi32(0x7fffffff);
    constexpr int64_t STRIDE = 32;
    const int64_t whole = count - count % STRIDE;
    for (int64_t start = 0; start < whole; start += STRIDE) {
        const auto* here = values + start;
        __m512d wide[4];
        for (int i = 0; i < 4; ++i) {
            wide[i] = _mm512_cvtps_pd(_mm256_loadu_ps(here + 8 * i));
            squares[i] = _mm512_fmadd_pd(wide[i], wide[i], squares[i]);
        }
        for (int i = 0; i < 2; ++i) {
            if (WITH_SUM) sums[i] = _mm512_add_pd(sums[i], _mm512_add_pd(wide[2 * i], wide[2 * i + 1]));
            const auto bits = _mm512_and_si512(_mm512_loadu_si512(here + 16 * i), magnitudes);
            largest[i] = _mm512_max_epi32(largest[i], bits);
        }
    }
    Sums total;
    total.squares = _mm512_reduce_add_pd((squares[0] + squares[1]) + (squares[2] + squares[3]));
    total.sum = _mm512_reduce_add_pd(sums[0] + sums[1]);
    total.largest = _mm512_reduce_max_epi32(_mm512_max_epi32(largest[0], largest[1]));
    add_rest(values + whole, count - whole, total);
    return total;
}
#else
template <bool WITH_SUM>
Sums avx512_sums(const float* values, int64_t count) { return sums_of<WITH_SUM>(values, count); }
#endif

} // namespace

Sums norm_sums(const float* values, int64_t count) {
    return has_avx512() ? avx512_sums<false>(values, count) : portable_norms(values, count);
}

Sums all_sums(const float* values, int64_t count) {
    return has_avx512() ? avx512_sums<true>(values, count) : portable_sums(values, count);
}

} // namespace gradwatch
