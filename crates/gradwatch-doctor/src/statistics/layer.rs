//! Statistics of one layer's activations.

use std::sync::Arc;

use serde::Serialize;

/// Statistics of one layer in one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerStatistics {
    /// Name of the convolution or linear layer before the activation.
    pub layer: Arc<str>,
    /// Mean of the activation's outputs.
    pub mean: f64,
    /// Root mean square of the outputs.
    pub rms: f64,
    /// Fraction of outputs at or below 0.
    pub nonpositive_fraction: f64,
    /// Fraction of activation inputs in the activation's flat range; see
    /// [`Activation::saturation`](crate::config::Activation::saturation).
    pub saturated_fraction: f64,
    /// Root mean square of dLoss/dz, where z is the activation's input and Loss is the mean over the step's images.
    /// `None` if no gradient reached the layer.
    pub gradient_rms: Option<f64>,
}
