// Optimizers without a fused libtorch kernel, built from libtorch's list operations. No host sync.
//
// If `found_inf` is 1, gradients become 0 and every decay becomes 1, so that parameters and state stay bit-identical.

#include "kernels.h"
#include "rounds.h"
#include "shim.h"

#include <ATen/ATen.h>

#include <stdexcept>

using gradwatch::Scope;
using gradwatch::StepLists;

namespace {

using List = std::vector<at::Tensor>;

// A step of one parameter group. Scalars are f32 tensors of shape [] on the parameters' device.
class Step {
public:
    Step(const StepLists& lists, const GwLists& raw, const GwOptions& options)
        : params(lists.params), grads(lists.grads), first(lists.first_moments), second(lists.second_moments),
          third(lists.third_moments), o(options), found_(raw.found_inf ? raw.found_inf->to(at::kBool) : at::Tensor()) {
        if (raw.grad_scale) grads = at::_foreach_div(grads, *raw.grad_scale);
        count = at::clamp_min(*raw.steps[0], 1.0);
    }

    void decay_gradients() {
        if (o.weight_decay != 0.0) grads = at::_foreach_add(grads, params, o.weight_decay);
    }

    // Call this when the gradients are complete.
    void mask() {
        if (!found_.defined()) return;
        for (auto& grad : grads) grad = grad.masked_fill(found_, 0.0);
    }

    // Returns `value`, or `instead` if the step is skipped.
    at::Tensor taken(const at::Tensor& value, double instead) const {
        return found_.defined() ? value.masked_fill(found_, instead) : value;
    }
    at::Tensor taken(double value, double instead) const { return taken(at::full_like(count, value), instead); }

    // state <- decay * state + (1 - decay) * grads; the same for the squared gradients.
    void average(const List& state, double decay) const {
        at::_foreach_mul_(state, taken(decay, 1.0));
        at::_foreach_add_(state, grads, 1.0 - decay);
    }
    void average_squares(const List& state, double decay) const {
        at::_foreach_mul_(state, taken(decay, 1.0));
        at::_foreach_addcmul_(state, grads, grads, 1.0 - decay);
    }

    // params <- params - rate * updates.
    void move(const List& updates, const at::Tensor& rate) const {
        at::_foreach_sub_(params, at::_foreach_mul(updates, taken(rate, 0.0)));
    }
    at::Tensor rate() const { return at::full_like(count, o.learning_rate); }

    // 1 - beta^count.
    at::Tensor correction(double beta) const { return 1.0 - at::pow(at::Scalar(beta), count); }

