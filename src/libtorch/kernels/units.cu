// Units of tensors (rows of neighboring elements): their squared norms, the factors of adaptive gradient clipping (see
// src/clipping/agc.rs), and scaling each row by its factor.

#include "device.h"

namespace gradwatch::kernels {

namespace units {

// Number of threads per row: a power of two, so that each has a few loads and short rows share a block.
template <typename T>
__device__ u32 lanes_of(i64 length) {
    u32 lanes = 1;
    while (lanes < THREADS && i64(2 * lanes * PER_LOAD<T> * AHEAD) <= length) lanes *= 2;
    return lanes;
}

struct Total {
    double value;

    __device__ void add(const Total& other) { value += other.value; }
};

// A function object, because NVRTC does not support generic lambdas here.
struct AddSquares {
    const UnitPiece& piece;
    double* partials;
    Total* shared;

    template <typename T>
    __device__ void operator()(Type<T>) const {
        const u32 thread = threadIdx.x, lanes = lanes_of<T>(piece.length), groups = THREADS / lanes;
        // Each group processes every `groups`-th row. All threads take part in each round, at least in its barriers.
        for (i64 first = 0; first < piece.rows; first += groups) {
            const i64 row = first + thread / lanes;
            const bool is_there = row < piece.rows;
            double squares = 0.0;
            if (is_there) {
                const T* values = reinterpret_cast<const T*>(piece.address) + row * piece.length;
                each_element(values, piece.length, thread % lanes, lanes, [&](T element) {
                    const double number = wide(element);
                    squares = fma(number, number, squares);
                });
            }
            shared[thread].value = squares;
            add_up(shared, thread, lanes);
            if (is_there && thread % lanes == 0) partials[piece.partial + row] = shared[thread].value;
        }
    }
};

// Multiplies in f32, with the factor as f32, and rounds once; f64 stays in f64.
template <typename T>
struct Scaling {
    float scale;
    __device__ explicit Scaling(double factor) : scale(float(factor)) {}
    __device__ T operator()(T element) const { return narrow<T>(wide(element) * scale); }
};
template <>
struct Scaling<double> {
    double scale;
    __device__ explicit Scaling(double factor) : scale(factor) {}
    __device__ double operator()(double element) const { return element * scale; }
};

struct Scale {
    const UnitPiece& piece;
    const double* factors;

    template <typename T>
    __device__ void operator()(Type<T>) const {
        using Load = Chunk<T, PER_LOAD<T>>;
        constexpr i64 WIDTH = PER_LOAD<T>;
        const u32 lanes = lanes_of<T>(piece.length), groups = THREADS / lanes;
        for (i64 row = threadIdx.x / lanes; row < piece.rows; row += groups) {
            const Scaling<T> scaled(factors[piece.unit + row]);
            if (scaled.scale == 1) continue;
            T* values = reinterpret_cast<T*>(piece.address) + row * piece.length;
            const bool aligned = is_aligned<Load>(values);
            for (i64 start = WIDTH * (threadIdx.x % lanes); start < piece.length; start += WIDTH * lanes) {
                if (aligned && start + WIDTH <= piece.length) {
                    Load& place = as_one<Load>(values + start);
                    Load load = place;
#pragma unroll
                    for (u32 i = 0; i < WIDTH; ++i) load.elements[i] = scaled(load.elements[i]);
                    place = load;
                } else {
                    for (i64 i = start; i < start + WIDTH && i < piece.length; ++i) values[i] = scaled(values[i]);
                }
            }
        }
    }
};

// Sums the parts of a unit, in order.
__device__ inline double squares_of(const double* partials, i64 first, i64 unit, i32 parts) {
    const double* of_unit = partials + first + unit * parts;
    double squares = 0.0;
    for (i32 part = 0; part < parts; ++part) squares += of_unit[part];
    return squares;
}

// Smaller gradient norms count as this norm, to avoid a division by 0.
constexpr double SMALLEST_NORM = 1e-6;

__device__ inline double factor_of(double gradient_squares, double weight_squares, double clip_factor, double eps) {
    const double norm = sqrt(gradient_squares), weights = sqrt(weight_squares);
    // NaN stays NaN, and a comparison with NaN never clips.
    const double largest = (weights < eps ? eps : weights) * clip_factor;
    return norm > largest ? largest / (norm < SMALLEST_NORM ? SMALLEST_NORM : norm) : 1.0;
}

struct Outcome {
    UnitOutcome all;

