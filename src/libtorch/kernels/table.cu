// Tables of tensor statistics: one launch processes the pieces of all tensors, another adds them up to rows.

#include "device.h"

namespace gradwatch::kernels {

namespace table {

// Partial sums of one thread.
struct Sums {
    double squares, sum;
    u64 largest; // magnitude of a double, as bits

    __device__ void add(const Sums& other) {
        squares += other.squares;
        sum += other.sum;
        if (other.largest > largest) largest = other.largest;
    }
};

__device__ inline u32 count_of(float value) {
    const u32 bits = __float_as_uint(value), magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return COUNT_NANS;
    if (magnitude < 0x00800000) return magnitude == 0 ? COUNT_ZEROS : COUNT_DENORMALS;
    return bits >> 23;
}

__device__ inline u32 count_of(double value) {
    const u64 bits = u64(__double_as_longlong(value)), magnitude = bits & 0x7fffffffffffffff;
    const u32 sign = u32(bits >> 63) << 8;
    const i32 exponent = i32(magnitude >> 52) - 1023;
    if (exponent == 1024) return magnitude > 0x7ff0000000000000 ? COUNT_NANS : sign | 255;
    if (exponent == -1023) return magnitude == 0 ? COUNT_ZEROS : COUNT_DENORMALS;
    return sign | u32((exponent < -126 ? -126 : exponent > 127 ? 127 : exponent) + 127);
}

// Processes a piece. A function object, because NVRTC does not support generic lambdas here. Squares and the largest
// element are bit-identical with and without the distribution.
template <bool WITH_DISTRIBUTION>
struct Look {
    const Piece& piece;
    u32* counters;

