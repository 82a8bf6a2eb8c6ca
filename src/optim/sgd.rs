//! Stochastic gradient descent with momentum: torch.optim.SGD.

use tch::Tensor;

use super::{OptimError, ParameterGroup, Rates, StepControl, UpdateOutcome};
use crate::libtorch::{SgdOptions, fused_sgd};

/// v <- momentum * v + (g + weight_decay * p); p <- p - learning_rate * v, or with nesterov p - learning_rate *
/// (g + weight_decay * p + momentum * v).
pub struct Sgd {
    groups: Vec<(ParameterGroup, Vec<Tensor>)>,
    nesterov: bool,
}

impl Sgd {
    /// Momentum buffers start at zero, which gives torch's first step (v = g): torch copies the gradient instead.
    ///
    /// # Errors
    /// Where libtorch cannot allocate the buffers.
    pub fn new(groups: Vec<ParameterGroup>, nesterov: bool) -> Result<Self, OptimError> {
        let groups = groups.into_iter().map(|group| {
            let buffers = group.params.iter().map(Tensor::f_zeros_like).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, OptimError>((group, buffers))
        });
        Ok(Self { groups: groups.collect::<Result<_, _>>()?, nesterov })
    }

    pub(super) fn step(&mut self, rates: Rates, control: &StepControl<'_>) -> Result<UpdateOutcome, OptimError> {
        let mut outcome = UpdateOutcome::default();
        for (group, buffers) in &self.groups {
            let ready = group.ready()?;
            if ready.params.is_empty() {
                continue;
            }
            let options = SgdOptions {
                learning_rate: rates.learning_rate,
                momentum: rates.momentum,
                dampening: 0.0,
                weight_decay: group.weight_decay,
                nesterov: self.nesterov,
            };
            let buffers = ready.select(buffers);
            ready.take(control, &mut outcome, |step| fused_sgd(step, &buffers, false, &options))?;
        }
        Ok(outcome)
    }
}
