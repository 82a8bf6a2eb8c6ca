//! Statistics of batch normalization in one pass, for callers that update the running ones themselves.

use tch::{TchError, Tensor};

/// Statistics of a batch normalization in a training pass.
///
/// The update of the running statistics is `r' = momentum * s + (1 - momentum) * r`.
pub struct BatchStatistics<'a> {
    /// The layer's buffer of this name: `[channels]`, f32.
    pub running_mean: &'a Tensor,
    /// Likewise.
    pub running_var: &'a Tensor,
    /// Likewise: `[]`, i64.
    pub num_batches_tracked: &'a Tensor,
    /// Mean per channel: `[channels]`, f32.
    pub mean: Tensor,
    /// Unbiased variance per channel: `[channels]`, f32.
    pub var: Tensor,
    /// Weight of the batch in the running statistics.
    pub momentum: f64,
    /// Whether the input was f32. libtorch updates the running variance with other roundings for smaller dtypes.
    pub is_wide: bool,
}

/// A callback for each batch normalization of a training pass, in forward order. An error ends the pass.
pub type StatisticsFn<'a> = dyn Fn(BatchStatistics<'_>) -> Result<(), TchError> + 'a;
