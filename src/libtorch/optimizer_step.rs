//! One optimizer step over a list of parameters: fused libtorch kernels where they exist, otherwise libtorch's list
//! operations.
//!
//! Every rule divides the gradient by `grad_scale` and changes nothing if `found_inf` is 1. Clipping by one factor and
//! skipping a non-finite step therefore cost no host sync, and no extra pass with a fused kernel.

use tch::{Kind, Tensor};

use super::{
    LibtorchError, OptimizerRule,
    ffi::{self, Lists},
    foreach::check_list,
};

/// Hyperparameters of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// Learning rate.
    pub learning_rate: f64,
    /// Momentum (SGD, RMSprop); otherwise beta1.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// SGD with dampening: whether this is the first step, on which momentum starts with the whole gradient.
    pub is_first_step: bool,
}

/// Optimizer state of the parameters. Lists that the rule does not use are empty. See [`OptimizerRule::moments`].
#[derive(Debug, Default)]
pub struct Moments {
    /// Momentum, or running averages of the gradient.
    pub first: Vec<Tensor>,
    /// Running averages of the squared gradient.
    pub second: Vec<Tensor>,
    /// Running averages of the gradient, in addition to momentum.
    pub third: Vec<Tensor>,
    /// Step count of each parameter, f32 scalars, including this step. Rules without a fused kernel use the first one
    /// for all parameters.
    pub steps: Vec<Tensor>,
    /// NAdam: product of all its momentum factors, an f32 scalar that starts at 1.
    pub product: Option<Tensor>,
}

/// Parameters and their gradients, and the device scalars that control the step.
pub struct FusedStep<'a> {
    /// Parameters, updated in place.
    pub params: &'a [Tensor],
    /// One gradient per parameter; scaled in place if `grad_scale` is given.
    pub grads: &'a [Tensor],
    /// Shape `[]`, f32: the step first divides the gradients by it.
    pub grad_scale: Option<&'a Tensor>,
    /// Shape `[]`, f32: 1 leaves parameters and moments unchanged.
    pub found_inf: Option<&'a Tensor>,
    /// Shape `[params.len()]`, f64: the step adds the squared norm of each parameter's update to it. The step stays
    /// bit-identical. A fused step then runs on a few parameters at a time, so that a copy of their old values stays
    /// small.
    pub update_squares: Option<&'a Tensor>,
}

/// Runs one optimizer step.
///
/// # Errors
/// If the lists do not match each other or the rule.
pub fn optimizer_step(
    step: &FusedStep<'_>,
    moments: &Moments,
    rule: &OptimizerRule,
    options: &StepOptions,
) -> Result<(), LibtorchError> {
    let operation = rule.name();
    check_step(operation, step)?;
    let [first, second, third, steps] = rule.moments();
    let has_momentum =
        options.momentum != 0.0 || !matches!(rule, OptimizerRule::Sgd { .. } | OptimizerRule::Rmsprop { .. });
    let mut lists = Lists {
        params: step.params,
        grads: step.grads,
        first_moments: &[],
        second_moments: &[],
        third_moments: &[],
        steps: &[],
        product: moments.product.as_ref(),
        grad_scale: step.grad_scale,
        found_inf: step.found_inf,
        update_squares: step.update_squares,
    };
    for (is_used, list, given) in [
        (first && has_momentum, &mut lists.first_moments, &moments.first),
        (second, &mut lists.second_moments, &moments.second),
        (third, &mut lists.third_moments, &moments.third),
    ] {
        if is_used {
            check_like_params(operation, step, given)?;
            *list = given;
        }
    }
    if steps {
        check_counts(operation, step, &moments.steps)?;
        lists.steps = &moments.steps;
    }
    if matches!(rule, OptimizerRule::Nadam { .. }) {
        let product = moments.product.as_slice();
        check_counts(operation, &FusedStep { params: &step.params[..1], ..*step }, product)?;
    }
    ffi::optimizer_step(operation, &lists, &rule.raw(options))
}

