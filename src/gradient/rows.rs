//! Reads the statistics of a tensor from its row of a table; see [`column`](mod@crate::libtorch::column).

use std::sync::Arc;

use super::{Distribution, LogHistogram, TensorStatistics};
use crate::libtorch::column;

/// Reads a row with norms or with distributions.
pub(super) fn statistics(name: Arc<str>, elements: u64, row: &[f64]) -> TensorStatistics {
    let distribution = (row.len() == column::COUNT).then(|| distribution(elements, row));
    TensorStatistics { name, elements, norm: row[column::SQUARES].sqrt(), max_abs: row[column::LARGEST], distribution }
}

fn distribution(elements: u64, row: &[f64]) -> Distribution {
    let count = |column: usize| row[column] as u64;
    let mean = row[column::SUM] / elements as f64;
    let variance = row[column::SQUARES] / elements as f64 - mean * mean;
    Distribution {
        mean,
        // If all elements are equal, rounding can make the variance negative. `max` would hide a NaN.
        std: if variance < 0.0 { 0.0 } else { variance.sqrt() },
        zeros: count(column::ZEROS),
        denormals: count(column::DENORMALS),
        nans: count(column::NANS),
        infinities: count(column::INFINITIES),
        negative_infinities: count(column::NEGATIVE_INFINITIES),
        histogram: histogram(row),
    }
}

fn histogram(row: &[f64]) -> LogHistogram {
    let [negative, positive] = [column::NEGATIVE, column::POSITIVE].map(|first| &row[first..first + column::EXPONENTS]);
    let last = |counts: &[f64]| counts.iter().rposition(|&count| count > 0.0);
    let Some(top) = last(negative).max(last(positive)) else { return LogHistogram::default() };
    let [negative, positive] = [negative, positive].map(|counts| octaves(&counts[..=top]));
    LogHistogram { top: column::FIRST_EXPONENT + top as i32, negative, positive }
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

    fn of(values: &[f32]) -> TensorStatistics {
        let table = tensor_table(&[Tensor::from_slice(values)], Detail::Distribution).unwrap();
        statistics("w".into(), values.len() as u64, &Vec::<f64>::try_from(table.get(0)).unwrap())
    }

    fn histogram_of(values: &[f32]) -> LogHistogram {
        of(values).distribution.unwrap().histogram
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

    #[test]
    fn values_fall_into_the_octave_they_start_or_lie_in() {
        let histogram = histogram_of(&[1.0, 1.5, 2.0, -3.99, -0.5, 0.25, 0.0, f32::NAN]);
        assert_eq!(histogram, LogHistogram { top: 1, negative: vec![1, 0, 1], positive: vec![1, 2, 0, 1] });
        assert_eq!(histogram_of(&[0.0, f32::INFINITY, 1e-40]), LogHistogram::default());
    }

    #[test]
    fn what_is_too_small_to_tell_apart_is_counted_in_the_last_octave() {
        let histogram = histogram_of(&[1.0, 2f32.powi(-39), 2f32.powi(-40), 2f32.powi(-100)]);
        assert_eq!((histogram.positive.len(), histogram.positive[39], histogram.total()), (40, 3, 4));
    }

    proptest! {
        #[test]
        fn every_normal_number_is_counted_once(bits in prop::collection::vec(any::<u32>(), 0..200)) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let histogram = histogram_of(&values);
            prop_assert_eq!(histogram.total() as usize, values.iter().filter(|value| value.is_normal()).count());
            prop_assert!(histogram.negative.len().max(histogram.positive.len()) <= LogHistogram::OCTAVES);
            let largest = values.iter().filter(|value| value.is_normal()).fold(0.0f32, |most, v| most.max(v.abs()));
            prop_assert!(largest == 0.0 || f64::from(largest).log2().floor() as i32 == histogram.top);
        }
    }
}
