// Kernels for every step, monitored or not; one launch each.

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

// A function object, because NVRTC does not support generic lambdas here.
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

// One block: computes the L2 norm of all tensors of a table, and found_inf: 1 if the sum of their squares is not finite
// in f32, the dtype of second moments, else 0. An optimizer must skip the step if it is 1. Rows are `stride` numbers
// apart.
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

// One block per piece: restores saved elements: all of them if `found_inf` is not 0, otherwise only those that are not
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

// One thread: counts a step with a non-finite gradient (`found_inf`) or a skipped one (`not_taken`). `failure` is the
// value that `found_inf` adds to the failures in a row; null means 1. `heard` receives the norm, infinity for a skipped
// step, or the negative norm for a step applied with finite values in place of a non-finite gradient.
extern "C" __global__ void __launch_bounds__(THREADS) step_outcome(const float* found_inf, const float* not_taken,
    const float* failure, const double* norm, float* skipped, float* in_a_row, double* heard) {
    if (threadIdx.x != 0) return;
    const bool is_bad = *found_inf != 0.0f, is_left = *not_taken != 0.0f;
    if (is_bad || is_left) *skipped += 1.0f;
    const float more = is_bad && failure ? *failure : 1.0f;
    *in_a_row = is_bad || is_left ? *in_a_row + more : 0.0f;
    *heard = is_left ? __longlong_as_double(0x7ff0000000000000) : is_bad ? -*norm : *norm;
}

} // namespace gradwatch::kernels
