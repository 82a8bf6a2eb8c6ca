//! Converts a tensor's distribution to TensorBoard's format: buckets that double in width on both sides of 0.

use gradwatch_events::{EventsError, Histogram};

use crate::statistics::{LogHistogram, TensorStatistics};

/// A sequence of adjacent buckets, with the right edge of each.
#[derive(Default)]
struct Buckets {
    limits: Vec<f64>,
    counts: Vec<f64>,
}

impl Buckets {
    fn push(&mut self, limit: f64, count: u64) {
        self.limits.push(limit);
        self.counts.push(count as f64);
    }
}

/// Histogram of the finite elements of a tensor; `None` if its distribution was not measured. Zeros and denormals
/// share the bucket around 0. At most 83 buckets of 16 bytes each, regardless of the size of the tensor.
///
/// # Errors
/// No known case: the buckets are valid by construction.
pub fn histogram_of(tensor: &TensorStatistics) -> Result<Option<Histogram>, EventsError> {
    let Some(distribution) = &tensor.distribution else { return Ok(None) };
    let LogHistogram { top, negative, positive } = &distribution.histogram;
    let tiny = 2f64.powi(LogHistogram::SMALLEST_EXPONENT);
    let power = |index: usize| 2f64.powi(top - index as i32);
    let mut buckets = Buckets::default();
    for (index, &count) in negative.iter().enumerate() {
        buckets.push(-inner_edge(power(index), index, tiny), count);
    }
    if buckets.limits.last() != Some(&-tiny) {
        buckets.push(-tiny, 0);
    }
    buckets.push(tiny, distribution.zeros + distribution.denormals);
    for (index, &count) in positive.iter().enumerate().rev() {
        let inner = inner_edge(power(index), index, tiny);
        if index + 1 == positive.len() && inner > tiny {
            buckets.push(inner, 0);
        }
        buckets.push(2.0 * power(index), count);
    }
    let range = range(tensor, &distribution.histogram, [distribution.zeros, distribution.denormals]);
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    let (sum, squares) = (finite(distribution.mean * tensor.elements as f64), finite(tensor.norm.powi(2)));
    Ok(Some(Histogram::from_buckets(range, sum, squares, buckets.limits, buckets.counts)?))
}

/// Edge of a bucket toward 0. The last of the separate octaves also contains all smaller values.
fn inner_edge(power: f64, index: usize, tiny: f64) -> f64 {
    if index + 1 == LogHistogram::OCTAVES { tiny } else { power }
}

/// The smallest and the largest element, as precisely as they are known: the one with the larger magnitude exactly, the
/// other one to its power of two.
fn range(tensor: &TensorStatistics, histogram: &LogHistogram, [zeros, denormals]: [u64; 2]) -> [f64; 2] {
    let largest = if tensor.max_abs.is_finite() { tensor.max_abs } else { f64::from(f32::MAX) };
    let tiny = 2f64.powi(LogHistogram::SMALLEST_EXPONENT);
    // Denormals were not counted by sign.
    let around_zero = if denormals > 0 { tiny.min(largest) } else { 0.0 };
    let end = |counts: &[u64]| {
        let first = counts.iter().position(|&count| count > 0)?;
        Some((2.0 * 2f64.powi(histogram.top - first as i32)).min(largest))
    };
    // If one side has no elements, the range starts at the innermost bucket of the other side.
    let start = |counts: &[u64]| {
        if zeros + denormals > 0 || counts.is_empty() {
            return 0.0 - around_zero;
        }
        inner_edge(2f64.powi(histogram.top + 1 - counts.len() as i32), counts.len() - 1, tiny)
    };
    let (negative, positive) = (&histogram.negative, &histogram.positive);
    [end(negative).map_or_else(|| start(positive), |end| -end), end(positive).unwrap_or_else(|| -start(negative))]
}
