//! Valid ranges of config numbers, and how error messages show them.

use std::{fmt, ops::RangeInclusive};

/// Smallest normal f32 (1.18e-38), rounded down to one digit.
const SMALLEST: f64 = 1e-38;

/// Bounds of a number. They exclude nonzero values below [`SMALLEST`], because values end up as f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Numbers {
    least: f64,
    most: f64,
    zero: bool,
    infinity: bool,
}

impl Numbers {
    pub(super) const fn between(least: f64, most: f64) -> Self {
        Self { least, most, zero: false, infinity: false }
    }

    pub(super) const fn or_zero(self) -> Self {
        Self { zero: true, ..self }
    }

    pub(super) const fn or_infinity(self) -> Self {
        Self { infinity: true, ..self }
    }

    pub(super) fn has(&self, value: &f64) -> bool {
        let is_normal = *value == 0.0 || value.abs() >= SMALLEST;
        (is_normal && (self.least..=self.most).contains(value))
            || (self.zero && *value == 0.0)
            || (self.infinity && *value == f64::INFINITY)
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most, zero, infinity } = *self;
        if (zero, most) == (true, BELOW_ONE.most) {
            return f.write_str("at least 0 and below 1");
        }
        write!(f, "a number from {} to {}", shown(least), shown(most))?;
        if zero && least > 0.0 {
            f.write_str(", or 0")?;
        }
        if infinity {
            f.write_str(", or inf")?;
        }
        Ok(())
    }
}

/// Upper bound for steps, epochs, and evaluations: more than any run has, and exact in f64.
pub(super) const MOST_COUNT: u64 = 1_000_000_000_000;
/// Starts at 0, which means off or none.
pub(super) const COUNT: RangeInclusive<u64> = 0..=MOST_COUNT;
pub(super) const FROM_ONE: RangeInclusive<u64> = 1..=MOST_COUNT;

/// Largest batch size: larger than practical data sets, and small enough that sizes do not overflow.
pub(super) const MOST_IMAGES: u64 = 1 << 24;
/// Longest side of an image, in pixels.
pub(super) const MOST_SIDE: u64 = 8192;

