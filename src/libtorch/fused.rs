//! One optimizer step over all parameters in one kernel: SGD and AdamW.
//!
//! Both divide the gradient by `grad_scale` and leave everything untouched where `found_inf` is 1, so that clipping by
//! norm and skipping a non-finite step cost no extra pass and no host sync.

use tch::{Kind, Tensor};

use super::{LibtorchError, ffi, foreach::check_list};

/// Options of torch.optim.SGD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdOptions {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the previous update that is kept; 0 is plain SGD.
    pub momentum: f64,
    /// Share of the gradient that momentum leaves out.
    pub dampening: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Whether momentum looks ahead.
    pub nesterov: bool,
}

/// Options of torch.optim.AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwOptions {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first and of the second moment.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled decay of the weights.
    pub weight_decay: f64,
}

/// What both optimizers take: parameters with their gradients, and the two device scalars that steer the step.
pub struct FusedStep<'a> {
    /// Parameters, updated in place.
    pub params: &'a [Tensor],
    /// Their gradients, one each; scaled in place where `grad_scale` is given.
    pub grads: &'a [Tensor],
    /// Shape `[]`, f32: the gradients are divided by it first.
    pub grad_scale: Option<&'a Tensor>,
    /// Shape `[]`, f32: 1 leaves parameters and moments as they were.
    pub found_inf: Option<&'a Tensor>,
    /// Shape `[params.len()]`, f64: the squared norm of each parameter's move is added to it. The step is the same bit
    /// for bit; it is taken on a small part of the parameters at a time, which a copy of the old values fits.
    pub update_squares: Option<&'a Tensor>,
}

/// One step of torch.optim.SGD. `momentum_buffers` has one tensor per parameter, or none where momentum is 0;
/// `is_first_step` overwrites the buffers instead of decaying them.
///
/// # Errors
/// Where the lists do not fit each other.
pub fn fused_sgd(
    step: &FusedStep<'_>,
    momentum_buffers: &[Tensor],
    is_first_step: bool,
    options: &SgdOptions,
) -> Result<(), LibtorchError> {
    const OPERATION: &str = "_fused_sgd_";
    check_step(OPERATION, step)?;
    let uses_momentum = options.momentum != 0.0;
    if uses_momentum {
        check_like_params(OPERATION, step, momentum_buffers)?;
    }
    let first_moments = uses_momentum.then_some(momentum_buffers);
    let SgdOptions { learning_rate, momentum, dampening, weight_decay, nesterov } = *options;
    let lists = lists(step, first_moments, None, None);
    ffi::fused_sgd(&lists, learning_rate, [momentum, dampening], weight_decay, nesterov, is_first_step)
}

/// One step of torch.optim.AdamW. The moments have one tensor per parameter; `steps` one f32 tensor of shape `[]`
/// each, which counts this step already.
///
/// # Errors
/// Where the lists do not fit each other.
pub fn fused_adamw(
    step: &FusedStep<'_>,
    first_moments: &[Tensor],
    second_moments: &[Tensor],
    steps: &[Tensor],
    options: &AdamwOptions,
) -> Result<(), LibtorchError> {
    const OPERATION: &str = "_fused_adamw_";
    check_step(OPERATION, step)?;
    check_like_params(OPERATION, step, first_moments)?;
    check_like_params(OPERATION, step, second_moments)?;
    let counts = |(count, param): (&Tensor, &Tensor)| {
        count.dim() == 0 && count.kind() == Kind::Float && count.device() == param.device()
    };
    if steps.len() != step.params.len() || !steps.iter().zip(step.params).all(counts) {
        let got = format!("{} step counts", steps.len());
        return Err(LibtorchError::Argument { operation: OPERATION, got, want: "a float scalar per parameter" });
    }
    let AdamwOptions { learning_rate, betas, eps, weight_decay } = *options;
    let lists = lists(step, Some(first_moments), Some(second_moments), Some(steps));
    ffi::fused_adamw(&lists, learning_rate, betas, eps, weight_decay)
}

