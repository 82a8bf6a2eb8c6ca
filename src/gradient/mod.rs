//! Gradient statistics of a step: hooks on every parameter, one batched pass, one device-to-host copy.
//!
//! A custom training loop only needs [`GradientMonitor::collect`]. To copy more data in the same transfer, put several
//! measurements into one [`HostBlock`](crate::libtorch::HostBlock), as the trainer does.
//!
//! ```
//! use gradwatch::gradient::GradientMonitor;
//! use tch::{Kind, Tensor};
//!
//! let weight = Tensor::from_slice(&[1.0f32, 2.0]).set_requires_grad(true);
//! let monitor = GradientMonitor::attach([("fc.weight", &weight)])?;
//! (&weight * Tensor::from_slice(&[3.0f32, -4.0])).sum(Kind::Float).backward();
//! let statistics = monitor.collect()?;
//! assert_eq!(statistics.total_norm, 5.0);
//! assert_eq!(statistics.parameters[0].max_abs, 4.0);
//! assert!(statistics.is_finite());
//! # Ok::<(), gradwatch::gradient::GradientError>(())
//! ```

mod clock;
mod layer_taps;
mod measurement;
mod micro_batches;
mod monitor;
mod named_variables;
mod noise_scale;
mod origin;
mod previous_gradient;
mod rows;
mod schedule;
mod update;

pub use gradwatch_doctor::statistics::{
    BackwardTime, BackwardTimeline, Bands, DepthProfile, Distribution, GradientHistory, GradientStatistics,
    LayerStatistics, LogHistogram, NormRange, ParameterHistory, ParameterUpdate, ProfileSource, RankPlace, RankSpread,
    RankStatistics, RankStep, Slope, TensorStatistics, WeightMismatch,
};
pub use layer_taps::{LayerParts, LayerTaps};
pub use measurement::{GradientMeasurement, GradientParts, Measurement, MeasurementParts};
pub use micro_batches::{MicroBatchParts, MicroBatches};
pub use monitor::GradientMonitor;
pub use named_variables::named_variables;
pub use noise_scale::{MicroBatchNorms, NoiseScale};
pub use origin::{Origin, OriginSearch, Place};
pub use previous_gradient::PreviousGradient;
pub use schedule::Due;
pub use update::UpdateSnapshot;

use crate::{distributed::DistributedError, libtorch::LibtorchError};

/// Reason why gradients could not be read. The gradients themselves are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum GradientError {
    /// Two parameters have the same name.
    #[error("two parameters are named {name}; want a name of its own for each")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Error between ranks.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// libtorch reported an error, for example because of sparse gradients or mixed dtypes.
    #[error("gradients cannot be read: {0}")]
    Libtorch(LibtorchError),
}

impl From<LibtorchError> for GradientError {
    fn from(error: LibtorchError) -> Self {
        Self::Libtorch(error)
    }
}

impl From<tch::TchError> for GradientError {
    fn from(error: tch::TchError) -> Self {
        Self::Libtorch(error.into())
    }
}
