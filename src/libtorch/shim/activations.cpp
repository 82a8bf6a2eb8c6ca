// Sums over the inputs and outputs of one layer's activation, in one pass over both.

#include "kernels.h"
#include "lanes.h"
#include "shim.h"

#include <ATen/Parallel.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

using namespace gradwatch;

namespace {

struct ActivationSums {
    double squares = 0.0, sum = 0.0, nonpositive = 0.0, flat = 0.0;
};

FOR_THIS_MACHINE void add_activations(
    const float* inputs, const float* outputs, int64_t count, float low, float high, ActivationSums& out) {
    Doubles squares[2] = {}, sums[2] = {};
    Ints nonpositive = {}, flat = {};
    const int64_t whole = count - count % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        Floats input, output;
        load(inputs + i, input);
        load(outputs + i, output);
        for (int64_t half = 0; half < 2; ++half) {
            const Doubles wide = load_wide(outputs + i + half * WIDE_LANES);
            squares[half] += wide * wide;
            sums[half] += wide;
        }
        nonpositive -= output <= 0.0f;
        flat -= (input <= low) | (input >= high);
    }
    out.squares += sum_of(squares[0] + squares[1]);
    out.sum += sum_of(sums[0] + sums[1]);
    out.nonpositive += sum_of(nonpositive);
    out.flat += sum_of(flat);
    for (int64_t i = whole; i < count; ++i) {
        out.squares += double(outputs[i]) * outputs[i];
        out.sum += outputs[i];
        out.nonpositive += outputs[i] <= 0.0f;
        out.flat += inputs[i] <= low || inputs[i] >= high;
    }
}

at::Tensor cpu_activation_sums(const at::Tensor& inputs, const at::Tensor& outputs, double low, double high) {
    const int64_t count = inputs.numel(), pieces = (count + PIECE - 1) / PIECE;
    std::vector<ActivationSums> sums(static_cast<size_t>(pieces));
    at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
        for (int64_t piece = begin; piece < end; ++piece) {
            const int64_t start = piece * PIECE;
            add_activations(inputs.const_data_ptr<float>() + start, outputs.const_data_ptr<float>() + start,
                std::min(PIECE, count - start), float(low), float(high), sums[size_t(piece)]);
        }
    });
    auto result = at::zeros({4}, at::kDouble);
    auto* total = result.mutable_data_ptr<double>();
    for (const auto& piece : sums) {
        total[0] += piece.squares;
        total[1] += piece.sum;
        total[2] += piece.nonpositive;
        total[3] += piece.flat;
    }
    return result;
}

at::Tensor aten_activation_sums(const at::Tensor& inputs, const at::Tensor& outputs, double low, double high) {
    const auto count = [](const at::Tensor& is_it) { return is_it.sum(at::kLong).to(at::kDouble); };
    return at::stack({outputs.to(at::kDouble).square().sum(), outputs.sum(at::kDouble), count(outputs.le(0)),
        count(inputs.le(low).logical_or(inputs.ge(high)))});
}

} // namespace

extern "C" {

char* gw_activation_sums(at::Tensor* inputs, at::Tensor* outputs, double low, double high, at::Tensor** out) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto is_float = [](const at::Tensor& tensor) { return tensor.is_cpu() && tensor.scalar_type() == at::kFloat; };
        // The kernel walks through memory element by element, so both tensors need the same memory layout.
        const bool are_alike = inputs->is_non_overlapping_and_dense() && outputs->is_non_overlapping_and_dense() &&
            inputs->strides() == outputs->strides();
        const auto sums = !are_alike                        ? aten_activation_sums
            : is_float(*inputs) && is_float(*outputs)       ? cpu_activation_sums
            : gpu::has_kernels(*inputs)                     ? gpu::activation_sums
                                                            : aten_activation_sums;
        *out = new at::Tensor(sums(*inputs, *outputs, low, high));
    });
}
}
