// Sums over floats in one pass, in f64.

#pragma once

#include <cstdint>

namespace gradwatch {

// Sums of one pass over some elements.
struct Sums {
    double squares = 0.0, sum = 0.0;
    int32_t largest = 0; // magnitude, as bits: ordered like the numbers, with NaN above infinity
};

// The squares and the largest element are bit-identical with and without the sum.
Sums norm_sums(const float* values, int64_t count);
Sums all_sums(const float* values, int64_t count);
// Sums the squares of the elements clamped to -bound and bound. `largest` is from before the clamp. NaN stays NaN.
Sums clamped_sums(const float* values, int64_t count, float bound);

} // namespace gradwatch
