// The fused optimizers, and how far each parameter moves in their step.

#include "shim.h"

#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

using gradwatch::guarded;
using gradwatch::list;

namespace {

std::optional<at::Tensor> optional(at::Tensor* tensor) {
    return tensor ? std::optional<at::Tensor>(*tensor) : std::nullopt;
}

struct Lists {
    std::vector<at::Tensor> params, grads, first_moments, second_moments, steps;

    explicit Lists(const GwLists& raw) {
        const auto optional_list = [&](at::Tensor** tensors) {
            return tensors ? list(tensors, raw.count) : std::vector<at::Tensor>();
        };
        params = list(raw.params, raw.count);
        grads = list(raw.grads, raw.count);
        first_moments = optional_list(raw.first_moments);
        second_moments = optional_list(raw.second_moments);
        steps = optional_list(raw.steps);
    }
    Lists() = default;

    // Adds some elements of one parameter, and of all that belongs to them, as they lie in memory.
    void add_part(const Lists& whole, size_t param, int64_t start, int64_t count) {
        const auto add = [&](std::vector<at::Tensor>& into, const std::vector<at::Tensor>& from) {
            if (!from.empty())
                into.push_back(from[param].as_strided({count}, {1}, from[param].storage_offset() + start));
        };
        add(params, whole.params);
        add(grads, whole.grads);
        add(first_moments, whole.first_moments);
        add(second_moments, whole.second_moments);
        if (!whole.steps.empty()) steps.push_back(whole.steps[param]);
    }
};

// Adds the squared norm of each part's move, old - new, to its parameter's entry.
void add_squares(const Lists& round, const std::vector<at::Tensor>& old, const std::vector<int64_t>& owners,
    at::Tensor update_squares) {
    at::_foreach_sub_(old, round.params);
    const auto squares = gradwatch::tensor_table(old, /*with_distribution=*/false, /*use_aten=*/false).select(1, 0);
    update_squares.index_add_(0, at::tensor(owners, at::kLong).to(update_squares.device(), true), squares);
}

// Takes an elementwise step on all parameters; where updates are measured, on a part of them at a time, so that the copy
// of the old values is small. The kernels treat an element in the same way wherever it stands in a list, as long as
// parts begin where their vectors do.
template <typename Step>
void take(const GwLists& raw, Step step) {
    const Lists all(raw);
    if (!raw.update_squares) return step(all);
    int64_t bytes = 0;
    for (const auto& param : all.params) bytes += int64_t(param.nbytes());
    const int64_t element = all.params[0].element_size();
    const int64_t most = (bytes / 200 + (16 << 10) * int64_t(all.params.size())) / element / 64 * 64;
    const auto scratch = at::empty({most}, all.params[0].options().requires_grad(false));
    Lists round;
    std::vector<at::Tensor> old;
    std::vector<int64_t> owners;
    int64_t used = 0;
    const auto finish_round = [&] {
        if (old.empty()) return;
        at::_foreach_copy_(old, round.params);
        step(round);
        add_squares(round, old, owners, *raw.update_squares);
        round = Lists();
        old.clear();
        owners.clear();
        used = 0;
    };
    for (size_t param = 0; param < all.params.size(); ++param) {
        const int64_t elements = all.params[param].numel();
        for (int64_t start = 0, count; start < elements; start += count) {
            // Parts end at multiples of 64 elements of the parameter, or at its end.
            if (most - used < 64) finish_round();
            count = std::min(elements - start, (most - used) / 64 * 64);
            round.add_part(all, param, start, count);
            old.push_back(scratch.narrow(0, used, count));
            owners.push_back(int64_t(param));
            used += (count + 63) / 64 * 64;
        }
    }
    finish_round();
}

} // namespace

extern "C" {

char* gw_optimizer_step(const GwLists* lists, const GwOptions* options) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto& o = *options;
        const auto scale = optional(lists->grad_scale), found_inf = optional(lists->found_inf);
        const auto adam = [&](auto kernel) {
            take(*lists, [&](const Lists& part) {
                kernel(part.params, part.grads, part.first_moments, part.second_moments,
                    /*max_exp_avg_sqs=*/at::TensorList(), part.steps, o.learning_rate, o.beta1, o.beta2, o.weight_decay, o.eps,
                    /*amsgrad=*/false, /*maximize=*/false, scale, found_inf);
            });
        };
        switch (o.rule) {
        case GW_SGD:
            return take(*lists, [&](const Lists& part) {
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
