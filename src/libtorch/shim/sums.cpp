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

// An extra sum or operation of a pass, in addition to the squares and the largest element.
enum Extra { NOTHING, SUM, CLAMP };

template <Extra EXTRA, typename Value>
[[gnu::always_inline]] inline Value clamped(Value value, Value bound) {
    if (EXTRA != CLAMP) return value;
    const Value least = -bound, above = value < least ? least : value;
    return above > bound ? bound : above;
}

template <Extra EXTRA>
[[gnu::always_inline]] inline void add_rest(const float* values, int64_t count, float bound, Sums& total) {
    for (int64_t i = 0; i < count; ++i) {
        const double value = clamped<EXTRA>(values[i], bound);
        total.squares += value * value;
        total.sum += value;
        total.largest = std::max(total.largest, std::bit_cast<int32_t>(values[i]) & 0x7fffffff);
    }
}

// Keeps several sums at a time, so that none waits for the previous one.
template <Extra EXTRA>
[[gnu::always_inline]] inline Doubles load_clamped(const float* values, HalfFloats bound) {
    HalfFloats narrow;
    load(values, narrow);
    return __builtin_convertvector(clamped<EXTRA>(narrow, bound), Doubles);
}

template <Extra EXTRA>
[[gnu::always_inline]] inline Sums sums_of(const float* values, int64_t count, float bound = 0.0f) {
    const HalfFloats bounds = {bound, bound, bound, bound};
    Doubles squares[4] = {}, sums[2] = {};
    Ints largest = {};
    constexpr int64_t STRIDE = 4 * WIDE_LANES;
    const int64_t whole = count - count % STRIDE;
    for (int64_t start = 0; start < whole; start += STRIDE) {
        for (int64_t i = 0; i < 2; ++i) {
            // Squares of f32 are exact in f64, and their sums stay in its range.
            const auto* here = values + start + 2 * i * WIDE_LANES;
            const Doubles first = load_clamped<EXTRA>(here, bounds), second = load_clamped<EXTRA>(here + WIDE_LANES, bounds);
            squares[2 * i] += first * first;
            squares[2 * i + 1] += second * second;
            if (EXTRA == SUM) sums[i] += first + second;
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
    add_rest<EXTRA>(values + whole, count - whole, bound, total);
    return total;
}

FOR_THIS_MACHINE Sums portable_norms(const float* values, int64_t count) { return sums_of<NOTHING>(values, count); }
FOR_THIS_MACHINE Sums portable_sums(const float* values, int64_t count) { return sums_of<SUM>(values, count); }
FOR_THIS_MACHINE Sums portable_clamped(const float* values, int64_t count, float bound) {
    return sums_of<CLAMP>(values, count, bound);
}

#if defined(__x86_64__)
// The same with eight lanes, and with conversions that the compiler does not generate by itself.
template <Extra EXTRA>
WITH_AVX512 Sums avx512_sums(const float* values, int64_t count, float bound = 0.0f) {
    const auto most = _mm256_set1_ps(bound), least = _mm256_set1_ps(-bound);
    __m512d squares[4] = {}, sums[2] = {};
    __m512i largest[2] = {};
    const auto magnitudes = _mm512_set1_epi32(0x7fffffff);
    constexpr int64_t STRIDE = 32;
    const int64_t whole = count - count % STRIDE;
    for (int64_t start = 0; start < whole; start += STRIDE) {
        const auto* here = values + start;
        __m512d wide[4];
        for (int i = 0; i < 4; ++i) {
            auto narrow = _mm256_loadu_ps(here + 8 * i);
            // If one operand is NaN, these return the second operand.
            if (EXTRA == CLAMP) narrow = _mm256_min_ps(most, _mm256_max_ps(least, narrow));
            wide[i] = _mm512_cvtps_pd(narrow);
            squares[i] = _mm512_fmadd_pd(wide[i], wide[i], squares[i]);
        }
        for (int i = 0; i < 2; ++i) {
            if (EXTRA == SUM) sums[i] = _mm512_add_pd(sums[i], _mm512_add_pd(wide[2 * i], wide[2 * i + 1]));
            const auto bits = _mm512_and_si512(_mm512_loadu_si512(here + 16 * i), magnitudes);
            largest[i] = _mm512_max_epi32(largest[i], bits);
        }
    }
    Sums total;
    total.squares = _mm512_reduce_add_pd((squares[0] + squares[1]) + (squares[2] + squares[3]));
    total.sum = _mm512_reduce_add_pd(sums[0] + sums[1]);
    total.largest = _mm512_reduce_max_epi32(_mm512_max_epi32(largest[0], largest[1]));
    add_rest<EXTRA>(values + whole, count - whole, bound, total);
    return total;
}
#else
template <Extra EXTRA>
Sums avx512_sums(const float* values, int64_t count, float bound = 0.0f) { return sums_of<EXTRA>(values, count, bound); }
#endif

} // namespace

Sums norm_sums(const float* values, int64_t count) {
    return has_avx512() ? avx512_sums<NOTHING>(values, count) : portable_norms(values, count);
}

Sums all_sums(const float* values, int64_t count) {
    return has_avx512() ? avx512_sums<SUM>(values, count) : portable_sums(values, count);
}

Sums clamped_sums(const float* values, int64_t count, float bound) {
    return has_avx512() ? avx512_sums<CLAMP>(values, count, bound) : portable_clamped(values, count, bound);
}

} // namespace gradwatch
