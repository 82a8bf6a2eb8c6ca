//! Positions and labels of axis ticks.

/// Values are clamped to this magnitude, so that differences are finite.
const LARGEST: f64 = 1e300;

/// A non-empty range of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    low: f64,
    high: f64,
}

impl Range {
    /// From the lowest to the highest finite value, or a range around a single value. `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (low, high) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
        let (low, high) = (low.clamp(-LARGEST, LARGEST), high.clamp(-LARGEST, LARGEST));
        // Ends that differ only in their last digits would get the same label.
        let least = 1e-6 * low.abs().max(high.abs());
        if high - low > least {
            return Some(Self { low, high });
        }
        let (middle, half) =
            (low + 0.5 * (high - low), if least == 0.0 { 0.5 } else { least.max(0.5 * high.abs().min(1.0)) });
        Some(Self { low: middle - half, high: middle + half })
    }

    /// Adds room below, so that the lowest bar has a height, and above.
    pub(super) fn padded(self) -> Self {
        let span = self.high - self.low;
        Self { low: self.low - 0.1 * span, high: self.high + 0.05 * span }
    }

    /// Low end and high end.
    pub fn ends(self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// 0 at the low end, 1 at the high end.
    pub fn fraction(&self, value: f64) -> f64 {
        (value.clamp(-LARGEST, LARGEST) - self.low) / (self.high - self.low)
    }

    /// Round numbers in the range, at most `count` steps apart, with their labels.
    pub fn ticks(&self, count: u32) -> Vec<(f64, String)> {
        let raw = (self.high - self.low) / f64::from(count.max(1));
        let power = 10f64.powf(raw.log10().floor());
        let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= raw).unwrap_or(10.0);
        let step = factor * power;
        let (first, last) = ((self.low / step).ceil(), (self.high / step).floor());
        let steps = if last >= first { (last - first).min(f64::from(count)) as u32 + 1 } else { 0 };
        let largest = first.abs().max(last.abs()) * step;
        (0..steps)
            .map(|index| (first + f64::from(index)) * step)
            .map(|tick| (tick, label(tick, step, largest)))
            .collect()
    }
}

/// Formats a tick with enough digits to distinguish it from its neighbors.
fn label(tick: f64, step: f64, largest: f64) -> String {
    let decimals = (-(step * 1.001).log10().floor()).max(0.0) as usize;
    if tick == 0.0 {
        "0".into()
    } else if largest >= 1e5 || decimals > 4 {
        let digits = (largest / step).log10().ceil().clamp(0.0, 6.0) as usize;
        format!("{tick:.digits$e}")
    } else {
        format!("{tick:.decimals$}")
    }
}

/// Interval of labels to draw: 1, 2, 5, 10, 20, 50, ..., so that labels that need `needed` pixels do not overlap at
/// `pitch` pixels apart.
pub fn each_nth(pitch: f64, needed: u32) -> usize {
    let nths = (0..9).flat_map(|power| [1, 2, 5].map(|factor| factor * 10usize.pow(power)));
    nths.into_iter().find(|nth| *nth as f64 * pitch >= f64::from(needed)).unwrap_or(usize::MAX)
}

/// Shortens a text to at most `count` characters by cutting out the middle.
pub fn shorten(text: &str, count: usize) -> String {
    let characters: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if characters.len() <= count {
        return characters.into_iter().collect();
    }
    let kept = count.saturating_sub(1);
    let (head, tail) = (kept / 2, kept.div_ceil(2));
    let (head, tail) = (&characters[..head], &characters[characters.len() - tail..]);
    head.iter().chain(&['…']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        Range { low, high }.ticks(5).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(-4.3, 0.2), ["-4", "-3", "-2", "-1", "0"]);
        assert_eq!(labels(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(0.001, 0.0021), ["0.0010", "0.0015", "0.0020"]);
    }

    #[test]
    fn ticks_far_from_one_are_written_with_an_exponent() {
        assert_eq!(labels(0.0, 4e7), ["0", "1.0e7", "2.0e7", "3.0e7", "4.0e7"]);
        assert_eq!(labels(1e-9, 3e-9), ["1.0e-9", "1.5e-9", "2.0e-9", "2.5e-9", "3.0e-9"]);
    }

    #[test]
    fn a_range_leaves_out_what_is_not_finite_and_is_never_empty() {
        assert_eq!(Range::of(&[f64::NAN, 1.0, f64::INFINITY, -3.0]), Some(Range { low: -3.0, high: 1.0 }));
        assert_eq!(Range::of(&[f64::NAN, f64::INFINITY]), None);
        assert_eq!(Range::of(&[0.0]), Some(Range { low: -0.5, high: 0.5 }));
        assert_eq!(Range::of(&[4.0, 4.0]), Some(Range { low: 3.5, high: 4.5 }));
        assert_eq!(Range::of(&[f64::MIN, f64::MAX]), Some(Range { low: -LARGEST, high: LARGEST }));
    }

    #[test]
    fn the_labels_of_rows_that_are_too_close_are_thinned_to_a_round_count() {
        assert_eq!([30.0, 20.0, 10.0, 7.0, 2.0, 1.0].map(|pitch| each_nth(pitch, 20)), [1, 1, 2, 5, 10, 20]);
    }

    #[test]
    fn a_long_name_loses_its_middle() {
        assert_eq!(shorten("layer4.0.conv2.weight", 9), "laye…ight");
        assert_eq!(shorten("layer4.0.conv2.weight", 8), "lay…ight");
        assert_eq!(shorten("fc\n1", 4), "fc 1");
        assert_eq!((shorten("ab", 1), shorten("ab", 0)), ("…".into(), "…".into()));
    }
}
