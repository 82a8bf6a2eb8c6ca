//! Median of any number of values in bounded memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts and sums of values by their logarithm. The median is the mean of its bucket, with an error below one percent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct LogMedian {
    /// Number and sum of the values from [`RATIO`](Self::RATIO) to the power of the key on.
    buckets: BTreeMap<i32, (u64, f64)>,
    /// Number of values that are 0.
    zeros: u64,
}

impl LogMedian {
    const RATIO: f64 = 1.01;
    /// Smaller and larger values count as these.
    const ENDS: [f64; 2] = [1e-12, 1e12];

    /// Adds a value of 0 or more. Skips others and those that are not finite.
    pub(crate) fn add(&mut self, value: f64) {
        let [least, most] = Self::ENDS;
        if value == 0.0 {
            self.zeros += 1;
        } else if value.is_finite() && value > 0.0 {
            let key = (value.clamp(least, most).ln() / Self::RATIO.ln()).floor() as i32;
            let (count, sum) = self.buckets.entry(key).or_default();
            (*count, *sum) = (*count + 1, *sum + value);
        }
    }

    /// The median, the upper one of two middle values; NaN without values.
    pub(crate) fn value(&self) -> f64 {
        let middle = (self.zeros + self.buckets.values().map(|(count, _)| count).sum::<u64>()) / 2;
        if middle < self.zeros {
            return 0.0;
        }
        let mut before = self.zeros;
        let bucket = self.buckets.values().find(|(count, _)| {
            before += count;
            middle < before
        });
        bucket.map_or(f64::NAN, |(count, sum)| sum / *count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> f64 {
        let mut median = LogMedian::default();
        values.iter().for_each(|value| median.add(*value));
        // Keys of a map in JSON are text.
        median = serde_json::from_str(&serde_json::to_string(&median).unwrap()).unwrap();
        median.value()
    }

    #[test]
    fn a_median_is_the_middle_value_up_to_a_percent() {
        for middle in [3e-7, 0.125, 1.0, 81.0] {
            assert_eq!(of(&[1e-30, middle, 1e30, f64::NAN, f64::INFINITY, -1.0]), middle);
        }
        assert_eq!(of(&[1.0, 2.0]), 2.0);
        let values: Vec<f64> = (0..1001).map(|index| 1.0 + f64::from(index * 7 % 1001) / 1000.0).collect();
        assert!((of(&values) / 1.5 - 1.0).abs() < 0.01);
        assert_eq!((of(&[0.0, 0.0, 5.0]), of(&[0.0])), (0.0, 0.0));
        assert!(of(&[]).is_nan() && of(&[f64::NAN]).is_nan());
    }

    #[test]
    fn memory_is_bounded() {
        let mut median = LogMedian::default();
        (0..100_000).for_each(|index| median.add(10f64.powf(f64::from(index % 601) - 300.0)));
        assert!(median.buckets.len() <= 26, "{}", median.buckets.len());
    }
}
