//! A tensor's distribution as TensorBoard stores it: buckets that double in width on both sides of 0.

use super::{EventsError, Histogram};
use crate::{
    gradient::{LogHistogram, TensorStatistics},
    libtorch::column::FIRST_EXPONENT,
};

/// One run of neighbouring buckets, with the right edge of each.
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
    /// The finite elements of a tensor whose distribution was taken; `None` where it was not. Zeros and denormals share
    /// the bucket around 0. At most 83 buckets of 16 bytes each, whatever the size of the tensor.
    ///
    /// # Errors
    /// None that is known: the buckets are made to fit.
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

/// Where a bucket ends towards 0: the last of the octaves that are kept apart holds all smaller ones too.
fn inner_edge(power: f64, index: usize, tiny: f64) -> f64 {
    if index + 1 == LogHistogram::OCTAVES { tiny } else { power }
}

/// The smallest and the largest element, as closely as they are known: the end with the largest magnitude to the bit, the
/// other to its power of two.
fn range(tensor: &TensorStatistics, histogram: &LogHistogram, [zeros, denormals]: [u64; 2]) -> [f64; 2] {
    let largest = if tensor.max_abs.is_finite() { tensor.max_abs } else { f64::from(f32::MAX) };
    let tiny = 2f64.powi(FIRST_EXPONENT);
    // Denormals have a sign that was not counted.
    let around_zero = if denormals > 0 { tiny.min(largest) } else { 0.0 };
    let end = |counts: &[u64]| {
        let first = counts.iter().position(|&count| count > 0)?;
        Some((2.0 * 2f64.powi(histogram.top - first as i32)).min(largest))
    };
    // Without elements on one side, the range begins where the innermost bucket of the other does.
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
                // A power of two below 0 belongs to the bucket that it begins towards 0: count both ends.
                let inside = finite.iter().filter(|&&v| left <= v && v <= limit).count() as f64;
                let strictly = finite.iter().filter(|&&v| left < v && v < limit).count() as f64;
                prop_assert!(strictly <= count && count <= inside, "{} {} {}", left, limit, count);
                left = limit;
            }
            prop_assert!(histogram.bucket.len() <= 83 && histogram.encoded_len() <= 1400);
        }
    }
}