    template <typename T>
    __device__ Sums operator()(Type<T>) const {
        Sums seen = {0.0, 0.0, 0};
        decltype(magnitude(wide(T{}))) largest = 0;
        const auto add = [&](T element) {
            const auto value = wide(element);
            const double number = value;
            // Explicit fma, so that the compiler cannot fuse it in only one of the two forms.
            seen.squares = fma(number, number, seen.squares);
            const auto size = magnitude(value);
            if (size > largest) largest = size;
            if (WITH_DISTRIBUTION) {
                seen.sum += number;
                atomicAdd(&counters[count_of(value)], 1u);
            }
        };
        each_element(reinterpret_cast<const T*>(piece.address), piece.count, threadIdx.x, THREADS, add);
        seen.largest = magnitude(from_magnitude(largest));
        return seen;
    }
};

// Each warp has its own counters, because most elements of a tensor share a few exponents.
constexpr u32 WARPS = THREADS / 32;

union Shared {
    u32 counters[WARPS][COUNTS];
    Sums sums[THREADS];
};

} // namespace table

extern "C" __global__ void __launch_bounds__(THREADS)
table_pieces(const Piece* pieces, i32 with_distribution, PieceSums* sums, u32* counts) {
    using namespace table;
    __shared__ Shared shared;
    const u32 thread = threadIdx.x;
    const Piece piece = pieces[blockIdx.x];
    u32* counters = shared.counters[thread / 32];
    if (with_distribution) {
        for (u32 i = thread; i < WARPS * COUNTS; i += THREADS) shared.counters[i / COUNTS][i % COUNTS] = 0;
        __syncthreads();
    }
    const Sums seen = with_distribution ? with_type(piece.dtype, Look<true>{piece, counters})
                                        : with_type(piece.dtype, Look<false>{piece, counters});
    if (with_distribution) {
        __syncthreads();
        for (u32 i = thread; i < COUNTS; i += THREADS) {
            u32 count = 0;
            for (u32 warp = 0; warp < WARPS; ++warp) count += shared.counters[warp][i];
            counts[u64(blockIdx.x) * COUNTS + i] = count;
        }
        __syncthreads();
    }
    shared.sums[thread] = seen;
    add_up(shared.sums, thread, THREADS);
    if (thread == 0) {
        const Sums& all = shared.sums[0];
        sums[blockIdx.x] = {all.squares, all.sum, from_magnitude(all.largest)};
    }
}

namespace table {

// Adds the sums of a tensor's pieces in order. One thread per column adds; the others load for it.
__device__ inline void add_sums(const PieceSums* sums, i32 pieces, i32 with_distribution, double* row) {
    __shared__ PieceSums loaded[THREADS];
    const u32 thread = threadIdx.x;
    double result = 0.0;
    for (i32 first = 0; first < pieces; first += i32(THREADS)) {
        const i32 count = pieces - first < i32(THREADS) ? pieces - first : i32(THREADS);
        if (i32(thread) < count) loaded[thread] = sums[first + i32(thread)];
        __syncthreads();
        // The adding threads are in different warps, so that they do not wait for each other.
        if (thread == 0) {
            for (i32 i = 0; i < count; ++i) result += loaded[i].squares;
        } else if (thread == 32) {
            for (i32 i = 0; i < count; ++i)
                if (loaded[i].largest != loaded[i].largest || loaded[i].largest > result) result = loaded[i].largest;
        } else if (thread == 64) {
            for (i32 i = 0; i < count; ++i) result += loaded[i].sum;
        }
        __syncthreads();
    }
    if (thread == 0) row[SQUARES] = result;
    if (thread == 32) row[LARGEST] = result;
    if (thread == 64 && with_distribution) row[SUM] = result;
}

// Adds the counts of a tensor's pieces: exact in any order.
__device__ inline void add_counts(const u32* counts, i32 pieces, u64* totals) {
    const u32 thread = threadIdx.x;
    static_assert(COUNTS == 2 * THREADS + 1);
    u64 positive = 0, negative = 0, nans = 0;
#pragma unroll 8
    for (i32 piece = 0; piece < pieces; ++piece) {
        const u32* of_piece = counts + u64(piece) * COUNTS;
        positive += of_piece[thread];
        negative += of_piece[thread + THREADS];
        if (thread == 0) nans += of_piece[COUNT_NANS];
    }
    totals[thread] = positive;
    totals[thread + THREADS] = negative;
    if (thread == 0) totals[COUNT_NANS] = nans;
    __syncthreads();
}

} // namespace table

// `columns` is NORM_COLUMNS without the distribution, otherwise COLUMNS.
extern "C" __global__ void __launch_bounds__(THREADS) table_rows(
    const Row* rows, const PieceSums* sums, const u32* counts, i32 with_distribution, double* table, i32 columns) {
    __shared__ u64 totals[COUNTS];
    const u32 thread = threadIdx.x;
    const Row row = rows[blockIdx.x];
    double* out = table + u64(blockIdx.x) * u64(columns);
    table::add_sums(sums + row.first_piece, row.pieces, with_distribution, out);
    if (!with_distribution) return;
    table::add_counts(counts + u64(row.first_piece) * COUNTS, row.pieces, totals);
    // The pieces counted a half's denormals by their exponents in f32.
    const u32 denormal = row.dtype == F16 ? 126 - 14 : 0;
    for (u32 i = thread; i < u32(EXPONENTS); i += THREADS) {
        out[NEGATIVE + i32(i)] = i < denormal ? 0.0 : double(totals[257 + i]);
        out[POSITIVE + i32(i)] = i < denormal ? 0.0 : double(totals[1 + i]);
    }
    if (thread != 0) return;
    u64 denormals = totals[COUNT_DENORMALS];
    for (u32 i = 0; i < denormal; ++i) denormals += totals[257 + i] + totals[1 + i];
    out[ZEROS] = double(totals[COUNT_ZEROS]);
    out[DENORMALS] = double(denormals);
    out[NANS] = double(totals[COUNT_NANS]);
    out[INFINITIES] = double(totals[COUNT_INFINITIES]);
    out[NEGATIVE_INFINITIES] = double(totals[COUNT_NEGATIVE_INFINITIES]);
}

} // namespace gradwatch::kernels
