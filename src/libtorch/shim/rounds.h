// Tensor lists of an optimizer step, and steps over a part of the parameters at a time.
#pragma once

#include "shim.h"

#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

namespace gradwatch {

// Parameters, or parts of them, and their optimizer state. Lists that the rule does not use are empty.
struct StepLists {
    std::vector<at::Tensor> params, grads, first_moments, second_moments, third_moments, steps;

    StepLists() = default;
    explicit StepLists(const GwLists& raw) {
        const auto optional_list = [&](at::Tensor** tensors) {
            return tensors ? list(tensors, raw.count) : std::vector<at::Tensor>();
        };
        params = list(raw.params, raw.count);
        grads = list(raw.grads, raw.count);
        first_moments = optional_list(raw.first_moments);
        second_moments = optional_list(raw.second_moments);
        third_moments = optional_list(raw.third_moments);
        steps = optional_list(raw.steps);
    }

    // Adds `count` elements of a parameter from `start` on, in memory order. A whole parameter keeps its shape.
    void add_part(const StepLists& whole, size_t param, int64_t start, int64_t count) {
        const bool is_whole = count == whole.params[param].numel();
        const auto add = [&](std::vector<at::Tensor>& into, const std::vector<at::Tensor>& from) {
            if (from.empty()) return;
            const auto& tensor = from[param];
            into.push_back(is_whole ? tensor : tensor.as_strided({count}, {1}, tensor.storage_offset() + start));
        };
        add(params, whole.params);
        add(grads, whole.grads);
        add(first_moments, whole.first_moments);
        add(second_moments, whole.second_moments);
        add(third_moments, whole.third_moments);
        if (!whole.steps.empty()) steps.push_back(whole.steps[param]);
    }
};

// How a rule treats a parameter: each element independently, or with norms of the whole tensor.
enum class Scope { ELEMENTS, TENSORS };

// Runs a step on all parameters. To measure the updates, runs it on a part of the parameters at a time, so that the
// copy of the old values stays small. Parts start at multiples of 64 elements, the start of the kernels' vectors: each
// element goes through the same instructions as without measuring.
template <typename Step>
void take(const GwLists& raw, Scope scope, Step step) {
    const StepLists all(raw);
    if (!raw.update_squares) return step(all);
    int64_t bytes = 0, largest = 0;
    for (const auto& param : all.params) {
        bytes += int64_t(param.nbytes());
        largest = std::max(largest, param.numel());
    }
    const int64_t element = all.params[0].element_size();
    // On a GPU each round costs launches, and the copy takes little time.
    const int64_t rounds = all.params[0].is_cpu() ? 200 : 16;
    int64_t most = (bytes / rounds + (16 << 10) * int64_t(all.params.size())) / element / 64 * 64;
    if (scope == Scope::TENSORS) most = std::max(most, (largest + 63) / 64 * 64);
    const auto scratch = at::empty({most}, all.params[0].options().requires_grad(false));
    StepLists round;
    std::vector<at::Tensor> old;
    std::vector<int64_t> owners;
    std::vector<at::Tensor> squares; // squared updates, by round
    int64_t used = 0;
    const auto finish_round = [&] {
        if (old.empty()) return;
        at::_foreach_copy_(old, round.params);
        step(round);
        at::_foreach_sub_(old, round.params);
        squares.push_back(tensor_table(old, /*with_distribution=*/false, /*use_aten=*/false).select(1, 0));
        round = StepLists();
        old.clear();
        used = 0;
    };
    for (size_t param = 0; param < all.params.size(); ++param) {
        const auto& tensor = all.params[param];
        const int64_t elements = tensor.numel();
        for (int64_t start = 0, count; start < elements; start += count) {
            const int64_t wanted = scope == Scope::TENSORS ? elements : 64;
            if (most - used < wanted) finish_round();
            count = std::min(elements - start, (most - used) / 64 * 64);
            round.add_part(all, param, start, count);
            const auto place = scratch.narrow(0, used, count);
            // Keeps the parameter's layout, so that lists stay on the fast path.
            old.push_back(count == elements ? place.as_strided(tensor.sizes(), tensor.strides(), place.storage_offset()) : place);
            owners.push_back(int64_t(param));
            used += (count + 63) / 64 * 64;
        }
    }
    finish_round();
    if (squares.empty()) return;
    const auto positions = at::tensor(owners, at::kLong).to(squares[0].device(), /*non_blocking=*/true);
    raw.update_squares->index_add_(0, positions, at::cat(squares));
}

} // namespace gradwatch
