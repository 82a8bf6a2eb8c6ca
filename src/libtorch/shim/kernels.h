// Loads and launches gradwatch's own CUDA kernels. See kernels.cpp.
#pragma once

#include "shim.h"

#include "../kernels/types.h"

#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <array>

namespace gradwatch::gpu {

// In the order of KERNEL_NAMES.
enum Kernel {
    TABLE_PIECES, TABLE_ROWS, UNIT_PIECES, UNIT_SQUARES, UNIT_FACTORS, UNIT_SCALE, UNIT_SUMMARY, ACTIVATION_PIECES,
    ACTIVATION_SUMS, TABLE_TOTAL, RESTORE_BUFFERS, STEP_OUTCOME, COUNT_GUESSES, NORMALIZE_PIXELS, KERNELS
};
constexpr const char* KERNEL_NAMES[KERNELS] = {"table_pieces", "table_rows", "unit_pieces", "unit_squares", "unit_factors",
    "unit_scale", "unit_summary", "activation_pieces", "activation_sums", "table_total",
    "restore_buffers", "step_outcome", "count_guesses", "normalize_pixels"};

// Whether kernels are loaded for the device of this tensor.
bool has_kernels(const at::Tensor& tensor);

// Launches a kernel in the current stream of a device, with `grid` blocks of THREADS threads; `params` point to the
// arguments. Does nothing if `grid` is 0.
void launch(Kernel kernel, c10::Device device, int64_t grid, void** params);

// Launches with the argument types that the kernel declares.
template <typename... Arguments>
void launch_with(Kernel kernel, c10::Device device, int64_t grid, Arguments... arguments) {
    std::array<void*, sizeof...(Arguments)> params{static_cast<void*>(&arguments)...};
    launch(kernel, device, grid, params.data());
}

// Returns these bytes as a tensor on the device. Copies them from pinned memory without a wait, or reuses an earlier
// copy of the same bytes: the addresses of parameters and gradients rarely change between steps. The caller must only
// read the result.
at::Tensor on_device(const void* bytes, size_t size, c10::Device device);

template <typename T>
at::Tensor on_device(const std::vector<T>& values, c10::Device device) {
    return on_device(values.data(), values.size() * sizeof(T), device);
}

// piece_size returns the elements per piece for work on `elements` elements: enough to justify a block, and so many that
// there are at most 512 pieces, because one block or thread adds them up.
constexpr int64_t SMALLEST_PIECE = 1 << 15;
inline int64_t piece_size(int64_t elements) {
    return std::max(SMALLEST_PIECE, (elements / 512 + 1023) / 1024 * 1024);
}

// The `dtype` of kernels/types.h.
kernels::Dtype dtype_of(const at::Tensor& tensor);

// See gw_table. The tensors are on one device with loaded kernels.
at::Tensor table(const std::vector<at::Tensor>& tensors, bool with_distribution);

// See gw_unit_squares and gw_scale_units. For scale_units, every tensor must satisfy has_rows.
at::Tensor unit_squares(const std::vector<at::Tensor>& tensors, const int64_t* units);
void scale_units(const std::vector<at::Tensor>& tensors, const int64_t* units, const at::Tensor& factors);

// Multiplies each dense tensor by its factor, f64.
inline void scale_tensors(const std::vector<at::Tensor>& tensors, const at::Tensor& factors) {
    scale_units(tensors, std::vector<int64_t>(tensors.size(), 1).data(), factors);
}

// See gw_clip_units.
struct UnitClip {
    at::Tensor smallest, norm, clipped, coefficient;
};
UnitClip clip_units(const std::vector<at::Tensor>& params, const std::vector<at::Tensor>& grads, const int64_t* units,
    double clip_factor, double eps, const at::Tensor& total_norm, const at::Tensor& found_inf);

// See gw_activation_sums. Both tensors are dense and have the same memory layout.
at::Tensor activation_sums(const at::Tensor& inputs, const at::Tensor& outputs, double low, double high);

} // namespace gradwatch::gpu
