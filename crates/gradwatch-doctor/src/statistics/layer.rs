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
    /// Fraction of dormant units: those whose mean absolute output is at most [`Self::DORMANT`] of the mean over the layer
    /// (Sokar et al. 2023). Channels are the units of a convolution. `None` in runs of earlier versions.
    pub dormant_fraction: Option<f64>,
    /// Root mean square of dLoss/dz, where z is the activation's input and Loss is the mean over the step's images.
    /// `None` if no gradient reached the layer.
    pub gradient_rms: Option<f64>,
}

impl LayerStatistics {
    /// The threshold tau of Sokar et al. 2023 (arXiv 2302.12902, definition 3.1).
    pub const DORMANT: f64 = 0.1;
}