    List params, grads, first, second, third;
    at::Tensor count;
    const GwOptions& o;

private:
    at::Tensor found_;
};

// torch.optim.RMSprop (Hinton, lecture 6e).
void rmsprop(Step& step) {
    const auto& o = step.o;
    step.decay_gradients();
    step.mask();
    step.average_squares(step.second, o.beta2);
    auto squares = step.second;
    if (o.flag) {
        step.average(step.third, o.beta2);
        squares = at::_foreach_addcmul(step.second, step.third, step.third, -1.0);
        // The variance of constant gradients is 0, but rounding can make it negative; the root would then be NaN.
        at::_foreach_clamp_min_(squares, 0.0);
    }
    auto root = at::_foreach_sqrt(squares);
    at::_foreach_add_(root, o.eps);
    auto updates = at::_foreach_div(step.grads, root);
    if (o.beta1 > 0.0) {
        at::_foreach_mul_(step.first, step.taken(o.beta1, 1.0));
        at::_foreach_add_(step.first, updates);
        updates = step.first;
    }
    step.move(updates, step.rate());
}

// torch.optim.NAdam (Dozat 2016). Returns the product of all momentum factors, including this step's.
at::Tensor nadam(Step& step, const at::Tensor& product) {
    const auto& o = step.o;
    step.decay_gradients();
    step.mask();
    const auto mu = [&](const at::Tensor& count) {
        return o.beta1 * (1.0 - 0.5 * at::pow(at::Scalar(0.96), count * o.momentum_decay));
    };
    const auto now = mu(step.count), next = mu(step.count + 1.0), through = product * now;
    step.average(step.first, o.beta1);
    step.average_squares(step.second, o.beta2);
    auto root = at::_foreach_sqrt(at::_foreach_div(step.second, step.correction(o.beta2)));
    at::_foreach_add_(root, o.eps);
    step.move(at::_foreach_div(step.grads, root), step.rate() * (1.0 - now) / (1.0 - through));
    step.move(at::_foreach_div(step.first, root), step.rate() * next / (1.0 - through * next));
    return at::where(step.taken(1.0, 0.0).to(at::kBool), through, product);
}

// torch.optim.RAdam (Liu et al. 2020).
void radam(Step& step) {
    const auto& o = step.o;
    step.decay_gradients();
    step.mask();
    step.average(step.first, o.beta1);
    step.average_squares(step.second, o.beta2);
    const double most = 2.0 / (1.0 - o.beta2) - 1.0;
    // f64, because this is the difference of two large numbers.
    const auto count = step.count.to(at::kDouble);
    const auto power = at::pow(at::Scalar(o.beta2), count);
    const auto length = most - 2.0 * count * power / (1.0 - power);
    const auto is_rectified = length.gt(5.0);
    const auto rectifier =
        ((length - 4.0) * (length - 2.0) * most / ((most - 4.0) * (most - 2.0) * length)).clamp_min(0.0).sqrt();
    const auto rate = step.rate() / step.correction(o.beta1);
    auto root = at::_foreach_sqrt(step.second);
    at::_foreach_add_(root, o.eps);
    // Use where instead of multiplying by 0: the rectifier has a pole at a beta of 0.6.
    const auto adaptive = at::where(is_rectified, rectifier * (1.0 - power).sqrt(), 0.0).to(at::kFloat);
    step.move(at::_foreach_div(step.first, root), rate * adaptive);
    step.move(step.first, at::where(is_rectified, 0.0, rate));
}

// LAMB (You et al. 2020), as timm implements it: no trust ratio without weight decay.
void lamb(Step& step) {
    const auto& o = step.o;
    step.mask();
    step.average(step.first, o.beta1);
    step.average_squares(step.second, o.beta2);
    auto root = at::_foreach_div(at::_foreach_sqrt(step.second), step.correction(o.beta2).sqrt());
    at::_foreach_add_(root, o.eps);
    auto updates = at::_foreach_div(at::_foreach_div(step.first, step.correction(o.beta1)), root);
    if (o.weight_decay != 0.0) {
        at::_foreach_add_(updates, step.params, o.weight_decay);
        const auto lengths = at::stack(at::_foreach_norm(step.params)), moves = at::stack(at::_foreach_norm(updates));
        const auto has_both = lengths.gt(0.0).logical_and(moves.gt(0.0));
        const auto ratio = lengths / moves;
        const auto trust = at::where(has_both.logical_and(ratio.isfinite()), ratio, at::ones_like(lengths));
        // On a GPU, a list of scalars takes one launch per scalar.
        if (gradwatch::gpu::has_kernels(trust)) gradwatch::gpu::scale_tensors(updates, trust.to(at::kDouble));
        else at::_foreach_mul_(updates, trust.unbind());
    }
    step.move(updates, step.rate());
}

// Lion (Chen et al. 2023).
void lion(Step& step) {
    const auto& o = step.o;
    step.mask();
    at::_foreach_mul_(step.params, step.taken(1.0 - o.learning_rate * o.weight_decay, 1.0));
    auto updates = at::_foreach_mul(step.first, o.beta1);
    at::_foreach_add_(updates, step.grads, 1.0 - o.beta1);
    at::_foreach_sign_(updates);
    step.move(updates, step.rate());
    step.average(step.first, o.beta2);
}

} // namespace

void gradwatch::composed_step(const GwLists& lists, const GwOptions& options) {
    at::Tensor product; // every round needs its value from before the step
    const auto scope = options.rule == GW_LAMB ? Scope::TENSORS : Scope::ELEMENTS;
    take(lists, scope, [&](const StepLists& part) {
        Step step(part, lists, options);
        switch (options.rule) {
        case GW_RMSPROP: return rmsprop(step);
        case GW_NADAM: product = nadam(step, *lists.product); return;
        case GW_RADAM: return radam(step);
        case GW_LAMB: return lamb(step);
        case GW_LION: return lion(step);
        default: throw std::invalid_argument("no such rule");
        }
    });
    if (product.defined()) lists.product->copy_(product);
}
