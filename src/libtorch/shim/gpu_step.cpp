// GPU operations of every step, one launch each.

#include "kernels.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>

using namespace gradwatch;

namespace {

constexpr int64_t PIECE = 1 << 12;

bool is_buffer(const at::Tensor& tensor) {
    const auto dtype = tensor.scalar_type();
    return tensor.is_contiguous() &&
        (dtype == at::kLong || dtype == at::kFloat || dtype == at::kDouble || dtype == at::kHalf || dtype == at::kBFloat16);
}

} // namespace

extern "C" {

char* gw_table_total(at::Tensor* table, at::Tensor** out) {
    return guarded([&] {
        if (!gpu::has_kernels(*table)) return;
        const auto device = table->device();
        const c10::DeviceGuard guard(device);
        auto total = at::empty({2}, at::TensorOptions(at::kDouble).device(device));
        gpu::launch_with(gpu::TABLE_TOTAL, device, 1, table->const_data_ptr(), int32_t(table->size(0)),
            static_cast<long long>(table->stride(0)), total.mutable_data_ptr());
        // The fields of a TableTotal.
        out[0] = new at::Tensor(total.select(0, 0));
        out[1] = new at::Tensor(total.narrow(0, 1, 1).view(at::kFloat).select(0, 0));
    });
}

char* gw_restore_buffers(at::Tensor** live, at::Tensor** saved, size_t count, at::Tensor* found_inf, int* is_done) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        *is_done = 0;
        if (!gpu::has_kernels(*found_inf)) return;
        std::vector<kernels::BufferPiece> pieces;
        for (size_t i = 0; i < count; ++i) {
            if (!is_buffer(*live[i]) || !is_buffer(*saved[i]) || live[i]->device() != found_inf->device()) return;
            const auto to = reinterpret_cast<uintptr_t>(live[i]->mutable_data_ptr());
            const auto from = reinterpret_cast<uintptr_t>(saved[i]->const_data_ptr());
            const bool is_counter = live[i]->scalar_type() == at::kLong;
            const auto dtype = is_counter ? kernels::I64 : gpu::dtype_of(*live[i]);
            const int64_t elements = live[i]->numel(), width = live[i]->element_size();
            for (int64_t start = 0; start < elements; start += PIECE)
                pieces.push_back({to + uint64_t(start * width), from + uint64_t(start * width),
                    std::min(PIECE, elements - start), dtype, 0});
        }
        *is_done = 1;
        if (pieces.empty()) return;
        const auto device = found_inf->device();
        const auto on_device = gpu::on_device(pieces, device);
        gpu::launch_with(gpu::RESTORE_BUFFERS, device, int64_t(pieces.size()), on_device.const_data_ptr(),
            found_inf->const_data_ptr());
    });
}

char* gw_step_outcome(at::Tensor* found_inf, at::Tensor* not_taken, at::Tensor* failure, at::Tensor* total_norm,
    at::Tensor* skipped, at::Tensor* in_a_row, at::Tensor** norm) {
    return guarded([&] {
        if (!gpu::has_kernels(*found_inf)) return;
        const auto device = found_inf->device();
        auto heard = at::empty({}, total_norm->options());
        gpu::launch_with(gpu::STEP_OUTCOME, device, 1, found_inf->const_data_ptr(), not_taken->const_data_ptr(),
            failure ? failure->const_data_ptr() : nullptr, total_norm->const_data_ptr(), skipped->mutable_data_ptr(),
            in_a_row->mutable_data_ptr(), heard.mutable_data_ptr());
        *norm = new at::Tensor(std::move(heard));
    });
}
}
