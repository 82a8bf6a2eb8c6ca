// Operations on lists of tensors that tch's generator leaves out.

#include "shim.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

using gradwatch::guarded;
using gradwatch::list;

extern "C" {

char* gw_foreach_norm(at::Tensor** tensors, size_t count, double norm_type, at::Tensor** out) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        *out = new at::Tensor(at::stack(at::_foreach_norm(list(tensors, count), norm_type)));
    });
}

char* gw_foreach_multiply(at::Tensor** tensors, size_t count, at::Tensor* factor) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        at::_foreach_mul_(list(tensors, count), *factor);
    });
}

char* gw_foreach_add(at::Tensor** tensors, size_t count, at::Tensor* addend) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        at::_foreach_add_(list(tensors, count), *addend);
    });
}

char* gw_foreach_copy(at::Tensor** into, at::Tensor** from, size_t count) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        at::_foreach_copy_(list(into, count), list(from, count));
    });
}

char* gw_foreach_subtract(at::Tensor** from, at::Tensor** subtrahends, size_t count) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        at::_foreach_sub_(list(from, count), list(subtrahends, count));
    });
}

char* gw_clear_grads(at::Tensor** params, size_t count) {
    return guarded([&] {
        for (size_t i = 0; i < count; ++i) params[i]->mutable_grad().reset();
    });
}
}
