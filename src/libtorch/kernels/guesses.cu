// Counts the predictions of a batch by class.

#include "device.h"

namespace gradwatch::kernels {

namespace guesses {

// Ranks predictions: NaN before any number, then larger logits; ties go to the lower index.
__device__ inline bool is_before(double value, i64 index, double other, i64 other_index) {
    const bool is_nan = value != value, other_is_nan = other != other;
    if (is_nan != other_is_nan) return is_nan;
    if (is_nan || value == other) return index < other_index;
    return value > other;
}

// Running result over some logits of a row.
struct Seen {
    double largest;
    i64 guess; // negative if there are none
    i64 before_label;

    __device__ void add(const Seen& other) {
        before_label += other.before_label;
        if (other.guess < 0 || (guess >= 0 && is_before(largest, guess, other.largest, other.guess))) return;
        largest = other.largest;
        guess = other.guess;
    }
};

struct Look {
    u64 row;
    i64 classes, label;

    template <typename T>
    __device__ Seen operator()(Type<T>) const {
        const T* logits = reinterpret_cast<const T*>(row);
        const double of_label = wide(logits[label]);
        Seen seen = {0.0, -1, 0};
        for (i64 i = threadIdx.x; i < classes; i += THREADS) {
            const double logit = wide(logits[i]);
            seen.add({logit, i, is_before(logit, i, of_label, label) ? 1 : 0});
        }
        return seen;
    }
};

struct Number {
    u64 address;

    template <typename T>
    __device__ double operator()(Type<T>) const { return wide(*reinterpret_cast<const T*>(address)); }
};

__device__ inline u64 size_of(i32 dtype) { return dtype == F64 ? 8 : dtype == F32 ? 4 : 2; }

// Integer addition is exact in any order.
__device__ inline void count(i64* counts, i64 index) { atomicAdd(reinterpret_cast<u64*>(counts) + index, 1ull); }

} // namespace guesses

// One block per image: adds its prediction to `totals` and `counts`; see GuessBatch.
extern "C" __global__ void __launch_bounds__(THREADS) count_guesses(const GuessBatch batch) {
    __shared__ guesses::Seen shared[THREADS];
    const i64 image = blockIdx.x, classes = batch.classes;
    double* totals = reinterpret_cast<double*>(batch.totals);
    if (image == 0 && threadIdx.x == 0) totals[0] += with_type(batch.loss_dtype, guesses::Number{batch.loss});
    const i64 label = reinterpret_cast<const i64*>(batch.labels)[image];
    // An invalid label has no entry in the counts.
    if (label < 0 || label >= classes) return;
    const u64 row = batch.logits + u64(image * batch.row_stride) * guesses::size_of(batch.dtype);
    shared[threadIdx.x] = with_type(batch.dtype, guesses::Look{row, classes, label});
    add_up(shared, threadIdx.x, THREADS);
    if (threadIdx.x != 0) return;
    const i64 guess = shared[0].guess;
    const bool is_hit = guess == label;
    if (shared[0].before_label < 5) atomicAdd(totals + 1, 1.0);
    if (is_hit) atomicAdd(totals + 2, 1.0);
    i64* counts = reinterpret_cast<i64*>(batch.counts);
    if (batch.is_matrix) {
        guesses::count(counts, label * classes + guess);
    } else {
        guesses::count(counts, label);
        guesses::count(counts, classes + guess);
        if (is_hit) guesses::count(counts, 2 * classes + label);
    }
    if (batch.places) reinterpret_cast<i64*>(batch.places)[image] = label * classes + guess;
}

} // namespace gradwatch::kernels
