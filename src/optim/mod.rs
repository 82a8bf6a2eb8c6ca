//! From gradients to updates: optimizers on libtorch's fused kernels, and learning rate schedules.

mod adamw;
mod group;
mod schedule;
mod sgd;

pub use adamw::Adamw;
pub use group::{ParameterGroup, decay_groups};
pub use schedule::{Rates, Schedule, Span};
pub use sgd::Sgd;
use tch::Tensor;

use crate::{
    config::{OptimizerConfig, OptimizerName},
    libtorch::LibtorchError,
};

/// Why a step could not be taken. Parameters may have been updated in part.
#[derive(Debug, thiserror::Error)]
pub enum OptimError {
    /// libtorch refused.
    #[error("the optimizer step failed: {0}")]
    Libtorch(LibtorchError),
    /// The rates do not fit the parameters' f32, in which the step would be infinite or not a number.
    #[error(
        "a learning rate of {} with momentum {} is no f32 number; lower optimizer.learning_rate or mend [schedule]",
        .0.learning_rate, .0.momentum
    )]
    Rates(Rates),
}

impl From<LibtorchError> for OptimError {
    fn from(error: LibtorchError) -> Self {
        Self::Libtorch(error)
    }
}

impl From<tch::TchError> for OptimError {
    fn from(error: tch::TchError) -> Self {
        Self::Libtorch(error.into())
    }
}

/// What steers one step on the device, without a host sync.
#[derive(Default)]
pub struct StepControl<'a> {
    /// Shape `[]`, f32: the gradients are divided by it first.
    pub grad_scale: Option<&'a Tensor>,
    /// Shape `[]`, f32: 1 leaves parameters and optimizer state untouched.
    pub found_inf: Option<&'a Tensor>,
    /// Whether the [`UpdateOutcome`] is wanted. The step is the same bit for bit, and takes one more pass over the
    /// parameters.
    pub measures_updates: bool,
}

/// How far a step moved the parameters, still on their device; empty unless it was asked for.
#[derive(Debug, Default)]
pub struct UpdateOutcome {
    /// The parameters that had a gradient.
    pub params: Vec<Tensor>,
    /// The squared L2 norm of each one's move, f64, in vectors that follow on each other.
    pub squares: Vec<Tensor>,
}

/// An optimizer with its state.
pub enum Optimizer {
    /// torch.optim.SGD.
    Sgd(Sgd),
    /// torch.optim.AdamW.
    Adamw(Adamw),
}

impl Optimizer {
    /// The optimizer a config asks for, over `groups`.
    ///
    /// # Errors
    /// Where libtorch cannot allocate its state.
    pub fn new(config: &OptimizerConfig, groups: Vec<ParameterGroup>) -> Result<Self, OptimError> {
        Ok(match config.name {
            OptimizerName::Sgd => Self::Sgd(Sgd::new(groups, config.nesterov)?),
            OptimizerName::Adamw => Self::Adamw(Adamw::new(groups, config.betas[1], config.eps)?),
        })
    }

    /// Updates every parameter that has a gradient.
    ///
    /// # Errors
    /// Where libtorch refuses, or the rates are no f32 numbers.
    pub fn step(&mut self, rates: Rates, control: &StepControl<'_>) -> Result<UpdateOutcome, OptimError> {
        if !(rates.learning_rate as f32).is_finite() || !(rates.momentum as f32).is_finite() {
            return Err(OptimError::Rates(rates));
        }
        match self {
            Self::Sgd(sgd) => sgd.step(rates, control),
            Self::Adamw(adamw) => adamw.step(rates, control),
        }
    }
}
