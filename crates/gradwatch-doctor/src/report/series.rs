//! A value over the steps of a run, in bounded memory.

use serde::{Deserialize, Serialize};

/// Statistics of consecutive tracked steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// First tracked step.
    pub first_step: u64,
    /// Last tracked step.
    pub last_step: u64,
    /// Number of finite values. The next three fields cover these values, and are NaN without any.
    pub count: u64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub min: f64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub max: f64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub mean: f64,
    /// Number of non-finite values.
    pub not_finite: u64,
}

/// At most 512 buckets. When all are used, neighbors are merged, and each bucket then takes twice as many values.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Series {
    buckets: Vec<Bucket>,
    /// Base-2 logarithm of the values per bucket.
    halvings: u32,
    /// First step of the latest values, if none of these is finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    broken_since: Option<u64>,
}

impl Bucket {
    fn of(step: u64, value: f64) -> Self {
        let is_finite = value.is_finite();
        let value = if is_finite { value } else { f64::NAN };
        let (min, max, mean) = (value, value, value);
        let (count, not_finite) = (u64::from(is_finite), u64::from(!is_finite));
        Self { first_step: step, last_step: step, count, min, max, mean, not_finite }
    }

    fn merge(&mut self, later: &Self) {
        self.last_step = later.last_step;
        self.mean = match (self.count, later.count) {
            (_, 0) => self.mean,
            (0, _) => later.mean,
            (one, other) => {
                let share = other as f64 / (one + other) as f64;
                self.mean * (1.0 - share) + later.mean * share
            }
        };
        // `min` and `max` of NaN and a number are the number.
        (self.min, self.max) = (self.min.min(later.min), self.max.max(later.max));
        self.count += later.count;
        self.not_finite += later.not_finite;
    }

    /// Midpoint of the first and last step.
    pub(crate) fn middle(&self) -> f64 {
        0.5 * (self.first_step as f64 + self.last_step as f64)
    }
}

impl Series {
    /// Maximum number of buckets.
    pub(crate) const MOST: usize = 512;

    /// Adds the value of a step.
    pub(crate) fn add(&mut self, step: u64, value: f64) {
        let new = Bucket::of(step, value);
        self.broken_since = if value.is_finite() { None } else { self.broken_since.or(Some(step)) };
        let full = 1u64 << self.halvings.min(63);
        match self.buckets.last_mut() {
            Some(open) if open.count + open.not_finite < full => open.merge(&new),
            _ => {
                if self.buckets.len() == Self::MOST {
                    self.halve();
                }
                self.buckets.push(new);
            }
        }
    }

    fn halve(&mut self) {
        self.halvings += 1;
        self.buckets = merged_pairs(&self.buckets, |one, other| {
            let mut merged = *one;
            merged.merge(other);
            merged
        });
    }

    /// The buckets, from first to last.
    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Latest finite value; the mean of the last bucket if it has several values.
    pub(crate) fn last(&self) -> f64 {
        self.finite().next_back().map_or(f64::NAN, |bucket| bucket.mean)
    }

    /// Whether none of the latest values is finite.
    pub(crate) fn is_broken(&self) -> bool {
        self.buckets.last().is_some_and(|bucket| bucket.count == 0)
    }

    /// First step of the latest values, if none of these is finite.
    pub(crate) fn broken_since(&self) -> Option<u64> {
        self.broken_since.filter(|_| self.is_broken())
    }

    /// Last step of the latest bucket with a finite value.
    pub(crate) fn last_step(&self) -> Option<u64> {
        self.finite().next_back().map(|bucket| bucket.last_step)
    }

    /// Largest finite value.
    pub(crate) fn max(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.max).fold(f64::NAN, f64::max)
    }

    /// Number of values added.
    pub(crate) fn readings(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count + bucket.not_finite).sum()
    }

    /// Number of non-finite values.
    pub(crate) fn not_finite(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.not_finite).sum()
    }

    fn finite(&self) -> impl DoubleEndedIterator<Item = &Bucket> {
        self.buckets.iter().filter(|bucket| bucket.count > 0)
    }
}

/// Merges pairs of neighbors. With an odd number of items, the last one stays alone.
pub(crate) fn merged_pairs<T: Clone>(items: &[T], merge: impl Fn(&T, &T) -> T) -> Vec<T> {
    let pair = |pair: &[T]| match pair {
        [one, other] => Some(merge(one, other)),
        rest => rest.first().cloned(),
    };
    items.chunks(2).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_a_spike_stays() {
        let mut series = Series::default();
        for step in 0..100_000 {
            series.add(step, if step == 77_777 { 1e6 } else { 1.0 });
        }
        assert!(series.buckets.len() <= Series::MOST && series.buckets.len() > Series::MOST / 4);
        assert_eq!((series.max(), series.last()), (1e6, 1.0));
        let readings: u64 = series.buckets.iter().map(|bucket| bucket.count).sum();
        assert_eq!((readings, series.buckets[0].first_step), (100_000, 0));
        assert_eq!(series.buckets.last().unwrap().last_step, 99_999);
        let spike = series.buckets.iter().find(|bucket| bucket.max > 1.0).unwrap();
        assert!((spike.first_step..=spike.last_step).contains(&77_777));
    }

    #[test]
    fn a_merged_bucket_has_the_mean_of_its_readings() {
        let mut series = Series::default();
        // 512 buckets hold 1, 3, 1, 3, ...; the next value merges them in pairs.
        for step in 0..513u64 {
            series.add(step, if step.is_multiple_of(2) { 1.0 } else { 3.0 });
        }
        assert_eq!(series.buckets.len(), 257);
        let want = Bucket { first_step: 0, last_step: 1, count: 2, min: 1.0, max: 3.0, mean: 2.0, not_finite: 0 };
        assert_eq!(series.buckets[0], want);
    }

    #[test]
    fn what_is_not_finite_is_counted_and_leaves_the_rest_alone() {
        let mut series = Series::default();
        [f64::NAN, 2.0, f64::INFINITY].into_iter().enumerate().for_each(|(step, value)| series.add(step as u64, value));
        assert_eq!((series.max(), series.last(), series.not_finite()), (2.0, 2.0, 2));
        let mut nothing = Series::default();
        (0..2000).for_each(|step| nothing.add(step, f64::NAN));
        assert!(nothing.max().is_nan() && nothing.last().is_nan());
        assert_eq!(nothing.not_finite(), 2000);
    }

    #[test]
    fn the_first_step_without_a_finite_value_is_known_whatever_the_buckets() {
        let mut series = Series::default();
        (0..5000).for_each(|step| series.add(step, if step < 3001 { 1.0 } else { f64::NAN }));
        assert_eq!(series.broken_since(), Some(3001));
        assert!(series.last_step() >= Some(3000));
        (5000..5100).for_each(|step| series.add(step, 1.0));
        assert_eq!((series.broken_since(), series.last_step()), (None, Some(5099)));
    }

    #[test]
    fn numbers_at_the_end_of_what_f64_holds_have_a_mean() {
        let mut series = Series::default();
        (0..1025).for_each(|step| series.add(step, if step % 2 == 0 { f64::MAX } else { f64::MIN }));
        assert!(series.buckets.iter().all(|bucket| bucket.mean.is_finite()));
    }
}
