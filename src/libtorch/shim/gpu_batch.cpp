// Start and end of a micro-batch on a GPU: converts bytes to images and counts predictions.

#include "kernels.h"

#include <ATen/ops/empty.h>

using namespace gradwatch;

extern "C" {

char* gw_count_guesses(at::Tensor* logits, at::Tensor* labels, at::Tensor* loss, at::Tensor* totals, at::Tensor* counts,
    int is_matrix, at::Tensor* places, int* is_done) {
    return guarded([&] {
        *is_done = 0;
        const int64_t images = logits->size(0), classes = logits->size(1);
        const bool has_rows = classes == 1 || logits->stride(1) == 1;
        const bool is_whole = labels->is_contiguous() && (!places || places->is_contiguous());
        if (!gpu::has_kernels(*logits) || !has_rows || !is_whole) return;
        const auto address = [](const at::Tensor& tensor) { return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()); };
        const kernels::GuessBatch batch{address(*logits), address(*labels), address(*loss), address(*totals),
            address(*counts), places ? address(*places) : 0, logits->stride(0), classes, gpu::dtype_of(*logits),
            gpu::dtype_of(*loss), is_matrix, 0};
        gpu::launch_with(gpu::COUNT_GUESSES, logits->device(), images, batch);
        *is_done = 1;
    });
}

char* gw_normalize_pixels(
    at::Tensor* pixels, const float* tables, at::Tensor* boxes, int channels_last, at::Tensor** out) {
    return guarded([&] {
        if (!gpu::has_kernels(*pixels) || !pixels->is_contiguous()) return;
        const auto device = pixels->device();
        const int64_t images = pixels->size(0), channels = pixels->size(1), width = pixels->size(3);
        const int64_t plane = pixels->size(2) * width;
        // One channel lies in memory the same either way; the strides are then those that permute and contiguous give.
        const auto order = channels_last && channels > 1 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
        auto values = at::empty(pixels->sizes(), at::TensorOptions(at::kFloat).device(device), order);
        const auto on_device = gpu::on_device(tables, size_t(channels) * 256 * sizeof(float), device);
        const int64_t pieces = (plane + kernels::PIXEL_PIECE - 1) / kernels::PIXEL_PIECE;
        gpu::launch_with(gpu::NORMALIZE_PIXELS, device, images * pieces, pixels->const_data_ptr(),
            on_device.const_data_ptr(), boxes ? boxes->const_data_ptr() : nullptr, values.mutable_data_ptr(),
            int32_t(channels), static_cast<long long>(plane), int32_t(width), int32_t(channels_last));
        *out = new at::Tensor(std::move(values));
    });
}
}
