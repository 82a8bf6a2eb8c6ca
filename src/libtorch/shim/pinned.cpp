// Asynchronous copies from a CUDA device into pinned host memory.

#include "shim.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

using gradwatch::guarded;

extern "C" {

char* gw_pinned_bytes(size_t length, at::Tensor** out) {
    return guarded([&] {
        *out = new at::Tensor(at::empty({int64_t(length)}, at::TensorOptions(at::kByte).pinned_memory(true)));
    });
}

void* gw_pinned_data(at::Tensor* bytes) { return bytes->mutable_data_ptr(); }

char* gw_copy_to_pinned(at::Tensor* bytes, at::Tensor** tensors, const int64_t* offsets, size_t count) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        for (size_t i = 0; i < count; ++i) {
            if (tensors[i]->numel() == 0) continue;
            // Copy into a view of `bytes`: libtorch keeps the memory of a view alive until the copy is complete, but
            // not that of a tensor made from an address.
            const auto place = bytes->narrow(0, offsets[i], int64_t(tensors[i]->nbytes()));
            place.view(tensors[i]->scalar_type()).view(tensors[i]->sizes()).copy_(*tensors[i], /*non_blocking=*/true);
        }
    });
}
}
