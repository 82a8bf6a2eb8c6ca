//! Maps values to positions on a linear or logarithmic axis.

use crate::number::number;
use crate::picture::axis::Range;

/// A value axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    range: Range,
    is_log: bool,
}

impl Scale {
    /// Linear axis over the finite values; `None` without any.
    pub fn linear(values: &[f64]) -> Option<Self> {
        Range::of(values).map(|range| Self { range, is_log: false })
    }

    /// Logarithmic axis over the finite values above 0; `None` without any.
    pub fn log(values: &[f64]) -> Option<Self> {
        let logs: Vec<f64> = values.iter().filter(|value| **value > 0.0).map(|value| value.log10()).collect();
        Range::of(&logs).map(|range| Self { range, is_log: true })
    }

    /// Logarithmic axis if all values are above 0 and the largest is more than 30 times the median; otherwise linear.
    pub fn fitting(values: &[f64]) -> Option<Self> {
        let mut finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        finite.sort_unstable_by(f64::total_cmp);
        let (least, middle, most) = (*finite.first()?, finite[finite.len() / 2], *finite.last()?);
        if least > 0.0 && most > 30.0 * middle { Self::log(values) } else { Self::linear(values) }
    }

    /// Whether the axis is logarithmic.
    pub fn is_log(&self) -> bool {
        self.is_log
    }

    /// 0 at the low end and 1 at the high end. Clamps values beyond the ends; `None` for non-finite values.
    pub fn fraction(&self, value: f64) -> Option<f64> {
        let place = if self.is_log { value.max(0.0).log10() } else { value };
        // 0 is at the low end of a logarithmic axis.
        (value.is_finite()).then(|| self.range.fraction(place).clamp(0.0, 1.0))
    }

    /// A few round values with their positions and labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        self.ticks_at_most(4)
    }

    /// Round values, at most `steps` steps apart, with their positions and labels.
    pub fn ticks_at_most(&self, steps: u32) -> Vec<(f64, String)> {
        if !self.is_log {
            return self
                .range
                .ticks(steps)
                .into_iter()
                .map(|(tick, label)| (self.range.fraction(tick), label))
                .collect();
        }
        let [low, high] = self.range.ends();
        let decades = low.floor() as i32..=high.ceil() as i32;
        let most = ((high - low) / f64::from(steps)).ceil().max(1.0) as i32;
        let factors: &[f64] = if high - low < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        // One tick does not tell how far the others are, so the decades come closer until there are two.
        for each in (1..=most).rev() {
            let decades = decades.clone().filter(|decade| decade.rem_euclid(each) == 0);
            let ticks = decades.flat_map(|decade| factors.iter().map(move |factor| factor * 10f64.powi(decade)));
            let within: Vec<f64> = ticks.filter(|tick| (low..=high).contains(&tick.log10())).collect();
            if within.len() > 1 {
                return within.into_iter().map(|tick| (self.range.fraction(tick.log10()), number(tick))).collect();
            }
        }
        let straight = Range::of(&[10f64.powf(low), 10f64.powf(high)]);
        let ticks = straight.map(|range| range.ticks(steps)).unwrap_or_default();
        ticks.into_iter().filter_map(|(tick, label)| Some((self.fraction(tick)?, label))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Option<Scale>) -> Vec<String> {
        scale.unwrap().ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn a_logarithmic_axis_has_a_tick_at_each_or_each_nth_decade() {
        assert_eq!(labels(Scale::log(&[1e-3, 1.0])), ["0.001", "0.01", "0.1", "1"]);
        // Twelve decades: every third one.
        assert_eq!(labels(Scale::log(&[1e-12, 1.0, f64::NAN, -1.0])), ["1e-12", "1e-9", "1e-6", "0.001", "1"]);
        assert_eq!(labels(Scale::log(&[0.9, 12.0])), ["1", "2", "5", "10"]);
        // Every fifth decade would be 1 alone, and every third one 1000.
        let few = Scale::log(&[2.0, 7e4]).unwrap().ticks_at_most(1);
        assert_eq!(few.into_iter().map(|(_, label)| label).collect::<Vec<_>>(), ["100", "10000"]);
        assert_eq!(labels(Scale::log(&[0.31, 0.34])), ["0.31", "0.32", "0.33", "0.34"]);
    }

    #[test]
    fn places_are_shares_of_the_axis_and_what_is_not_finite_has_none() {
        let scale = Scale::log(&[0.01, 100.0]).unwrap();
        assert_eq!(
            [0.01, 1.0, 1e5, 0.0].map(|value| scale.fraction(value)),
            [Some(0.0), Some(0.5), Some(1.0), Some(0.0)]
        );
        assert_eq!([f64::NAN, f64::INFINITY].map(|value| scale.fraction(value)), [None, None]);
        assert!(Scale::log(&[0.0, -1.0, f64::NAN]).is_none() && Scale::linear(&[f64::NAN]).is_none());
    }

    #[test]
    fn an_explosion_makes_an_axis_logarithmic_and_a_fall_does_not() {
        assert!(Scale::fitting(&[2.3, 2.0, 1.9, 1e6]).unwrap().is_log());
        assert!(!Scale::fitting(&[2.3, 1.0, 0.1, 0.01]).unwrap().is_log());
        assert!(!Scale::fitting(&[0.0, 1.0, 1e6]).unwrap().is_log());
    }
}
