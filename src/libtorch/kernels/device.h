// Shared code of the kernels: elements of every dtype, a pass over them, and sums that do not depend on scheduling.
#pragma once

#include "types.h"

namespace gradwatch::kernels {

// A half and a bfloat16 as bits; their CUDA headers are not available to NVRTC here.
struct Half {
    u16 bits;
};
struct BFloat16 {
    u16 bits;
};

// Converts an element to a type that represents it exactly.
__device__ inline float wide(float value) { return value; }
__device__ inline double wide(double value) { return value; }
__device__ inline float wide(BFloat16 value) { return __uint_as_float(u32(value.bits) << 16); }
__device__ inline float wide(Half value) {
    const u32 sign = u32(value.bits & 0x8000) << 16, exponent = value.bits >> 10 & 31, mantissa = value.bits & 1023;
    // Denormals of half are normal in f32: an integer times 2^-24.
    const u32 small = __float_as_uint(float(mantissa) * 0x1p-24f);
    const u32 normal = (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13;
    return __uint_as_float(sign | (exponent == 0 ? small : normal));
}

// Rounds to the nearest element, ties to even.
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
    // Just above 0.5, f32 has steps of 2^-24, the step of a half's denormals: the sum rounds like they do.
    if (size < 0x38800000) return {u16(sign | (__float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000))};
    return {u16(sign | ((size - (112 << 23) + 0xfff + (size >> 13 & 1)) >> 13))};
}

// Magnitude as bits: ordered like the numbers, with NaN above infinity.
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

// N neighboring elements, one load.
template <typename T, u32 N>
struct alignas(sizeof(T) * N) Chunk {
    T elements[N];
};

template <typename T>
constexpr u32 PER_LOAD = 16 / sizeof(T);
// Number of loads that a thread has in flight at a time.
constexpr u32 AHEAD = 4;

template <typename Load>
__device__ bool is_aligned(const void* address) {
    return reinterpret_cast<u64>(address) % alignof(Load) == 0;
}

// Reinterprets the elements at an aligned address as one load.
template <typename Load, typename T>
__device__ Load& as_one(T* elements) {
    return *reinterpret_cast<Load*>(elements);
}

// Calls `body` with the elements that belong to thread `lane` of `lanes`. The selection of elements and their order do
// not depend on the address, so neither do sums.
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

// Adds up the shared-memory values of `lanes` neighboring threads, a power of two, in a fixed tree; the first of them
// receives the sum. All threads of the block must call it, with the same `lanes`.
template <typename T>
__device__ void add_up(T* shared, u32 thread, u32 lanes) {
    for (u32 half = lanes / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread % lanes < half) shared[thread].add(shared[thread + half]);
    }
    __syncthreads();
}

} // namespace gradwatch::kernels
