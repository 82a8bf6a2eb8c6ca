// What every step needs, tracked or not, in one launch each.

#include "device.h"

namespace gradwatch::kernels {

namespace step {

struct Total {
    double value;

    __device__ void add(const Total& other) { value += other.value; }
};

// Infinity minus infinity is NaN.
template <typename T>
__device__ bool is_finite(T value) { return value - value == 0; }

// A function object, since NVRTC takes no generic lambdas.
struct Restore {
    const BufferPiece& piece;
    bool is_skipped;

    template <typename T>
    __device__ void operator()(Type<T>) const {
        T* live = reinterpret_cast<T*>(piece.live);
        const T* saved = reinterpret_cast<const T*>(piece.saved);
        for (i64 i = threadIdx.x; i < piece.count; i += THREADS)
            if (is_skipped || !is_finite(wide(live[i]))) live[i] = saved[i];
    }
};

} // namespace step

// One block: the L2 norm of all tensors of a table, and 1 if an optimizer must not step on them, else 0. It must not if the
// sum of their squares is not finite as f32, in which second moments are kept. Rows are `stride` numbers apart.
extern "C" __global__ void __launch_bounds__(THREADS)
table_total(const double* table, i32 rows, i64 stride, TableTotal* total) {
    __shared__ step::Total shared[THREADS];
    step::Total seen = {0.0};
    for (i32 row = i32(threadIdx.x); row < rows; row += i32(THREADS)) seen.value += table[row * stride + SQUARES];
    shared[threadIdx.x] = seen;
    add_up(shared, threadIdx.x, THREADS);
    if (threadIdx.x != 0) return;
    const double squares = shared[0].value;
    *total = {sqrt(squares), step::is_finite(float(squares)) ? 0.0f : 1.0f, 0};
}

// One block per piece: takes elements back to what was saved, all of them if `found_inf` is not 0, else those that are not
// finite.
extern "C" __global__ void __launch_bounds__(THREADS) restore_buffers(const BufferPiece* pieces, const float* found_inf) {
    const BufferPiece piece = pieces[blockIdx.x];
    const bool is_skipped = *found_inf != 0.0f;
    if (piece.dtype != I64) {
        with_type(piece.dtype, step::Restore{piece, is_skipped});
    } else if (is_skipped) {
        i64* live = reinterpret_cast<i64*>(piece.live);
        const i64* saved = reinterpret_cast<const i64*>(piece.saved);
        for (i64 i = threadIdx.x; i < piece.count; i += THREADS) live[i] = saved[i];
    }
}

} // namespace gradwatch::kernels
