//! Adam with decoupled weight decay: torch.optim.AdamW.

use tch::{Kind, Tensor};

use super::{OptimError, ParameterGroup, Rates, StepControl, UpdateOutcome};
use crate::libtorch::{AdamwOptions, foreach_add, fused_adamw};

/// p <- p * (1 - learning_rate * weight_decay), then Adam's step with bias-corrected moments (Loshchilov and Hutter
/// 2019, arXiv:1711.05101, algorithm 2). The first beta is the step's [`Rates::momentum`].
pub struct Adamw {
    groups: Vec<GroupState>,
    beta2: f64,
    eps: f64,
}

struct GroupState {
    group: ParameterGroup,
    first_moments: Vec<Tensor>,
    second_moments: Vec<Tensor>,
    /// Steps each parameter has taken: f32 scalars on its device, as the fused kernel wants them.
    steps: Vec<Tensor>,
}

impl Adamw {
    /// Moments and step counts start at zero.
    ///
    /// # Errors
    /// Where libtorch cannot allocate the moments.
    pub fn new(groups: Vec<ParameterGroup>, beta2: f64, eps: f64) -> Result<Self, OptimError> {
        let groups = groups.into_iter().map(GroupState::new).collect::<Result<_, _>>()?;
        Ok(Self { groups, beta2, eps })
    }

    pub(super) fn step(&mut self, rates: Rates, control: &StepControl<'_>) -> Result<UpdateOutcome, OptimError> {
        let mut outcome = UpdateOutcome::default();
        for state in &self.groups {
            let ready = state.group.ready()?;
            if ready.params.is_empty() {
                continue;
            }
            let steps = ready.select(&state.steps);
            // A skipped step does not count; 1 - found_inf keeps that on the device.
            let one = match control.found_inf {
                Some(found_inf) => found_inf.f_neg()?.f_add_scalar(1.0)?,
                None => steps[0].f_ones_like()?,
            };
            foreach_add(&steps, &one)?;
            let options = AdamwOptions {
                learning_rate: rates.learning_rate,
                betas: (rates.momentum, self.beta2),
                eps: self.eps,
                weight_decay: state.group.weight_decay,
            };
            let (first, second) = (ready.select(&state.first_moments), ready.select(&state.second_moments));
            ready.take(control, &mut outcome, |step| fused_adamw(step, &first, &second, &steps, &options))?;
        }
        Ok(outcome)
    }
}

impl GroupState {
    fn new(group: ParameterGroup) -> Result<Self, OptimError> {
        let zeros = || group.params.iter().map(Tensor::f_zeros_like).collect::<Result<Vec<_>, _>>();
        let (first_moments, second_moments) = (zeros()?, zeros()?);
        let count = |param: &Tensor| Tensor::f_zeros([] as [i64; 0], (Kind::Float, param.device()));
        let steps = group.params.iter().map(count).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { group, first_moments, second_moments, steps })
    }
}
