// Tables of tensor statistics on a GPU, in two launches.

#include "kernels.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace gradwatch::gpu {

at::Tensor table(const std::vector<at::Tensor>& tensors, bool with_distribution) {
    const auto device = tensors.front().device();
    const c10::DeviceGuard guard(device);
    std::vector<at::Tensor> dense; // keeps the copies alive until the launches are queued
    std::vector<kernels::Piece> pieces;
    std::vector<kernels::Row> rows;
    for (const auto& tensor : tensors) {
        dense.push_back(without_gaps(tensor));
        const auto address = reinterpret_cast<uintptr_t>(dense.back().const_data_ptr());
        const int64_t elements = tensor.numel(), size = piece_size(elements);
        const auto dtype = dtype_of(tensor);
        const auto first = int32_t(pieces.size());
        for (int64_t start = 0; start < elements; start += size)
            pieces.push_back({address + uint64_t(start * tensor.element_size()), std::min(size, elements - start), dtype, 0});
        rows.push_back({first, int32_t(pieces.size()) - first, dtype, 0});
    }
    const auto bytes = at::TensorOptions(at::kByte).device(device);
    const auto sums = at::empty({int64_t(pieces.size() * sizeof(kernels::PieceSums))}, bytes);
    const int64_t counted = with_distribution ? int64_t(pieces.size()) : 0;
    const auto counts = at::empty({counted, kernels::COUNTS}, bytes.dtype(at::kInt));
    const int32_t columns = with_distribution ? kernels::COLUMNS : kernels::NORM_COLUMNS;
    auto result = at::empty({int64_t(rows.size()), columns}, bytes.dtype(at::kDouble));
    const auto device_pieces = on_device(pieces, device), device_rows = on_device(rows, device);
    const auto with = int32_t(with_distribution);
    launch_with(TABLE_PIECES, device, int64_t(pieces.size()), device_pieces.const_data_ptr(), with,
        sums.mutable_data_ptr(), counts.mutable_data_ptr());
    launch_with(TABLE_ROWS, device, int64_t(rows.size()), device_rows.const_data_ptr(), sums.const_data_ptr(),
        counts.const_data_ptr(), with, result.mutable_data_ptr(), columns);
    return result;
}

} // namespace gradwatch::gpu
