// Units of tensors (rows over all dimensions but the first): their squared norms, and scaling each by its own factor.
//
// On the CPU, this takes one pass over all tensors on all threads; on a GPU, the kernels of kernels/units.cu. If they
// are not loaded, ATen ops run instead: two per tensor for the norms, because libtorch has no foreach form, and one
// list operation for the scaling.

#include "kernels.h"
#include "pieces.h"
#include "shim.h"
#include "sums.h"

#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scatter_reduce.h>
#include <c10/core/GradMode.h>

#include <algorithm>

using namespace gradwatch;

namespace {

// Some units of one tensor, about PIECE elements.
struct Work {
    size_t tensor;
    int64_t first, count; // units
    int64_t offset;       // of the first unit among the units of all tensors
};

std::vector<Work> divide(const std::vector<at::Tensor>& tensors, const int64_t* units) {
    std::vector<Work> works;
    int64_t offset = 0;
    for (size_t tensor = 0; tensor < tensors.size(); ++tensor) {
        const int64_t length = std::max<int64_t>(tensors[tensor].numel() / std::max<int64_t>(units[tensor], 1), 1);
        const int64_t most = std::max<int64_t>(PIECE / length, 1);
        for (int64_t first = 0; first < units[tensor]; first += most)
            works.push_back({tensor, first, std::min(most, units[tensor] - first), offset + first});
        offset += units[tensor];
    }
    return works;
}

template <typename Body>
void for_each(const std::vector<Work>& works, Body body) {
    for_each_index(works.size(), [&](size_t i) { body(works[i]); });
}

int64_t total(const int64_t* units, size_t count) {
    int64_t sum = 0;
    for (size_t i = 0; i < count; ++i) sum += units[i];
    return sum;
}

bool is_ours(const at::Tensor& tensor) { return tensor.is_cpu() && tensor.scalar_type() == at::kFloat; }

at::Tensor cpu_squares(const std::vector<at::Tensor>& tensors, const int64_t* units) {
    std::vector<at::Tensor> rows;
    for (size_t i = 0; i < tensors.size(); ++i)
        rows.push_back(has_rows(tensors[i], units[i]) ? tensors[i] : tensors[i].contiguous());
    auto squares = at::empty({total(units, tensors.size())}, at::kDouble);
    auto* out = squares.mutable_data_ptr<double>();
    for_each(divide(tensors, units), [&](const Work& work) {
        const int64_t length = rows[work.tensor].numel() / units[work.tensor];
        const auto* values = rows[work.tensor].const_data_ptr<float>() + work.first * length;
        for (int64_t unit = 0; unit < work.count; ++unit)
            out[work.offset + unit] = norm_sums(values + unit * length, length).squares;
    });
    return squares;
}

at::Tensor aten_squares(const std::vector<at::Tensor>& tensors, const int64_t* units) {
    std::vector<at::Tensor> norms;
    for (size_t i = 0; i < tensors.size(); ++i)
        norms.push_back(at::linalg_vector_norm(
            tensors[i].reshape({units[i], -1}), 2, at::IntArrayRef{1}, /*keepdim=*/false, at::kDouble));
    return at::cat(norms).square();
}

// Reads only the factors if all of them are 1.
void cpu_scale(const std::vector<at::Tensor>& tensors, const int64_t* units, const at::Tensor& factors) {
    const auto* factor = factors.const_data_ptr<double>();
    for_each(divide(tensors, units), [&](const Work& work) {
        const auto& tensor = tensors[work.tensor];
        const int64_t length = tensor.numel() / units[work.tensor];
        auto* values = tensor.mutable_data_ptr<float>() + work.first * length;
        for (int64_t unit = 0; unit < work.count; ++unit, values += length) {
            const auto scale = float(factor[work.offset + unit]);
            if (scale == 1.0f) continue;
            for (int64_t i = 0; i < length; ++i) values[i] *= scale;
        }
    });
}

void aten_scale(const std::vector<at::Tensor>& tensors, const int64_t* units, const at::Tensor& factors) {
    const auto parts = factors.split_with_sizes(at::IntArrayRef(units, tensors.size()));
    std::vector<at::Tensor> shaped;
    for (size_t i = 0; i < tensors.size(); ++i) {
        std::vector<int64_t> shape(size_t(tensors[i].dim()), 1);
        if (units[i] != 1) shape[0] = units[i];
        shaped.push_back(parts[i].to(tensors[i].scalar_type()).view(shape));
    }
    at::_foreach_mul_(tensors, shaped);
}

} // namespace

extern "C" {

char* gw_unit_squares(at::Tensor** tensors, size_t count, const int64_t* units, int use_aten, at::Tensor** out) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto all = list(tensors, count);
        if (!use_aten && gpu::has_kernels(all.front())) {
            *out = new at::Tensor(gpu::unit_squares(all, units));
            return;
        }
        const bool ours = !use_aten && std::all_of(all.begin(), all.end(), is_ours);
        *out = new at::Tensor(ours ? cpu_squares(all, units) : aten_squares(all, units));
    });
}

char* gw_unit_minima(at::Tensor* values, at::Tensor* owners, int64_t tensors, at::Tensor** out) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto ones = at::ones({tensors}, values->options());
        *out = new at::Tensor(ones.scatter_reduce(0, *owners, *values, "amin", /*include_self=*/true));
    });
}

char* gw_scale_units(at::Tensor** tensors, size_t count, const int64_t* units, at::Tensor* factors, int use_aten) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto all = list(tensors, count);
        bool ours = !use_aten, have_rows = true;
        for (size_t i = 0; i < count; ++i) {
            ours = ours && is_ours(all[i]);
            have_rows = have_rows && has_rows(all[i], units[i]);
        }
        if (!use_aten && have_rows && gpu::has_kernels(all.front())) return gpu::scale_units(all, units, *factors);
        ours && have_rows ? cpu_scale(all, units, *factors) : aten_scale(all, units, *factors);
    });
}

char* gw_clip_units(at::Tensor** params, at::Tensor** grads, size_t count, const int64_t* units, double clip_factor,
    double eps, at::Tensor* total_norm, at::Tensor* found_inf, at::Tensor** out) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto weights = list(params, count), gradients = list(grads, count);
        bool have_rows = true;
        for (size_t i = 0; i < count; ++i)
            have_rows = have_rows && has_rows(weights[i], units[i]) && has_rows(gradients[i], units[i]);
        if (!have_rows || !gpu::has_kernels(gradients.front())) return;
        auto clip = gpu::clip_units(weights, gradients, units, clip_factor, eps, *total_norm, *found_inf);
        size_t next = 0;
        for (auto* tensor : {&clip.smallest, &clip.norm, &clip.clipped, &clip.coefficient})
            out[next++] = new at::Tensor(std::move(*tensor));
    });
}
}
