// What the kernels have in common: elements of every dtype, a pass over them, and sums that scheduling does not change.
#pragma once

#include "types.h"

namespace gradwatch::kernels {

// A half and a bfloat16 by their bits; NVRTC has no header for them.
struct Half {
    u16 bits;
};
struct BFloat16 {
    u16 bits;
};

// An element as a number that holds it exactly.
__device__ inline float wide(float value) { return value; }
__device__ inline double wide(double value) { return value; }
__device__ inline float wide(BFloat16 value) { return __uint_as_float(u32(value.bits) << 16); }
__device__ inline float wide(Half value) {
    const u32 sign = u32(value.bits & 0x8000) << 16, exponent = value.bits >> 10 & 31, mantissa = value.bits & 1023;
    // Denormals are normal as f32: a whole number of 2^-24.
    const u32 small = __float_as_uint(float(mantissa) * 0x1p-24f);
    const u32 normal = (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13;
    return __uint_as_float(sign | (exponent == 0 ? small : normal));
}

// The nearest element, halves to even.
template <typename T>
__device__ T narrow(float value) { return value; }
template <>
__device__ inline BFloat16 narrow<BFloat16>(float value) {
    const u32 bits = __float_as_uint(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return {u16(bits >> 16 | 64)};
    return {u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
template <>
__device__ inline Half narrow<Half>(float value) {
    const u32 bits = __float_as_uint(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return {u16(sign | 0x7e00)};
    if (size >= 0x47800000) return {u16(sign | 0x7c00)}; // from 65536 on
    // Next to 0.5 an f32 has steps of 2^-24, as a half's denormals do: the sum is rounded as they are.
    if (size < 0x38800000) return {u16(sign | (__float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000))};
    return {u16(sign | ((size - (112 << 23) + 0xfff + (size >> 13 & 1)) >> 13))};
}

// The magnitude as bits: ordered like the numbers, with NaN above infinity.
__device__ inline u32 magnitude(float value) { return __float_as_uint(value) & 0x7fffffff; }
__device__ inline u64 magnitude(double value) { return u64(__double_as_longlong(value)) & 0x7fffffffffffffff; }
__device__ inline double from_magnitude(u32 bits) { return __uint_as_float(bits); }
__device__ inline double from_magnitude(u64 bits) { return __longlong_as_double(i64(bits)); }

template <typename T>
struct Type {
    using Of = T;
};

// Calls `body` with the Type of a dtype.
template <typename Body>
__device__ auto with_type(i32 dtype, Body body) {
    switch (dtype) {
    case F32: return body(Type<float>{});
    case F64: return body(Type<double>{});
    case F16: return body(Type<Half>{});
    default: return body(Type<BFloat16>{});
    }
}

// N neighbouring elements, one load.
template <typename T, u32 N>
struct alignas(sizeof(T) * N) Chunk {
    T elements[N];
};

template <typename T>
constexpr u32 PER_LOAD = 16 / sizeof(T);
// Loads that a thread has under way at a time.
constexpr u32 AHEAD = 4;

template <typename Load>
__device__ bool is_aligned(const void* address) {
    return reinterpret_cast<u64>(address) % alignof(Load) == 0;
}

// The elements from an aligned address on, as one load.
template <typename Load, typename T>
__device__ Load& as_one(T* elements) {
    return *reinterpret_cast<Load*>(elements);
}

// Shows `body` the elements that belong to thread `lane` of `lanes`. Which these are, and their order, do not depend on
// the address, so neither do sums.
template <typename T, typename Body>
__device__ void each_element(const T* values, i64 count, u32 lane, u32 lanes, Body body) {
    using Load = Chunk<T, PER_LOAD<T>>;
    constexpr i64 WIDTH = PER_LOAD<T>;
    const i64 step = WIDTH * lanes;
    i64 start = WIDTH * lane;
    const auto show = [&](const Load& load) {
#pragma unroll
        for (u32 i = 0; i < WIDTH; ++i) body(load.elements[i]);
    };
    if (is_aligned<Load>(values)) {
        for (; start + (AHEAD - 1) * step + WIDTH <= count; start += AHEAD * step) {
            Load loads[AHEAD];
#pragma unroll
            for (u32 i = 0; i < AHEAD; ++i) loads[i] = as_one<const Load>(values + start + i * step);
#pragma unroll
            for (u32 i = 0; i < AHEAD; ++i) show(loads[i]);
        }
        for (; start + WIDTH <= count; start += step) show(as_one<const Load>(values + start));
    }
    for (; start < count; start += step) {
        const i64 end = start + WIDTH < count ? start + WIDTH : count;
        for (i64 i = start; i < end; ++i) body(values[i]);
    }
}

// Adds up what `lanes` neighbouring threads, a power of two, have in shared memory: a fixed tree, whose sum is at the
// first of them. All threads of the block call it, with the same `lanes`.
template <typename T>
__device__ void add_up(T* shared, u32 thread, u32 lanes) {
    for (u32 half = lanes / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread % lanes < half) shared[thread].add(shared[thread + half]);
    }
    __syncthreads();
}

} // namespace gradwatch::kernels
