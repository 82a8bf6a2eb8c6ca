//! A histogram on its way into an event file.

use super::proto::HistogramProto;

/// Counts of values in buckets, with their moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram(HistogramProto);

impl Histogram {
    /// `buckets` buckets of equal width from the smallest to the largest value. Values that are not finite are left
    /// out: TensorBoard cannot place them.
    pub fn of(values: &[f32], buckets: usize) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite()).map(f64::from);
        let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
        if min > max {
            return Self(HistogramProto::default());
        }
        let buckets = if min == max { 1 } else { buckets.max(1) };
        let width = (max - min) / buckets as f64;
        let mut counts = vec![0.0; buckets];
        for value in finite() {
            let bucket = if width > 0.0 { ((value - min) / width) as usize } else { 0 };
            counts[bucket.min(buckets - 1)] += 1.0;
        }
        let limits = (1..=buckets).map(|bucket| if bucket == buckets { max } else { min + bucket as f64 * width });
        Self(HistogramProto {
            min,
            max,
            num: finite().count() as f64,
            sum: finite().sum(),
            sum_squares: finite().map(|value| value * value).sum(),
            bucket_limit: limits.collect(),
            bucket: counts,
        })
    }

    /// Ready-made buckets: `counts[i]` values up to `limits[i]` and above the limit before it. The limits rise.
    pub fn from_buckets(range: [f64; 2], sum: f64, sum_squares: f64, limits: Vec<f64>, counts: Vec<f64>) -> Self {
        let num = counts.iter().sum();
        let [min, max] = range;
        Self(HistogramProto { min, max, num, sum, sum_squares, bucket_limit: limits, bucket: counts })
    }

    pub(super) fn into_proto(self) -> HistogramProto {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_and_moments_are_as_derived_by_hand() {
        let histogram = Histogram::of(&[0.0, 1.0, 2.0, 4.0, f32::NAN, f32::INFINITY], 4).into_proto();
        assert_eq!((histogram.min, histogram.max, histogram.num), (0.0, 4.0, 4.0));
        assert_eq!((histogram.sum, histogram.sum_squares), (7.0, 21.0));
        assert_eq!(histogram.bucket_limit, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(histogram.bucket, [1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn equal_values_are_one_bucket_and_no_values_are_none() {
        let equal = Histogram::of(&[2.5; 7], 30).into_proto();
        assert_eq!((equal.bucket_limit, equal.bucket), (vec![2.5], vec![7.0]));
        assert!(Histogram::of(&[f32::NAN], 30).into_proto().bucket.is_empty());
    }

    proptest! {
        #[test]
        fn every_value_is_in_exactly_one_bucket(values in prop::collection::vec(-1e6f32..1e6, 1..200), n in 1usize..40) {
            let histogram = Histogram::of(&values, n).into_proto();
            prop_assert_eq!(histogram.bucket.iter().sum::<f64>(), values.len() as f64);
            prop_assert!(histogram.bucket_limit.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(histogram.bucket_limit.last().copied(), Some(histogram.max));
        }
    }
}
