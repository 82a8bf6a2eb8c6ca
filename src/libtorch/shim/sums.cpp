// Sums over floats in one pass; see sums.h.

#include "sums.h"

#include "lanes.h"

#include <algorithm>
#include <bit>

namespace gradwatch {

namespace {

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
    for (int64_t i = whole; i < count; ++i) {
        const double value = values[i];
        total.squares += value * value;
        total.sum += value;
        total.largest = std::max(total.largest, std::bit_cast<int32_t>(values[i]) & 0x7fffffff);
    }
    return total;
}

} // namespace

FOR_THIS_MACHINE Sums norm_sums(const float* values, int64_t count) { return sums_of<false>(values, count); }
FOR_THIS_MACHINE Sums all_sums(const float* values, int64_t count) { return sums_of<true>(values, count); }

} // namespace gradwatch
