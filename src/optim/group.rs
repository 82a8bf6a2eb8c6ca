//! Parameters that share a weight decay.

use tch::{Kind, TchError, Tensor};

use super::{StepControl, UpdateOutcome};
use crate::libtorch::{FusedStep, LibtorchError};

/// Parameters that one fused call updates, and their weight decay.
pub struct ParameterGroup {
    /// Leaf tensors that require a gradient.
    pub params: Vec<Tensor>,
    /// Weight decay of all of them.
    pub weight_decay: f64,
}

/// Splits parameters as timm does: biases and the parameters of normalisation layers (everything with at most one
/// dimension) do not decay unless `decay_norms_and_biases`.
pub fn decay_groups<'a>(
    params: impl IntoIterator<Item = &'a Tensor>,
    weight_decay: f64,
    decay_norms_and_biases: bool,
) -> Vec<ParameterGroup> {
    let params = params.into_iter().filter(|param| param.requires_grad()).map(Tensor::shallow_clone);
    let (decaying, rest): (Vec<_>, Vec<_>) = params.partition(|param| decay_norms_and_biases || param.dim() > 1);
    let groups =
        [(decaying, weight_decay), (rest, 0.0)].map(|(params, weight_decay)| ParameterGroup { params, weight_decay });
    groups.into_iter().filter(|group| !group.params.is_empty()).collect()
}

/// The positions of a group's parameters that have a gradient, with both.
pub(super) struct Ready {
    pub positions: Vec<usize>,
    pub params: Vec<Tensor>,
    pub grads: Vec<Tensor>,
}

impl ParameterGroup {
    /// A parameter that backward did not reach has no gradient and stays as it is, as in torch.
    pub(super) fn ready(&self) -> Result<Ready, TchError> {
        let mut ready = Ready { positions: Vec::new(), params: Vec::new(), grads: Vec::new() };
        for (position, param) in self.params.iter().enumerate() {
            let grad = param.grad();
            if grad.defined() {
                ready.positions.push(position);
                ready.params.push(param.shallow_clone());
                ready.grads.push(as_laid_out(param, grad)?);
            }
        }
        Ok(ready)
    }
}

/// Backward gives a gradient its parameter's layout, unless a hook replaced it; the fused kernels need that layout.
fn as_laid_out(param: &Tensor, grad: Tensor) -> Result<Tensor, TchError> {
    if grad.stride() == param.stride() {
        return Ok(grad);
    }
    let mut copy = param.f_empty_like()?;
    copy.f_copy_(&grad)?;
    Ok(copy)
}

impl Ready {
    /// Runs a fused step over the group and says how far it moved each parameter, if `control` asks for it.
    pub(super) fn take(
        self,
        control: &StepControl<'_>,
        outcome: &mut UpdateOutcome,
        step: impl FnOnce(&FusedStep<'_>) -> Result<(), LibtorchError>,
    ) -> Result<(), LibtorchError> {
        let StepControl { grad_scale, found_inf, measures_updates } = *control;
        let options = (Kind::Double, self.params[0].device());
        let squares = if measures_updates { Some(Tensor::f_zeros([self.params.len() as i64], options)?) } else { None };
        let (params, grads, update_squares) = (&self.params, &self.grads, squares.as_ref());
        step(&FusedStep { params, grads, grad_scale, found_inf, update_squares })?;
        if let Some(squares) = squares {
            outcome.params.extend(self.params);
            outcome.squares.push(squares);
        }
        Ok(())
    }

    pub(super) fn select(&self, state: &[Tensor]) -> Vec<Tensor> {
        self.positions.iter().map(|&position| state[position].shallow_clone()).collect()
    }
}
