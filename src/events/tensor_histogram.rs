//! Converts a tensor's distribution to TensorBoard's format: buckets that double in width on both sides of 0.

use super::{EventsError, Histogram};
use crate::{
    gradient::{LogHistogram, TensorStatistics},
    libtorch::column::FIRST_EXPONENT,
};

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

impl Histogram {
    /// Histogram of the finite elements of a tensor; `None` if its distribution was not measured. Zeros and denormals
    /// share the bucket around 0. At most 83 buckets of 16 bytes each, regardless of the size of the tensor.
    ///
    /// # Errors
    /// No known case: the buckets are valid by construction.
    pub fn of_tensor(tensor: &TensorStatistics) -> Result<Option<Self>, EventsError> {
        let Some(distribution) = &tensor.distribution else { return Ok(None) };
        let LogHistogram { top, negative, positive } = &distribution.histogram;
        let tiny = 2f64.powi(FIRST_EXPONENT);
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
        Ok(Some(Self::from_buckets(range, sum, squares, buckets.limits, buckets.counts)?))
    }
}

/// Edge of a bucket toward 0. The last of the separate octaves also contains all smaller values.
fn inner_edge(power: f64, index: usize, tiny: f64) -> f64 {
    if index + 1 == LogHistogram::OCTAVES { tiny } else { power }
}

/// The smallest and the largest element, as precisely as they are known: the one with the larger magnitude exactly, the
/// other one to its power of two.
fn range(tensor: &TensorStatistics, histogram: &LogHistogram, [zeros, denormals]: [u64; 2]) -> [f64; 2] {
    let largest = if tensor.max_abs.is_finite() { tensor.max_abs } else { f64::from(f32::MAX) };
    let tiny = 2f64.powi(FIRST_EXPONENT);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use tch::{Kind, Tensor};

    use super::*;
    use crate::{events::proto::HistogramProto, gradient::Measurement, libtorch::Detail};

    fn of(values: &Tensor) -> HistogramProto {
        let measurement = Measurement::of([("w", values.shallow_clone())], Detail::Distribution).unwrap();
        Histogram::of_tensor(&measurement.read().unwrap().0[0]).unwrap().unwrap().into_proto()
    }

    #[test]
    fn buckets_double_on_both_sides_of_zero() {
        let histogram = of(&Tensor::from_slice(&[-3.0f32, -0.75, 0.0, 1e-40, 0.5, 0.6, 2.5]));
        let tiny = 2f64.powi(-126);
        assert_eq!(histogram.bucket_limit, [-2.0, -1.0, -0.5, -tiny, tiny, 0.5, 1.0, 2.0, 3.0]);
        assert_eq!(histogram.bucket, [1.0, 0.0, 1.0, 0.0, 2.0, 0.0, 2.0, 0.0, 1.0]);
        assert_eq!((histogram.min, histogram.max, histogram.num), (-3.0, 3.0, 7.0));
    }

    #[test]
    fn one_sided_and_empty_tensors_have_the_range_of_their_values() {
        let positive = of(&Tensor::from_slice(&[1.0f32, 1.5]));
        assert_eq!((positive.min, positive.max, positive.bucket), (1.0, 1.5, vec![2.0]));
        let negative = of(&Tensor::from_slice(&[-1.0f32, -1.5]));
        assert_eq!((negative.min, negative.max, negative.bucket), (-1.5, -1.0, vec![2.0]));
        assert_eq!(of(&Tensor::from_slice(&[0.0f32; 3])).bucket, [3.0]);
        let denormal = of(&Tensor::from_slice(&[-1e-40f32]));
        assert_eq!(
            (denormal.min, denormal.max, denormal.bucket),
            (f64::from(-1e-40f32), f64::from(1e-40f32), vec![1.0])
        );
        assert_eq!(of(&Tensor::from_slice::<f32>(&[])), HistogramProto::default());
        assert_eq!(of(&Tensor::from_slice(&[f32::NAN, f32::INFINITY])), HistogramProto::default());
    }

    proptest! {
        #[test]
        fn every_finite_value_lies_in_its_bucket_and_the_entry_stays_small(
            bits in prop::collection::vec(prop_oneof![any::<u32>(), Just(0u32), (0x3000_0000u32..0x4800_0000)], 1..300),
        ) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let histogram = of(&Tensor::from_slice(&values).to_kind(Kind::Float));
            let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).map(f64::from).collect();
            prop_assert_eq!(histogram.num, finite.len() as f64);
            let mut left = histogram.min;
            for (&limit, &count) in histogram.bucket_limit.iter().zip(&histogram.bucket) {
                // A negative power of two belongs to the bucket that starts there toward 0, so both ends are allowed.
                let inside = finite.iter().filter(|&&v| left <= v && v <= limit).count() as f64;
                let strictly = finite.iter().filter(|&&v| left < v && v < limit).count() as f64;
                prop_assert!(strictly <= count && count <= inside, "{} {} {}", left, limit, count);
                left = limit;
            }
            prop_assert!(histogram.bucket.len() <= 83 && histogram.encoded_len() <= 1400);
        }
    }
}
