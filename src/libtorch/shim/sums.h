// Sums over floats in one pass, in f64.

#pragma once

#include <cstdint>

namespace gradwatch {

// What one pass over some elements tells.
struct Sums {
    double squares = 0.0, sum = 0.0;
    int32_t largest = 0; // magnitude, as bits: ordered like the numbers, with NaN above infinity
};

// The squares and the largest are the same bit for bit with and without the sum.
Sums norm_sums(const float* values, int64_t count);
Sums all_sums(const float* values, int64_t count);

} // namespace gradwatch