fn check_counts(operation: &'static str, step: &FusedStep<'_>, counts: &[Tensor]) -> Result<(), LibtorchError> {
    let fits = |(count, param): (&Tensor, &Tensor)| {
        count.defined() && count.dim() == 0 && count.kind() == Kind::Float && count.device() == param.device()
    };
    if counts.len() == step.params.len() && counts.iter().zip(step.params).all(fits) {
        return Ok(());
    }
    let got = format!("{} step counts", counts.len());
    Err(LibtorchError::Argument { operation, got, want: "a float scalar per parameter" })
}

fn check_step(operation: &'static str, step: &FusedStep<'_>) -> Result<(), LibtorchError> {
    check_list(operation, step.params)?;
    check_like_params(operation, step, step.grads)?;
    for scalar in [step.grad_scale, step.found_inf].into_iter().flatten() {
        let fits = |scalar: &Tensor| {
            scalar.numel() == 1 && scalar.kind() == Kind::Float && scalar.device() == step.params[0].device()
        };
        if !scalar.defined() || !fits(scalar) {
            let got = if scalar.defined() { format!("{scalar:?}") } else { "undefined".into() };
            return Err(LibtorchError::Argument { operation, got, want: "a float scalar on the parameters' device" });
        }
    }
    let fits = |squares: &Tensor| {
        squares.defined()
            && squares.size() == [step.params.len() as i64]
            && squares.kind() == Kind::Double
            && squares.device() == step.params[0].device()
    };
    match step.update_squares {
        Some(squares) if !fits(squares) => {
            let got = "update_squares of another kind".into();
            Err(LibtorchError::Argument { operation, got, want: "a double per parameter on the parameters' device" })
        }
        _ => Ok(()),
    }
}

fn check_like_params(operation: &'static str, step: &FusedStep<'_>, tensors: &[Tensor]) -> Result<(), LibtorchError> {
    let fits = |(tensor, param): (&Tensor, &Tensor)| {
        tensor.defined()
            && tensor.size() == param.size()
            && tensor.kind() == param.kind()
            && tensor.device() == param.device()
            // The kernels walk through memory in the parameter's own layout, element by element.
            && tensor.stride() == param.stride()
            && is_dense(tensor)
    };
    if tensors.len() == step.params.len() && tensors.iter().zip(step.params).all(fits) {
        return Ok(());
    }
    let got = format!("{} parameters and {} tensors that do not match them", step.params.len(), tensors.len());
    Err(LibtorchError::Argument {
        operation,
        got,
        want: "a tensor per parameter, of its shape, strides, dtype and device",
    })
}