fn lists<'a>(
    step: &FusedStep<'a>,
    first_moments: Option<&'a [Tensor]>,
    second_moments: Option<&'a [Tensor]>,
    steps: Option<&'a [Tensor]>,
) -> ffi::FusedLists<'a> {
    ffi::FusedLists {
        params: step.params,
        grads: step.grads,
        first_moments,
        second_moments,
        steps,
        grad_scale: step.grad_scale,
        found_inf: step.found_inf,
        update_squares: step.update_squares,
    }
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
            // The kernels walk through memory, element by element of the parameter's own layout.
            && tensor.stride() == param.stride()
            && is_dense(tensor)
    };
    if tensors.len() == step.params.len() && tensors.iter().zip(step.params).all(fits) {
        return Ok(());
    }
    let got = format!("{} parameters and {} tensors that differ from them", step.params.len(), tensors.len());
    Err(LibtorchError::Argument {
        operation,
        got,
        want: "a tensor per parameter, of its shape, strides, dtype and device",
    })
}

/// Whether the elements fill one block of memory, in any order of the dimensions.
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
        let options =
            SgdOptions { learning_rate: 0.1, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false };
        fused_sgd(&step, &[], false, &options)
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

    /// Parameters of more elements than fit one round, with their gradients.
    fn some(sizes: &[i64]) -> [Vec<Tensor>; 2] {
        tch::manual_seed(7);
        let random = || sizes.iter().map(|&size| Tensor::randn([size], (Kind::Float, Device::Cpu))).collect();
        [random(), random()]
    }

    fn copies(tensors: &[Tensor]) -> Vec<Tensor> {
        tensors.iter().map(Tensor::copy).collect()
    }

    /// The parameters after two steps, and with `update_squares` the norms of the second.
    fn two_steps(take: impl Fn(&FusedStep<'_>, &[Vec<Tensor>; 3]), measures: bool) -> (Vec<Tensor>, Vec<Tensor>) {
        let [params, grads] = some(&[3, 300_007, 0, 64, 1, 131]);
        let zeros = || params.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
        let counts = params.iter().map(|_| Tensor::from(1.0f32)).collect();
        let state = [zeros(), zeros(), counts];
        let squares = Tensor::zeros([params.len() as i64], (Kind::Double, Device::Cpu));
        let mut moves = Vec::new();
        for _ in 0..2 {
            let (old, _) = (copies(&params), squares.shallow_clone().zero_());
            let update_squares = measures.then_some(&squares);
            let step = FusedStep { params: &params, grads: &grads, grad_scale: None, found_inf: None, update_squares };
            take(&step, &state);
            moves = params.iter().zip(&old).map(|(new, old)| (new - old).to_kind(Kind::Double).square()).collect();
        }
        if measures {
            for (index, squared_move) in moves.iter().enumerate() {
                let (got, want) = (squares.double_value(&[index as i64]), squared_move.sum(Kind::Double));
                let want = want.double_value(&[]);
                assert!((got - want).abs() <= 1e-12 * want, "{index}: {got} {want}");
            }
        }
        (params, state.into_iter().flatten().collect())
    }

    #[test]
    fn a_measured_step_is_the_same_bit_for_bit_and_its_moves_are_those_of_the_parameters() {
        let sgd = |step: &FusedStep<'_>, [moments, ..]: &[Vec<Tensor>; 3]| {
            let options =
                SgdOptions { learning_rate: 0.1, momentum: 0.9, dampening: 0.0, weight_decay: 0.01, nesterov: true };
            fused_sgd(step, moments, false, &options).unwrap();
        };
        let adamw = |step: &FusedStep<'_>, [first, second, counts]: &[Vec<Tensor>; 3]| {
            let options = AdamwOptions { learning_rate: 0.1, betas: (0.9, 0.99), eps: 1e-8, weight_decay: 0.01 };
            fused_adamw(step, first, second, counts, &options).unwrap();
        };
        assert_eq!(two_steps(sgd, true), two_steps(sgd, false));
        assert_eq!(two_steps(adamw, true), two_steps(adamw, false));
    }

    #[test]
    fn a_block_of_memory_is_dense_in_any_order_of_its_dimensions() {
        let images = Tensor::ones([2, 3, 4, 5], (Kind::Float, Device::Cpu));
        assert!(is_dense(&images) && is_dense(&images.permute([0, 2, 3, 1])) && is_dense(&Tensor::from(1.0f32)));
        assert!(!is_dense(&images.narrow(3, 0, 2)) && !is_dense(&images.narrow(1, 0, 1).expand([2, 9, 4, 5], false)));
    }
}
