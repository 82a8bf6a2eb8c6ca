// Operations on tensor lists that tch's generator does not bind.

#include "shim.h"

#include "sums.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/stack.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>

using gradwatch::guarded;
using gradwatch::list;

extern "C" {

char* gw_foreach_norm(at::Tensor** tensors, size_t count, double norm_type, at::Tensor** out) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        *out = new at::Tensor(at::stack(at::_foreach_norm(list(tensors, count), norm_type, at::kDouble)));
    });
}

char* gw_foreach(GwForeach operation, at::Tensor** tensors, at::Tensor** others, size_t count, at::Tensor* scalar) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto into = list(tensors, count);
        switch (operation) {
        case GW_MULTIPLY: return at::_foreach_mul_(into, *scalar);
        case GW_ADD: return at::_foreach_add_(into, *scalar);
        case GW_COPY: return at::_foreach_copy_(into, list(others, count));
        case GW_SUBTRACT: return at::_foreach_sub_(into, list(others, count));
        case GW_LERP:
            return at::_foreach_add_(into, at::_foreach_mul(at::_foreach_sub(list(others, count), into), *scalar));
        }
    });
}

char* gw_clear_grads(at::Tensor** params, size_t count) {
    return guarded([&] {
        for (size_t i = 0; i < count; ++i) params[i]->mutable_grad().reset();
    });
}

char* gw_set_grad(at::Tensor* param, at::Tensor* grad) {
    return guarded([&] { param->mutable_grad() = *grad; });
}

char* gw_copy_with_squares(at::Tensor* to, at::Tensor* from, double* squares) {
    return guarded([&] {
        constexpr int64_t PIECE = 1 << 14;
        float* into = to->data_ptr<float>();
        const float* values = from->const_data_ptr<float>();
        const int64_t count = to->numel();
        std::vector<double> sums((count + PIECE - 1) / PIECE);
        at::parallel_for(0, int64_t(sums.size()), 8, [&](int64_t first, int64_t last) {
            for (int64_t piece = first; piece < last; ++piece) {
                // Sums each piece while it is in the cache.
                const int64_t start = piece * PIECE, length = std::min(PIECE, count - start);
                std::memcpy(into + start, values + start, length * sizeof(float));
                sums[piece] = gradwatch::norm_sums(into + start, length).squares;
            }
        });
        *squares = std::accumulate(sums.begin(), sums.end(), 0.0);
    });
}
}
