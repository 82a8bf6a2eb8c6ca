// Operations on lists of tensors that tch's generator leaves out: foreach ops and the fused optimizers.

#include "shim.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

using gradwatch::guarded;
using gradwatch::list;

namespace {

std::optional<at::Tensor> optional(at::Tensor* tensor) {
    return tensor ? std::optional<at::Tensor>(*tensor) : std::nullopt;
}

} // namespace

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

char* gw_clear_grads(at::Tensor** params, size_t count) {
    return guarded([&] {
        for (size_t i = 0; i < count; ++i) params[i]->mutable_grad().reset();
    });
}

char* gw_fused_sgd(const GwFusedLists* lists, double learning_rate, double momentum, double dampening,
    double weight_decay, int nesterov, int is_first_step) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        std::vector<at::Tensor> momentum_buffers;
        if (lists->first_moments) momentum_buffers = list(lists->first_moments, lists->count);
        at::_fused_sgd_(list(lists->params, lists->count), list(lists->grads, lists->count), momentum_buffers,
            weight_decay, momentum, learning_rate, dampening, nesterov != 0, /*maximize=*/false, is_first_step != 0,
            optional(lists->grad_scale), optional(lists->found_inf));
    });
}

char* gw_fused_adamw(const GwFusedLists* lists, double learning_rate, double beta1, double beta2, double eps,
    double weight_decay) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        at::_fused_adamw_(list(lists->params, lists->count), list(lists->grads, lists->count),
            list(lists->first_moments, lists->count), list(lists->second_moments, lists->count),
            /*max_exp_avg_sqs=*/{}, list(lists->steps, lists->count), learning_rate, beta1, beta2, weight_decay, eps,
            /*amsgrad=*/false, /*maximize=*/false, optional(lists->grad_scale), optional(lists->found_inf));
    });
}
}
