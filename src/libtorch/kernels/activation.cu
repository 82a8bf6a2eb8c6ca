// Sums over the inputs and outputs of activations: one launch processes the pieces of all taps, another adds them up.

#include "device.h"

namespace gradwatch::kernels {

namespace activation {

struct Sums {
    ActivationSums all;

    __device__ void add(const Sums& other) {
        all.squares += other.all.squares;
        all.sum += other.all.sum;
        all.nonpositive += other.all.nonpositive;
        all.flat += other.all.flat;
    }
};

// Like each_element, for two lists whose elements may differ in size.
template <typename In, typename Out, typename Body>
__device__ void each_pair(const In* inputs, const Out* outputs, i64 count, Body body) {
    constexpr u32 WIDTH = 16 / (sizeof(In) > sizeof(Out) ? sizeof(In) : sizeof(Out)), PAIRS_AHEAD = AHEAD / 2;
    using Inputs = Chunk<In, WIDTH>;
    using Outputs = Chunk<Out, WIDTH>;
    constexpr i64 STEP = i64(WIDTH) * THREADS;
    i64 start = i64(WIDTH) * threadIdx.x;
    if (is_aligned<Inputs>(inputs) && is_aligned<Outputs>(outputs))
        for (; start + (PAIRS_AHEAD - 1) * STEP + WIDTH <= count; start += PAIRS_AHEAD * STEP) {
            Inputs in[PAIRS_AHEAD];
            Outputs out[PAIRS_AHEAD];
#pragma unroll
            for (u32 i = 0; i < PAIRS_AHEAD; ++i) {
                in[i] = as_one<const Inputs>(inputs + start + i * STEP);
                out[i] = as_one<const Outputs>(outputs + start + i * STEP);
            }
#pragma unroll
            for (u32 i = 0; i < PAIRS_AHEAD; ++i)
#pragma unroll
                for (u32 j = 0; j < WIDTH; ++j) body(in[i].elements[j], out[i].elements[j]);
        }
    for (; start < count; start += STEP)
        for (i64 i = start; i < start + WIDTH && i < count; ++i) body(inputs[i], outputs[i]);
}

// Function objects, because NVRTC does not support generic lambdas here: first by the inputs' dtype, then by the
// outputs'.
template <typename In>
struct LookAtBoth {
    const ActivationPiece& piece;

    template <typename Out>
    __device__ Sums operator()(Type<Out>) const {
        using Number = decltype(wide(In{}));
        // Compares in f32 if the inputs are no wider, as libtorch does.
        const auto low = Number(piece.low), high = Number(piece.high);
        double squares = 0.0, sum = 0.0;
        u32 nonpositive = 0, flat = 0;
        each_pair(reinterpret_cast<const In*>(piece.inputs), reinterpret_cast<const Out*>(piece.outputs), piece.count,
            [&](In in, Out out) {
                const auto input = wide(in);
                const auto output = wide(out);
                const double number = output;
                squares = fma(number, number, squares);
                sum += number;
                nonpositive += output <= 0 ? 1 : 0;
                flat += input <= low || input >= high ? 1 : 0;
            });
        return {{squares, sum, double(nonpositive), double(flat)}};
    }
};

struct Look {
    const ActivationPiece& piece;

    template <typename In>
    __device__ Sums operator()(Type<In>) const {
        return with_type(piece.output_dtype, LookAtBoth<In>{piece});
    }
};

} // namespace activation

// One block per piece.
extern "C" __global__ void __launch_bounds__(THREADS)
activation_pieces(const ActivationPiece* pieces, ActivationSums* sums) {
    using namespace activation;
    __shared__ Sums shared[THREADS];
    const ActivationPiece piece = pieces[blockIdx.x];
    shared[threadIdx.x] = with_type(piece.input_dtype, Look{piece});
    add_up(shared, threadIdx.x, THREADS);
    if (threadIdx.x == 0) sums[blockIdx.x] = shared[0].all;
}

// One block per tap: adds its pieces in order. One thread per column adds; the others load for it.
extern "C" __global__ void __launch_bounds__(THREADS)
activation_sums(const Tap* taps, const ActivationSums* sums, ActivationSums* totals) {
    constexpr u32 FIELDS = 4, PIECES = THREADS / FIELDS;
    __shared__ double loaded[THREADS];
    const u32 thread = threadIdx.x, column = thread / 32;
    // The adding threads are in different warps, so that they do not wait for each other.
    const bool adds = thread % 32 == 0 && column < FIELDS;
    const Tap tap = taps[blockIdx.x];
    const double* fields = reinterpret_cast<const double*>(sums + tap.first_piece);
    double total = 0.0;
    for (i32 first = 0; first < tap.pieces; first += i32(PIECES)) {
        const u32 count = u32(tap.pieces - first) < PIECES ? u32(tap.pieces - first) : PIECES;
        if (thread < count * FIELDS) loaded[thread] = fields[u64(first) * FIELDS + thread];
        __syncthreads();
        if (adds)
            for (u32 i = 0; i < count; ++i) total += loaded[i * FIELDS + column];
        __syncthreads();
    }
    if (adds) reinterpret_cast<double*>(totals + blockIdx.x)[column] = total;
}

} // namespace gradwatch::kernels
