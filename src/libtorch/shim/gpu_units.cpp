// Units of tensors and sums of activations on a GPU; units.cpp and activations.cpp define them.

#include "kernels.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace gradwatch::gpu {

namespace {

// The pieces of many tensors' units, and slots for their partial sums.
struct Plan {
    std::vector<kernels::UnitPiece> pieces;
    int64_t partials = 0;

    // Adds a tensor's units, whose factors start at index `unit`. Returns the number of partial sums per unit.
    int32_t add(const at::Tensor& tensor, int64_t units, int64_t unit) {
        if (units == 0) return 1;
        const int64_t length = tensor.numel() / units, width = tensor.element_size();
        const auto address = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
        const auto dtype = dtype_of(tensor);
        const int64_t part = piece_size(length);
        const int64_t parts = std::max<int64_t>((length + part - 1) / part, 1);
        if (parts == 1) {
            const int64_t most = std::max<int64_t>(SMALLEST_PIECE / std::max<int64_t>(length, 1), 1);
            for (int64_t first = 0; first < units; first += most)
                pieces.push_back({address + uint64_t(first * length * width), length, partials + first, unit + first,
                    int32_t(std::min(most, units - first)), dtype});
        } else {
            for (int64_t i = 0; i < units * parts; ++i) {
                const int64_t row = i / parts, start = i % parts * part;
                pieces.push_back({address + uint64_t((row * length + start) * width), std::min(part, length - start),
                    partials + i, unit + row, 1, dtype});
            }
        }
        partials += units * parts;
        return int32_t(parts);
    }
};

at::Tensor doubles(c10::IntArrayRef size, c10::Device device) {
    return at::empty(size, at::TensorOptions(at::kDouble).device(device));
}

at::Tensor sum_pieces(const at::Tensor& pieces, size_t count, int64_t partials, c10::Device device) {
    auto sums = doubles({partials}, device);
    launch_with(UNIT_PIECES, device, int64_t(count), pieces.const_data_ptr(), sums.mutable_data_ptr());
    return sums;
}

} // namespace

at::Tensor unit_squares(const std::vector<at::Tensor>& tensors, const int64_t* units) {
    const auto device = tensors.front().device();
    const c10::DeviceGuard guard(device);
    std::vector<at::Tensor> rows; // keeps the copies alive until the launches are queued
    Plan plan;
    std::vector<kernels::UnitTensor> of_tensors;
    int64_t unit = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
        rows.push_back(has_rows(tensors[i], units[i]) ? tensors[i] : tensors[i].contiguous());
        const int64_t first = plan.partials;
        const int32_t parts = plan.add(rows.back(), units[i], unit);
        of_tensors.push_back({first, 0, unit, units[i], parts, 1});
        unit += units[i];
    }
    const auto partials = sum_pieces(on_device(plan.pieces, device), plan.pieces.size(), plan.partials, device);
    // Each unit has one partial sum, so the partial sums are the result.
    if (plan.partials == unit) return partials;
    auto squares = doubles({unit}, device);
    const auto device_tensors = on_device(of_tensors, device);
    double* const no_totals = nullptr;
    launch_with(UNIT_SQUARES, device, int64_t(of_tensors.size()), device_tensors.const_data_ptr(), partials.const_data_ptr(),
        squares.mutable_data_ptr(), no_totals);
    return squares;
}

void scale_units(const std::vector<at::Tensor>& tensors, const int64_t* units, const at::Tensor& factors) {
    const auto device = tensors.front().device();
    const c10::DeviceGuard guard(device);
    Plan plan;
    int64_t unit = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
        plan.add(tensors[i], units[i], unit);
        unit += units[i];
    }
    const auto pieces = on_device(plan.pieces, device);
    launch_with(UNIT_SCALE, device, int64_t(plan.pieces.size()), pieces.const_data_ptr(), factors.const_data_ptr());
}

UnitClip clip_units(const std::vector<at::Tensor>& params, const std::vector<at::Tensor>& grads, const int64_t* units,
    double clip_factor, double eps, const at::Tensor& total_norm, const at::Tensor& found_inf) {
    const auto device = grads.front().device();
    const c10::DeviceGuard guard(device);
    Plan plan;
    std::vector<kernels::UnitTensor> tensors;
    int64_t unit = 0;
    for (size_t i = 0; i < grads.size(); ++i) {
        const int64_t first = plan.partials;
        const int32_t parts = plan.add(grads[i], units[i], unit);
        tensors.push_back({first, 0, unit, units[i], parts, 1});
        unit += units[i];
    }
    const auto of_gradients = int64_t(plan.pieces.size());
    for (size_t i = 0; i < params.size(); ++i) {
        tensors[i].weights = plan.partials;
        tensors[i].weight_parts = plan.add(params[i], units[i], tensors[i].unit);
    }
    const auto pieces = on_device(plan.pieces, device), device_tensors = on_device(tensors, device);
    const auto partials = sum_pieces(pieces, plan.pieces.size(), plan.partials, device);
    const auto count = int64_t(tensors.size());
    auto factors = doubles({unit}, device), outcomes = doubles({count, 3}, device), summary = doubles({3}, device);
    launch_with(UNIT_FACTORS, device, count, device_tensors.const_data_ptr(), partials.const_data_ptr(),
        partials.const_data_ptr(), clip_factor, eps, found_inf.const_data_ptr(), factors.mutable_data_ptr(),
        outcomes.mutable_data_ptr());
    launch_with(UNIT_SCALE, device, of_gradients, pieces.const_data_ptr(), factors.const_data_ptr());
    launch_with(UNIT_SUMMARY, device, 1, outcomes.const_data_ptr(), int32_t(count), total_norm.const_data_ptr(),
        summary.mutable_data_ptr());
    // The fields of a UnitSummary.
    const auto coefficient = summary.narrow(0, 2, 1).view(at::kFloat).select(0, 0);
    return {outcomes.select(1, 0), summary.select(0, 0), summary.select(0, 1), coefficient};
}

at::Tensor activation_sums(const at::Tensor& inputs, const at::Tensor& outputs, double low, double high) {
    const auto device = inputs.device();
    const c10::DeviceGuard guard(device);
    const int64_t elements = inputs.numel(), size = piece_size(elements);
    const auto in = reinterpret_cast<uintptr_t>(inputs.const_data_ptr());
    const auto out = reinterpret_cast<uintptr_t>(outputs.const_data_ptr());
    std::vector<kernels::ActivationPiece> pieces;
    for (int64_t start = 0; start < elements; start += size)
        pieces.push_back({in + uint64_t(start * inputs.element_size()), out + uint64_t(start * outputs.element_size()),
            std::min(size, elements - start), low, high, dtype_of(inputs), dtype_of(outputs)});
    const std::vector<kernels::Tap> taps{{0, int32_t(pieces.size())}};
    auto sums = doubles({int64_t(pieces.size()), 4}, device), totals = doubles({4}, device);
    const auto device_pieces = on_device(pieces, device), device_taps = on_device(taps, device);
    launch_with(ACTIVATION_PIECES, device, int64_t(pieces.size()), device_pieces.const_data_ptr(), sums.mutable_data_ptr());
    launch_with(ACTIVATION_SUMS, device, 1, device_taps.const_data_ptr(), sums.const_data_ptr(), totals.mutable_data_ptr());
    return totals;
}

} // namespace gradwatch::gpu