/// A probability, or a fraction from 0 to 1.
pub(super) const SHARE: Numbers = Numbers::between(1e-12, 1.0).or_zero();
/// Decays and momenta; 1 - 2^-24 is the largest f32 below 1.
pub(super) const BELOW_ONE: Numbers = Numbers::between(1e-12, 1.0 - 1.0 / 16_777_216.0).or_zero();
/// A fraction strictly between 0 and 1.
pub(super) const PART: Numbers = Numbers::between(1e-6, 1.0 - 1e-6);
/// Learning rate. The largest values make a run diverge, which may be intended.
pub(super) const LEARNING_RATE: Numbers = Numbers::between(1e-20, 1e15).or_zero();
pub(super) const WEIGHT_DECAY: Numbers = Numbers::between(1e-12, 1e6).or_zero();
/// Factor on the learning rate of a parameter group, and `momentum_decay`.
pub(super) const RATE_SCALE: Numbers = Numbers::between(1e-12, 1e6).or_zero();
/// Factor that lowers a learning rate.
pub(super) const RATE_SHARE: Numbers = Numbers::between(1e-12, 1.0);
/// Epsilon added to a denominator.
pub(super) const EPS: Numbers = Numbers::between(1e-30, 1e3);
/// A gradient norm or gradient element.
pub(super) const GRADIENT: Numbers = Numbers::between(1e-20, 1e15);
/// Order p of a norm.
pub(super) const NORM_TYPE: Numbers = Numbers::between(1.0, 1000.0).or_infinity();
/// A multiplier.
pub(super) const FACTOR: Numbers = Numbers::between(1e-12, 1e12);
pub(super) const FACTOR_FROM_ONE: Numbers = Numbers::between(1.0, 1e12);
/// A percentage.
pub(super) const PERCENT: Numbers = Numbers::between(1e-9, 100.0).or_zero();
/// Gain of an initialization.
pub(super) const GAIN: Numbers = Numbers::between(1e-12, 1e6);
/// Standard deviation of initial weights; [`WEIGHT`] is their mean or constant value.
pub(super) const SPREAD: Numbers = Numbers::between(1e-20, 1e15).or_zero();
pub(super) const WEIGHT: Numbers = Numbers::between(-1e6, 1e6);
/// Mean and standard deviation of pixels, which are in 0..=1.
pub(super) const PIXEL_MEAN: Numbers = Numbers::between(-1000.0, 1000.0);
pub(super) const PIXEL_STD: Numbers = Numbers::between(1e-38, 1000.0);
/// Fraction of an image's side or area, and its aspect ratio (width / height).
pub(super) const SIDE_SHARE: Numbers = Numbers::between(0.01, 1.0);
pub(super) const AREA_SHARE: Numbers = Numbers::between(1e-4, 1.0);
pub(super) const ASPECT_RATIO: Numbers = Numbers::between(0.01, 100.0);
/// Times. The longest are centuries.
pub(super) const MINUTES: Numbers = Numbers::between(1e-9, 1e8);
pub(super) const MINUTES_OR_NONE: Numbers = MINUTES.or_zero();
pub(super) const EPOCHS: Numbers = Numbers::between(1e-6, 1e9);
pub(super) const EPOCHS_OR_NONE: Numbers = EPOCHS.or_zero();
/// Epochs of a cosine half wave. At most 1000 half waves per epoch, because one shorter than a step is meaningless.
pub(super) const RESTART_EPOCHS: Numbers = Numbers::between(1e-3, 1e9).or_zero();
pub(super) const RESTART_FACTOR: Numbers = Numbers::between(1.0, 1000.0);
pub(super) const POWER: Numbers = Numbers::between(1e-3, 1000.0);
/// Required improvement of a metric, and the weight of a class.
pub(super) const FIGURE: Numbers = Numbers::between(1e-12, 1e12).or_zero();
/// Thresholds of another tool's rules.
pub(super) const THRESHOLD: Numbers = Numbers::between(1e-30, 1e12).or_zero();

/// Formats a number as in a config.
pub(super) fn shown(number: f64) -> String {
    match number {
        _ if number != 0.0 && !(1e-4..1e7).contains(&number.abs()) => format!("{number:e}"),
        _ => format!("{number}"),
    }
}

/// Describes the range of an integer.
pub(super) fn whole(range: &RangeInclusive<u64>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_told_as_a_config_would_have_it() {
        assert_eq!(LEARNING_RATE.to_string(), "a number from 1e-20 to 1e15, or 0");
        assert_eq!(NORM_TYPE.to_string(), "a number from 1 to 1000, or inf");
        assert_eq!(BELOW_ONE.to_string(), "at least 0 and below 1");
        assert_eq!(WEIGHT.to_string(), "a number from -1000000 to 1000000");
        assert_eq!(whole(&FROM_ONE), "an integer from 1 to 1000000000000");
    }

    #[test]
    fn bounds_are_inclusive_and_nothing_that_is_no_number_is_in_any() {
        assert!(PERCENT.has(&0.0) && PERCENT.has(&100.0) && !PERCENT.has(&100.1) && !PERCENT.has(&1e-320));
        assert!(NORM_TYPE.has(&f64::INFINITY) && !NORM_TYPE.has(&f64::NEG_INFINITY) && !NORM_TYPE.has(&0.5));
        assert!(!GRADIENT.has(&f64::INFINITY) && !SHARE.has(&-0.1));
        assert!(WEIGHT.has(&0.0) && WEIGHT.has(&-1e-30) && !WEIGHT.has(&1e-320));
        for numbers in [SHARE, BELOW_ONE, LEARNING_RATE, NORM_TYPE, WEIGHT, PIXEL_STD] {
            assert!(!numbers.has(&f64::NAN));
        }
        assert!(0.999_999_9_f32 < 1.0 && BELOW_ONE.has(&0.999_999_9) && !BELOW_ONE.has(&0.999_999_99));
    }
}
