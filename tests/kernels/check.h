// Shared code of the checks: tensors as raw bytes with slow reference readers, launches, and failure counting.
#pragma once

#include "../../src/libtorch/kernels/types.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

extern "C" bool gradwatch_emulate(const char* kernel, unsigned grid, unsigned block, void** params);
extern "C" void gradwatch_emulate_descending(bool descending);

namespace check {

using namespace gradwatch::kernels;

inline int failures = 0;

// Prints one line per failure, for the first hundred failures.
inline void expect(bool holds, const char* format, ...) {
    if (holds || ++failures > 100) return;
    va_list arguments;
    va_start(arguments, format);
    std::vprintf(format, arguments);
    va_end(arguments);
    std::printf("\n");
}

inline bool is_close(double got, double want, double scale) {
    return got == want || (std::isnan(got) && std::isnan(want)) || std::fabs(got - want) <= 1e-12 * scale;
}

template <typename... Arguments>
void launch(const char* kernel, size_t grid, Arguments... arguments) {
    if (grid == 0) return;
    void* params[] = {&arguments...};
    expect(gradwatch_emulate(kernel, unsigned(grid), THREADS, params), "there is no kernel %s", kernel);
}

inline const Dtype DTYPES[] = {F32, F64, F16, BF16};
inline const char* name(i32 dtype) {
    return dtype == F32 ? "f32" : dtype == F64 ? "f64" : dtype == F16 ? "f16" : "bf16";
}
inline size_t size_of(i32 dtype) { return dtype == F64 ? 8 : dtype == F32 ? 4 : 2; }

// Decodes a floating-point number with `mantissa` fraction bits and `exponent` exponent bits.
inline double decode(uint64_t bits, int exponent, int mantissa) {
    const auto fraction = double(bits & ((1ull << mantissa) - 1));
    const int biased = int(bits >> mantissa & ((1ull << exponent) - 1)), bias = (1 << (exponent - 1)) - 1;
    const double sign = bits >> (mantissa + exponent) & 1 ? -1.0 : 1.0;
    if (biased == 2 * bias + 1) return fraction == 0.0 ? sign * INFINITY : NAN;
    if (biased == 0) return sign * std::ldexp(fraction, 1 - bias - mantissa);
    return sign * std::ldexp(fraction + std::ldexp(1.0, mantissa), biased - bias - mantissa);
}

// Encodes the nearest number, ties to even; at most 15 bits of magnitude.
inline uint16_t encode(double value, int exponent, int mantissa) {
    const auto sign = uint16_t(std::signbit(value) ? 0x8000 : 0);
    const auto infinity = uint16_t(((1 << exponent) - 1) << mantissa);
    if (std::isnan(value)) return sign | infinity | 1;
    const int bias = (1 << (exponent - 1)) - 1;
    const double magnitude = std::fabs(value);
    const int power = magnitude == 0.0 || std::isinf(magnitude) ? 1 - bias : std::max(std::ilogb(magnitude), 1 - bias);
    const double steps = std::nearbyint(std::ldexp(magnitude, mantissa - power)); // 2^mantissa or more if the number is normal
    if (std::isinf(magnitude) || power > bias) return sign | infinity;
    // A carry out of the fraction goes into the exponent, and finally to infinity.
    return uint16_t(sign | uint16_t(int64_t(steps) + (int64_t(power - 1 + bias) << mantissa)));
}

// A tensor in memory, with a start address that is aligned only to its element size.
class Tensor {
public:
    Tensor(i32 dtype, size_t count, size_t misalignment = 0)
        : dtype_(dtype), count_(count), first_(misalignment * size_of(dtype)),
          bytes_(first_ + count * size_of(dtype) + 32) {
        // A vector's memory is aligned to 16 bytes; NaN guards surround the elements.
        std::memset(bytes_.data(), 0xff, bytes_.size());
    }

    i32 dtype() const { return dtype_; }
    size_t count() const { return count_; }
    u64 address(size_t index = 0) const {
        return reinterpret_cast<u64>(bytes_.data()) + first_ + index * size_of(dtype_);
    }

    uint64_t bits(size_t index) const {
        uint64_t bits = 0;
        std::memcpy(&bits, reinterpret_cast<const char*>(address(index)), size_of(dtype_));
        return bits;
    }
    void set_bits(size_t index, uint64_t bits) {
        std::memcpy(reinterpret_cast<char*>(address(index)), &bits, size_of(dtype_));
    }
    double get(size_t index) const {
        switch (dtype_) {
        case F32: return decode(bits(index), 8, 23);
        case F64: return decode(bits(index), 11, 52);
        case F16: return decode(bits(index), 5, 10);
        default: return decode(bits(index), 8, 7);
        }
    }
    void set(size_t index, double value) {
        const auto single = float(value);
        uint64_t bits = 0;
        if (dtype_ == F64) std::memcpy(&bits, &value, 8);
        else if (dtype_ == F32) std::memcpy(&bits, &single, 4);
        else bits = dtype_ == F16 ? encode(value, 5, 10) : encode(value, 8, 7);
        set_bits(index, bits);
    }
    bool has_guards() const {
        const auto end = first_ + count_ * size_of(dtype_);
        for (size_t i = 0; i < bytes_.size(); ++i)
            if ((i < first_ || i >= end) && bytes_[i] != 0xff) return false;
        return true;
    }

private:
    i32 dtype_;
    size_t count_, first_;
    std::vector<unsigned char> bytes_;
};

inline std::mt19937_64& random_bits() {
    static std::mt19937_64 generator(7);
    return generator;
}

inline Tensor normal(i32 dtype, size_t count, double deviation, size_t misalignment = 0) {
    Tensor tensor(dtype, count, misalignment);
    std::normal_distribution<double> draw(0.0, deviation);
    for (size_t i = 0; i < count; ++i) tensor.set(i, draw(random_bits()));
    return tensor;
}

// Numbers at the ends of some dtype's range, infinities, and NaN.
inline const double ODD[] = {0.0, -0.0, 0x1p-149, -0x1p-149, 0x1.fffffcp-127, 0x1p-126, -0x1p-126, 0x1p-24, -0x1p-24,
    0x1.ff8p-15, 0x1p-14, -0x1p-14, 1.0, -0x1.fffffep0, 2.0, 65504.0, -65504.0, 65536.0, 0x1.fep127, 0x1.fffffep127,
    -0x1.fffffep127, INFINITY, -INFINITY, NAN, -NAN, 0x1p-1074, 0x1p-1022, -0x1p-1022, 0x1p-1023, 0x1p-127, 0x1p128,
    -0x1.fffffffffffffp1023};

// Runs `body` three times: twice in the same order and once with the last thread first. The returned bytes must not
// change.
template <typename Body>
auto always_the_same(const char* what, Body body) {
    const auto first = body(), second = body();
    gradwatch_emulate_descending(true);
    const auto third = body();
    gradwatch_emulate_descending(false);
    const auto same = [&](const auto& other) {
        return first.size() == other.size() &&
            (first.empty() || std::memcmp(first.data(), other.data(), first.size() * sizeof(first[0])) == 0);
    };
    expect(same(second), "%s: two runs differ", what);
    expect(same(third), "%s: the order of threads matters", what);
    return first;
}

void check_table();
void check_units();
void check_activation();
void check_step();
void check_guesses();
void check_pixels();

} // namespace check
