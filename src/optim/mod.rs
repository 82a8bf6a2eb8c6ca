//! Optimizers, on libtorch's fused kernels where available, and learning rate schedules.

mod ema;
mod grad_scaler;
mod group;
mod headroom;
mod optimizer;
mod plateau;
mod put_back;
mod schedule;

use tch::Tensor;

pub use ema::Ema;
pub use grad_scaler::GradScaler;
pub use group::{ParameterGroup, parameter_groups};
pub use headroom::Headroom;
pub use optimizer::Optimizer;
pub use plateau::{Plateau, PlateauCourse};
pub use put_back::Rejection;
pub use schedule::{Rates, Schedule, Span};

use crate::libtorch::LibtorchError;

/// Reason why a step failed. Parameters may have been partially updated.
#[derive(Debug, thiserror::Error)]
pub enum OptimError {
    /// libtorch reported an error.
    #[error("the optimizer step failed: {0}")]
    Libtorch(LibtorchError),
    /// The rates overflow the parameters' f32, so the step would be infinite or NaN.
    #[error(
        "a learning rate of {} with momentum {} is not a finite f32 number; lower optimizer.learning_rate or fix \
         [schedule]",
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

/// Controls one step on the device, without a host sync.
#[derive(Default)]
pub struct StepControl<'a> {
    /// Shape `[]`, f32: divisor of the gradients, applied first.
    pub grad_scale: Option<&'a Tensor>,
    /// Shape `[]`, f32: 1 leaves the parameters and the optimizer state unchanged.
    pub found_inf: Option<&'a Tensor>,
    /// Whether to measure the [`UpdateOutcome`]. The step itself stays the same bit for bit and takes one more pass
    /// over the parameters.
    pub measures_updates: bool,
    /// Whether this is the first step: SGD with dampening starts its momentum with the undampened gradient.
    pub is_first_step: bool,
}

/// How far a step moved the parameters, still on their device. Empty unless requested.
#[derive(Debug, Default)]
pub struct UpdateOutcome {
    /// The parameters that had a gradient.
    pub params: Vec<Tensor>,
    /// Squared L2 norm of each parameter's update, f64, as consecutive vectors.
    pub squares: Vec<Tensor>,
}
