//! Statistics of tensors on the host: one step's gradients, or the weights.

use std::sync::Arc;

use serde::Serialize;

use super::LogHistogram;

/// Statistics of one tensor: a parameter or its gradient.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorStatistics {
    /// Name of the parameter.
    pub name: Arc<str>,
    /// Number of elements.
    pub elements: u64,
    /// L2 norm, computed in f64. NaN or infinite if an element is.
    pub norm: f64,
    /// Largest absolute value. NaN if an element is NaN.
    pub max_abs: f64,
    /// All other statistics, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
}

/// Distribution of a tensor's elements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    /// Mean of all elements. NaN if there are none, or if an element is NaN.
    pub mean: f64,
    /// Population standard deviation (divided by the number of elements).
    pub std: f64,
    /// Number of elements that are exactly 0.
    pub zeros: u64,
    /// Number of nonzero elements below the smallest normal number of their dtype. They are slow on a CPU.
    pub denormals: u64,
    /// Number of NaN elements.
    pub nans: u64,
    /// Number of elements that are infinity.
    pub infinities: u64,
    /// Number of elements that are -infinity.
    pub negative_infinities: u64,
    /// Histogram of all other elements, by sign and power of two.
    pub histogram: LogHistogram,
}

impl TensorStatistics {
    /// Root mean square of the elements; 0 if there are none.
    pub fn rms(&self) -> f64 {
        self.norm / (self.elements.max(1) as f64).sqrt()
    }

    /// Whether every element is finite.
    pub fn is_finite(&self) -> bool {
        // Squares of f32 and their sums do not overflow f64.
        self.norm.is_finite()
    }

    /// Fraction of elements that are exactly 0; `None` without a distribution.
    pub fn zero_fraction(&self) -> Option<f64> {
        Some(self.distribution.as_ref()?.zeros as f64 / self.elements.max(1) as f64)
    }

    /// Number of NaN or infinite elements; `None` without a distribution.
    pub fn non_finite_count(&self) -> Option<u64> {
        self.distribution.as_ref().map(Distribution::non_finite_count)
    }
}

impl Distribution {
    /// Number of NaN or infinite elements.
    pub fn non_finite_count(&self) -> u64 {
        self.nans + self.infinities + self.negative_infinities
    }
}

/// Gradient statistics of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GradientStatistics {
    /// Each parameter that received a gradient, in the order of attachment.
    pub parameters: Vec<TensorStatistics>,
    /// L2 norm of all gradients as one vector.
    pub total_norm: f64,
    /// Parameters that received no gradient since the last reading.
    pub missing: Vec<Arc<str>>,
    /// Indices into `parameters` in the order in which backward wrote the gradients; the last layer comes first.
    pub backward_order: Vec<usize>,
}

impl GradientStatistics {
    /// Whether every gradient is finite. An optimizer must not step on non-finite gradients.
    pub fn is_finite(&self) -> bool {
        self.total_norm.is_finite()
    }

    /// The first parameter of the backward pass with a non-finite gradient, which is the closest one to the cause.
    pub fn first_non_finite(&self) -> Option<&TensorStatistics> {
        self.backward_order.iter().map(|&index| &self.parameters[index]).find(|parameter| !parameter.is_finite())
    }
}
