//! Statistics of tensors on the host: one step's gradients, or the weights.

use std::sync::Arc;

use serde::Serialize;

use super::LogHistogram;
use crate::libtorch::column;

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
    /// Reads a table row with norms or with distributions; see [`column`](mod@crate::libtorch::column).
    pub(super) fn from_row(name: Arc<str>, elements: u64, row: &[f64]) -> Self {
        let distribution = (row.len() == column::COUNT).then(|| Distribution::from_row(elements, row));
        Self { name, elements, norm: row[column::SQUARES].sqrt(), max_abs: row[column::LARGEST], distribution }
    }

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
    fn from_row(elements: u64, row: &[f64]) -> Self {
        let count = |column: usize| row[column] as u64;
        let mean = row[column::SUM] / elements as f64;
        let variance = row[column::SQUARES] / elements as f64 - mean * mean;
        Self {
            mean,
            // If all elements are equal, rounding can make the variance negative. `max` would hide a NaN.
            std: if variance < 0.0 { 0.0 } else { variance.sqrt() },
            zeros: count(column::ZEROS),
            denormals: count(column::DENORMALS),
            nans: count(column::NANS),
            infinities: count(column::INFINITIES),
            negative_infinities: count(column::NEGATIVE_INFINITIES),
            histogram: LogHistogram::from_row(row),
        }
    }

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

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::libtorch::{Detail, tensor_table};

    fn of(values: &[f32]) -> TensorStatistics {
        let table = tensor_table(&[Tensor::from_slice(values)], Detail::Distribution).unwrap();
        let row = Vec::<f64>::try_from(table.get(0)).unwrap();
        TensorStatistics::from_row("w".into(), values.len() as u64, &row)
    }

    #[test]
    fn moments_are_as_derived_by_hand() {
        // Mean 8 / 4, squares 1 + 9 + 0 + 36 = 46, variance 46 / 4 - 4 = 7.5.
        let statistics = of(&[-1.0, 3.0, 0.0, 6.0]);
        let distribution = statistics.distribution.as_ref().unwrap();
        assert_eq!((statistics.norm, statistics.max_abs), (46f64.sqrt(), 6.0));
        assert_eq!((distribution.mean, distribution.std), (2.0, 7.5f64.sqrt()));
        assert_eq!((statistics.rms(), statistics.zero_fraction()), (46f64.sqrt() / 2.0, Some(0.25)));
    }

    #[test]
    fn equal_elements_have_no_deviation_and_no_elements_no_mean() {
        assert_eq!(of(&[0.1; 7]).distribution.unwrap().std, 0.0);
        let empty = of(&[]);
        assert_eq!((empty.norm, empty.rms(), empty.zero_fraction()), (0.0, 0.0, Some(0.0)));
        assert!(empty.distribution.unwrap().mean.is_nan());
    }

    #[test]
    fn each_kind_of_non_finite_element_is_counted_apart() {
        let statistics = of(&[f32::NAN, f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, 1e-40, 1.0]);
        assert_eq!(statistics.non_finite_count(), Some(4));
        let distribution = statistics.distribution.as_ref().unwrap();
        assert_eq!((distribution.nans, distribution.infinities, distribution.negative_infinities), (1, 2, 1));
        assert_eq!(distribution.denormals, 1);
        assert!(!statistics.is_finite() && distribution.std.is_nan());
    }
}