    __device__ void add(const Outcome& other) {
        if (other.all.smallest < all.smallest) all.smallest = other.all.smallest;
        all.clipped += other.all.clipped;
        all.lost += other.all.lost;
    }
};

} // namespace units

// One block per piece.
extern "C" __global__ void __launch_bounds__(THREADS) unit_pieces(const UnitPiece* pieces, double* partials) {
    __shared__ units::Total shared[THREADS];
    const UnitPiece piece = pieces[blockIdx.x];
    with_type(piece.dtype, units::AddSquares{piece, partials, shared});
}

// One block per tensor: computes the squared norm of each unit of its gradient and, unless `totals` is null, of the
// whole gradient.
extern "C" __global__ void __launch_bounds__(THREADS)
unit_squares(const UnitTensor* tensors, const double* partials, double* squares, double* totals) {
    __shared__ units::Total shared[THREADS];
    const UnitTensor tensor = tensors[blockIdx.x];
    units::Total total = {0.0};
    for (i64 unit = threadIdx.x; unit < tensor.units; unit += THREADS) {
        const double of_unit = units::squares_of(partials, tensor.gradients, unit, tensor.gradient_parts);
        squares[tensor.unit + unit] = of_unit;
        total.value += of_unit;
    }
    if (!totals) return;
    shared[threadIdx.x] = total;
    add_up(shared, threadIdx.x, THREADS);
    if (threadIdx.x == 0) totals[blockIdx.x] = shared[0].value;
}

// One block per tensor: computes the factor of each unit (1 if it is not clipped) and the effect on the tensor.
// `gradients` and `weights` may be the same list of partial sums. If `found_inf`, which may be null, is not 0, clips
// nothing.
extern "C" __global__ void __launch_bounds__(THREADS) unit_factors(const UnitTensor* tensors, const double* gradients,
    const double* weights, double clip_factor, double eps, const float* found_inf, double* factors,
    UnitOutcome* outcomes) {
    using namespace units;
    __shared__ Outcome shared[THREADS];
    const UnitTensor tensor = tensors[blockIdx.x];
    const bool is_clipped = !found_inf || *found_inf == 0.0f;
    Outcome seen = {{1.0, 0.0, 0.0}};
    for (i64 unit = threadIdx.x; unit < tensor.units; unit += THREADS) {
        const double squares = squares_of(gradients, tensor.gradients, unit, tensor.gradient_parts);
        const double of_weights = squares_of(weights, tensor.weights, unit, tensor.weight_parts);
        const double factor = is_clipped ? factor_of(squares, of_weights, clip_factor, eps) : 1.0;
        factors[tensor.unit + unit] = factor;
        if (factor < 1.0) seen.add({{factor, 1.0, squares * (1.0 - factor * factor)}});
    }
    shared[threadIdx.x] = seen;
    add_up(shared, threadIdx.x, THREADS);
    if (threadIdx.x == 0) outcomes[blockIdx.x] = shared[0].all;
}

// One block per piece: multiplies its elements by the factors of their units. Reads and writes nothing for a factor of
// 1.
extern "C" __global__ void __launch_bounds__(THREADS) unit_scale(const UnitPiece* pieces, const double* factors) {
    const UnitPiece piece = pieces[blockIdx.x];
    with_type(piece.dtype, units::Scale{piece, factors});
}

// One block: adds up the clip results of all tensors, whose gradients had the L2 norm `total_norm`.
extern "C" __global__ void __launch_bounds__(THREADS)
unit_summary(const UnitOutcome* outcomes, i32 tensors, const double* total_norm, UnitSummary* summary) {
    using namespace units;
    __shared__ Outcome shared[THREADS];
    Outcome seen = {{1.0, 0.0, 0.0}};
    for (i32 tensor = i32(threadIdx.x); tensor < tensors; tensor += i32(THREADS)) seen.add({outcomes[tensor]});
    shared[threadIdx.x] = seen;
    add_up(shared, threadIdx.x, THREADS);
    if (threadIdx.x != 0) return;
    const UnitOutcome& all = shared[0].all;
    const double before = *total_norm, left = before * before - all.lost;
    // NaN stays NaN.
    const double norm = sqrt(left < 0.0 ? 0.0 : left), ratio = norm / before;
    // The difference is NaN unless the ratio is finite.
    *summary = {norm, all.clipped, ratio - ratio == 0.0 ? float(ratio) : 1.0f, 0};
}

} // namespace gradwatch::kernels
