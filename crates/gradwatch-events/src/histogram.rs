//! Histograms in the form that event files need.
//!
//! When TensorBoard reads a histogram, it converts it to rows of (left, right, count) (tensorboard/data_compat.py). It
//! drops empty buckets at both ends, uses `min` as the left edge of the first remaining bucket, `max` as the right edge
//! of the last one, and the limits only in between, all rounded to f32. A [`Histogram`] is stored in that form already:
//! no empty bucket at either end, `max` as its last limit, all edges finite, and no edge left of the previous one. So
//! the dashboard shows exactly the contents of the file.

use super::{EventsError, proto::HistogramProto};

/// Counts of values in buckets, with the moments of the values.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram(HistogramProto);

impl Histogram {
    /// Counts `values` in `buckets` (at least one) of equal width from the smallest to the largest value. Each bucket
    /// includes its left edge but not its right edge; the last bucket includes both. If all values are equal, they form
    /// a single bucket of width 0. Non-finite values are ignored completely, because TensorBoard cannot display them.
    pub fn of(values: &[f32], buckets: usize) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite()).map(f64::from);
        let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
        if min > max {
            return Self(HistogramProto::default());
        }
        let inner = if min == max { 0 } else { buckets.max(1) - 1 };
        let width = (max - min) / (inner + 1) as f64;
        let mut limits: Vec<f64> = (1..=inner).map(|bucket| min + bucket as f64 * width).collect();
        let mut counts = vec![0.0; inner + 1];
        for value in finite() {
            // A search avoids the rounding errors of a division, which could move a value at a limit into the wrong
            // bucket.
            if let Some(count) = counts.get_mut(limits.partition_point(|&limit| limit <= value)) {
                *count += 1.0;
            }
        }
        limits.push(max);
        Self(HistogramProto {
            min,
            max,
            num: counts.iter().sum(),
            sum: finite().sum(),
            sum_squares: finite().map(|value| value * value).sum(),
            bucket_limit: limits,
            bucket: counts,
        })
    }

    /// Uses existing buckets: `counts[i]` values between `limits[i - 1]` and `limits[i]`; the first bucket is open to
    /// the left. `range` contains the smallest and the largest value. The last limit may be infinite.
    ///
    /// # Errors
    /// If the numbers of limits and counts differ, the limits do not increase, a count is negative or not finite, or
    /// `range` is not finite or is outside of the buckets that contain values.
    pub fn from_buckets(
        range: [f64; 2],
        sum: f64,
        sum_squares: f64,
        mut limits: Vec<f64>,
        mut counts: Vec<f64>,
    ) -> Result<Self, EventsError> {
        let refuse = |got: String, want| Err(EventsError::Histogram { got, want });
        if limits.len() != counts.len() {
            return refuse(format!("{} limits and {} counts", limits.len(), counts.len()), "the same number of both");
        }
        if let Some((index, pair)) = limits.windows(2).enumerate().find(|(_, pair)| !matches!(pair, [a, b] if a < b)) {
            return refuse(format!("limits {pair:?} at {index}"), "increasing limits");
        }
        if let Some((index, count)) =
            counts.iter().enumerate().find(|(_, count)| !(count.is_finite() && **count >= 0.0))
        {
            return refuse(format!("a count of {count} at {index}"), "finite counts of at least 0");
        }
        let filled = |count: &f64| *count > 0.0;
        let (Some(first), Some(last)) = (counts.iter().position(filled), counts.iter().rposition(filled)) else {
            return Ok(Self(HistogramProto::default()));
        };
        counts.truncate(last + 1);
        limits.truncate(last);
        counts.drain(..first);
        limits.drain(..first);
        let [min, max] = range;
        let reaches = |edges: [Option<&f64>; 2]| edges.into_iter().flatten().all(|edge| min <= *edge && *edge <= max);
        if !(min.is_finite() && max.is_finite() && min <= max && reaches([limits.first(), limits.last()])) {
            return refuse(
                format!("values from {min} to {max}"),
                "a finite range that ends in the outermost filled buckets",
            );
        }
        limits.push(max);
        let num = counts.iter().sum();
        Ok(Self(HistogramProto { min, max, num, sum, sum_squares, bucket_limit: limits, bucket: counts }))
    }

    /// The message that an event file stores.
    pub fn into_proto(self) -> HistogramProto {
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
        assert_eq!(Histogram::of(&[f32::NAN], 30).into_proto(), HistogramProto::default());
        assert_eq!(Histogram::of(&[1.0, 2.0], 0).into_proto().bucket, [2.0]);
    }

    #[test]
    fn empty_buckets_at_the_ends_and_infinite_limits_do_not_reach_the_file() {
        let limits = vec![-2.0, -1.0, 0.0, 1.0, 2.0, f64::INFINITY];
        let counts = vec![0.0, 0.0, 3.0, 0.0, 1.0, 0.0];
        let histogram = Histogram::from_buckets([-0.5, 1.5], 0.5, 3.0, limits, counts).unwrap().into_proto();
        assert_eq!(histogram.bucket_limit, [0.0, 1.0, 1.5]);
        assert_eq!(histogram.bucket, [3.0, 0.0, 1.0]);
        assert_eq!((histogram.min, histogram.max, histogram.num), (-0.5, 1.5, 4.0));

        let open = Histogram::from_buckets([5.0, 9.0], 14.0, 106.0, vec![0.0, f64::INFINITY], vec![0.0, 2.0]);
        assert_eq!(open.unwrap().into_proto().bucket_limit, [9.0]);
        let empty = Histogram::from_buckets([0.0, 0.0], 0.0, 0.0, vec![1.0], vec![0.0]).unwrap();
        assert_eq!(empty.into_proto(), HistogramProto::default());
    }

    #[test]
    fn buckets_that_tensorboard_would_show_backwards_are_refused() {
        let refused = |range, limits: &[f64], counts: &[f64]| {
            Histogram::from_buckets(range, 0.0, 0.0, limits.to_vec(), counts.to_vec()).unwrap_err().to_string()
        };
        let prefix = "cannot build a histogram: got ";
        assert_eq!(
            refused([0.0, 1.0], &[1.0], &[]),
            format!("{prefix}1 limits and 0 counts, want the same number of both; fix its buckets")
        );
        assert!(refused([0.0, 1.0], &[1.0, 1.0], &[1.0, 1.0]).starts_with(&format!("{prefix}limits [1.0, 1.0] at 0")));
        assert!(refused([0.0, 1.0], &[f64::NAN, 1.0], &[1.0, 1.0]).starts_with(&format!("{prefix}limits [NaN, 1.0]")));
        assert!(refused([0.0, 1.0], &[1.0, 2.0], &[1.0, -1.0]).starts_with(&format!("{prefix}a count of -1 at 1")));
        assert!(refused([0.0, 1.0], &[1.0], &[f64::NAN]).starts_with(&format!("{prefix}a count of NaN at 0")));
        for range in [[1.5, 3.0], [0.0, 0.5], [2.0, 0.0], [f64::NAN, 2.0], [0.0, f64::INFINITY]] {
            assert!(
                refused(range, &[1.0, 2.0], &[1.0, 1.0]).starts_with(&format!("{prefix}values from ")),
                "{range:?}"
            );
        }
    }

    /// Reference implementation that checks every value against every bucket.
    fn slow_counts(values: &[f32], min: f64, limits: &[f64]) -> Vec<f64> {
        let lefts = std::iter::once(&min).chain(limits);
        let is_last = |bucket: usize| bucket + 1 == limits.len();
        lefts
            .zip(limits)
            .enumerate()
            .map(|(bucket, (&left, &right))| {
                let is_inside = |v: f64| left <= v && (v < right || is_last(bucket) && v == right);
                values.iter().filter(|&&value| is_inside(f64::from(value))).count() as f64
            })
            .collect()
    }

    proptest! {
        #[test]
        fn counts_equal_those_of_the_slow_twin(
            values in prop::collection::vec(prop_oneof![-1e6f32..1e6, (-8i8..8).prop_map(f32::from), prop::num::f32::NORMAL], 1..200),
            buckets in 1usize..40,
        ) {
            let histogram = Histogram::of(&values, buckets).into_proto();
            prop_assert_eq!(&histogram.bucket, &slow_counts(&values, histogram.min, &histogram.bucket_limit));
            prop_assert_eq!(histogram.num, values.len() as f64);
            prop_assert_eq!(histogram.sum, values.iter().copied().map(f64::from).sum::<f64>());
            prop_assert!(histogram.bucket_limit.is_sorted());
            prop_assert_eq!(histogram.bucket_limit.last().copied(), Some(histogram.max));
            prop_assert!(histogram.bucket[0] > 0.0);
        }
    }
}