/// Whether the elements fill one contiguous block of memory, in any order of the dimensions.
fn is_dense(tensor: &Tensor) -> bool {
    let mut sides: Vec<(i64, i64)> =
        tensor.stride().into_iter().zip(tensor.size()).filter(|(_, size)| *size > 1).collect();
    sides.sort_unstable();
    let mut elements = 1;
    sides.into_iter().all(|(stride, size)| {
        let is_next = stride == elements;
        elements *= size;
        is_next
    })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn step_with(grad: &Tensor) -> Result<(), LibtorchError> {
        let params = [Tensor::ones(grad.size(), (Kind::Float, Device::Cpu))];
        let grads = [grad.shallow_clone()];
        let step =
            FusedStep { params: &params, grads: &grads, grad_scale: None, found_inf: None, update_squares: None };
        optimizer_step(&step, &Moments::default(), &SGD, &options(0.0))
    }

    #[test]
    fn gradients_that_do_not_lie_in_memory_as_their_parameter_does_are_refused() {
        let ones = |size: &[i64]| Tensor::ones(size, (Kind::Float, Device::Cpu));
        step_with(&ones(&[3, 2])).unwrap();
        for grad in [ones(&[1]).expand([100_000], false), ones(&[2, 3]).transpose(0, 1), ones(&[3, 4]).narrow(1, 0, 2)]
        {
            let error = step_with(&grad).unwrap_err().to_string();
            assert!(error.contains("strides"), "{error}");
        }
    }

    /// Parameters with more elements than one round holds, and their gradients.
    fn some(sizes: &[i64]) -> [Vec<Tensor>; 2] {
        tch::manual_seed(7);
        let random = || sizes.iter().map(|&size| Tensor::randn([size], (Kind::Float, Device::Cpu))).collect();
        [random(), random()]
    }

    fn copies(tensors: &[Tensor]) -> Vec<Tensor> {
        tensors.iter().map(Tensor::copy).collect()
    }

    const SIZES: [i64; 6] = [3, 300_007, 0, 64, 1, 131];
    const SGD: OptimizerRule = OptimizerRule::Sgd { dampening: 0.0, nesterov: true };

    fn options(momentum: f64) -> StepOptions {
        StepOptions { learning_rate: 0.1, momentum, weight_decay: 0.01, is_first_step: false }
    }

    /// Returns the parameters and moments after two steps. With `measures`, checks the update norms of both steps.
    fn two_steps([params, grads]: &[Vec<Tensor>; 2], rule: OptimizerRule, measures: bool) -> Vec<Tensor> {
        let params = copies(params);
        let zeros = || params.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
        let steps = params.iter().map(|_| Tensor::from(1.0f32)).collect();
        let product = Some(Tensor::from(1.0f32));
        let moments = Moments { first: zeros(), second: zeros(), third: zeros(), steps, product };
        let squares = Tensor::zeros([params.len() as i64], (Kind::Double, Device::Cpu));
        for _ in 0..2 {
            let (old, _) = (copies(&params), squares.shallow_clone().zero_());
            let update_squares = measures.then_some(&squares);
            let step = FusedStep { params: &params, grads, grad_scale: None, found_inf: None, update_squares };
            optimizer_step(&step, &moments, &rule, &options(0.9)).unwrap();
            for (index, (new, old)) in params.iter().zip(&old).enumerate().filter(|_| measures) {
                let want = (new - old).to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
                let got = squares.double_value(&[index as i64]);
                assert!((got - want).abs() <= 1e-12 * want, "{rule:?} {index}: {got} {want}");
            }
        }
        let Moments { first, second, third, .. } = moments;
        [params, first, second, third].into_iter().flatten().collect()
    }

    #[test]
    fn a_measured_step_is_the_same_bit_for_bit_and_its_moves_are_those_of_the_parameters() {
        let (beta2, eps) = (0.99, 1e-8);
        // Created once: other tests draw from the same generator in parallel.
        let inputs = some(&SIZES);
        for rule in [
            SGD,
            OptimizerRule::Adam { beta2, eps },
            OptimizerRule::Adamw { beta2, eps },
            OptimizerRule::Rmsprop { alpha: beta2, eps, centered: true },
            OptimizerRule::Lamb { beta2, eps },
            OptimizerRule::Lion { beta2 },
        ] {
            assert_eq!(two_steps(&inputs, rule, true), two_steps(&inputs, rule, false), "{rule:?}");
        }
    }

    #[test]
    fn radam_has_no_pole_where_its_rectifier_has_one() {
        let rule = OptimizerRule::Radam { beta2: 0.6, eps: 1e-8 };
        assert!(
            two_steps(&some(&SIZES), rule, false).iter().all(|tensor| tensor.isfinite().all().int64_value(&[]) == 1)
        );
    }

    #[test]
    fn moments_that_a_rule_needs_and_does_not_get_are_refused() {
        let [params, grads] = some(&[3, 4]);
        let step =
            FusedStep { params: &params, grads: &grads, grad_scale: None, found_inf: None, update_squares: None };
        for rule in [SGD, OptimizerRule::Adamw { beta2: 0.9, eps: 1e-8 }, OptimizerRule::Lion { beta2: 0.9 }] {
            let refused = optimizer_step(&step, &Moments::default(), &rule, &options(0.9));
            assert!(matches!(refused, Err(LibtorchError::Argument { .. })), "{rule:?}");
        }
    }

    #[test]
    fn a_block_of_memory_is_dense_in_any_order_of_its_dimensions() {
        let images = Tensor::ones([2, 3, 4, 5], (Kind::Float, Device::Cpu));
        assert!(is_dense(&images) && is_dense(&images.permute([0, 2, 3, 1])) && is_dense(&Tensor::from(1.0f32)));
        assert!(!is_dense(&images.narrow(3, 0, 2)) && !is_dense(&images.narrow(1, 0, 1).expand([2, 9, 4, 5], false)));
    }
}
