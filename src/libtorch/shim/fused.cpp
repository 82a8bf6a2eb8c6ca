// The optimizer step: fused optimizers here, all others in composed.cpp.

#include "rounds.h"
#include "shim.h"

#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <c10/core/GradMode.h>

using gradwatch::guarded;
using gradwatch::Scope;
using gradwatch::StepLists;

namespace {

std::optional<at::Tensor> optional(at::Tensor* tensor) {
    return tensor ? std::optional<at::Tensor>(*tensor) : std::nullopt;
}

} // namespace

extern "C" {

char* gw_optimizer_step(const GwLists* lists, const GwOptions* options) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto& o = *options;
        const auto scale = optional(lists->grad_scale), found_inf = optional(lists->found_inf);
        const auto adam = [&](auto kernel) {
            gradwatch::take(*lists, Scope::ELEMENTS, [&](const StepLists& part) {
                kernel(part.params, part.grads, part.first_moments, part.second_moments,
                    /*max_exp_avg_sqs=*/at::TensorList(), part.steps, o.learning_rate, o.beta1, o.beta2, o.weight_decay, o.eps,
                    /*amsgrad=*/false, /*maximize=*/false, scale, found_inf);
            });
        };
        switch (o.rule) {
        case GW_SGD:
            return gradwatch::take(*lists, Scope::ELEMENTS, [&](const StepLists& part) {
                at::_fused_sgd_(part.params, part.grads, part.first_moments, o.weight_decay, o.beta1, o.learning_rate,
                    o.dampening, o.flag != 0, /*maximize=*/false, o.is_first_step != 0, scale, found_inf);
            });
        case GW_ADAM: return adam([](auto&&... all) { at::_fused_adam_(all...); });
        case GW_ADAMW: return adam([](auto&&... all) { at::_fused_adamw_(all...); });
        default: return gradwatch::composed_step(*lists, o);
        }
    });
}
}
