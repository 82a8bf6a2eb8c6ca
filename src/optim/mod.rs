//! From gradients to updates: optimizers, on libtorch's fused kernels where it has them, and learning rate schedules.

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
    /// Whether no step was taken before: SGD with dampening begins its momentum with the whole gradient.
    pub is_first_step: bool,
}

/// How far a step moved the parameters, still on their device; empty unless it was asked for.
#[derive(Debug, Default)]
pub struct UpdateOutcome {
    /// The parameters that had a gradient.
    pub params: Vec<Tensor>,
    /// The squared L2 norm of each one's move, f64, in vectors that follow on each other.
    pub squares: Vec<Tensor>,
}
