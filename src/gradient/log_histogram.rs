//! A histogram by sign and power of two. It resolves 1e-12 as well as 1, and its buckets are the same at every step.

use serde::Serialize;

use crate::libtorch::column;

/// Counts of normal numbers by sign and power of two.
///
/// The histogram covers the largest magnitude and the powers of two below it, at most [`LogHistogram::OCTAVES`] in
/// total. Smaller values count toward the last one, which is 2^39 below the largest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LogHistogram {
    /// Exponent of the first count: that of the largest magnitude of either sign.
    pub top: i32,
    /// `negative[i]` counts the elements v < 0 with 2^(top - i) <= |v| < 2^(top - i + 1). No trailing zeros.
    pub negative: Vec<u64>,
    /// The same for v > 0.
    pub positive: Vec<u64>,
}

impl LogHistogram {
    /// Maximum number of powers of two per sign. f32 itself resolves a value to 2^-24.
    pub const OCTAVES: usize = 40;

    pub(super) fn from_row(row: &[f64]) -> Self {
        let [negative, positive] =
            [column::NEGATIVE, column::POSITIVE].map(|first| &row[first..first + column::EXPONENTS]);
        let last = |counts: &[f64]| counts.iter().rposition(|&count| count > 0.0);
        let Some(top) = last(negative).max(last(positive)) else { return Self::default() };
        let [negative, positive] = [negative, positive].map(|counts| octaves(&counts[..=top]));
        Self { top: column::FIRST_EXPONENT + top as i32, negative, positive }
    }

    /// Number of counted elements.
    pub fn total(&self) -> u64 {
        self.negative.iter().chain(&self.positive).sum()
    }
}

/// Reverses the counts so that the largest magnitude comes first, and merges the smallest ones.
fn octaves(rising: &[f64]) -> Vec<u64> {
    let mut falling: Vec<u64> = rising.iter().rev().take(LogHistogram::OCTAVES).map(|&count| count as u64).collect();
    let smaller = rising.iter().rev().skip(LogHistogram::OCTAVES).map(|&count| count as u64).sum::<u64>();
    if let Some(last) = falling.last_mut() {
        *last += smaller;
    }
    falling.truncate(falling.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1));
    falling.shrink_to_fit();
    falling
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::Tensor;

    use super::*;
    use crate::libtorch::{Detail, tensor_table};

    fn of(values: &[f32]) -> LogHistogram {
        let table = tensor_table(&[Tensor::from_slice(values)], Detail::Distribution).unwrap();
        LogHistogram::from_row(&Vec::<f64>::try_from(table.get(0)).unwrap())
    }

    #[test]
    fn values_fall_into_the_octave_they_start_or_lie_in() {
        let histogram = of(&[1.0, 1.5, 2.0, -3.99, -0.5, 0.25, 0.0, f32::NAN]);
        assert_eq!(histogram, LogHistogram { top: 1, negative: vec![1, 0, 1], positive: vec![1, 2, 0, 1] });
        assert_eq!(of(&[0.0, f32::INFINITY, 1e-40]), LogHistogram::default());
    }

    #[test]
    fn what_is_too_small_to_tell_apart_is_counted_in_the_last_octave() {
        let histogram = of(&[1.0, 2f32.powi(-39), 2f32.powi(-40), 2f32.powi(-100)]);
        assert_eq!((histogram.positive.len(), histogram.positive[39], histogram.total()), (40, 3, 4));
    }

    proptest! {
        #[test]
        fn every_normal_number_is_counted_once(bits in prop::collection::vec(any::<u32>(), 0..200)) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let histogram = of(&values);
            prop_assert_eq!(histogram.total() as usize, values.iter().filter(|value| value.is_normal()).count());
            prop_assert!(histogram.negative.len().max(histogram.positive.len()) <= LogHistogram::OCTAVES);
            let largest = values.iter().filter(|value| value.is_normal()).fold(0.0f32, |most, v| most.max(v.abs()));
            prop_assert!(largest == 0.0 || f64::from(largest).log2().floor() as i32 == histogram.top);
        }
    }
}
