//! Formats the numbers of a chart or a table alike: with as many decimals as the largest of them needs.

use gradwatch_doctor::number;

use crate::groups::Statistics;

/// Number of decimals of a set of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    /// `None` if the values are too far apart, or too large or small, for a fixed number of decimals.
    decimals: Option<usize>,
}

impl Digits {
    /// Three significant digits for the largest magnitude of `values`, such as `0.912` or `23.1`; numbers of different
    /// magnitudes get their own three digits each.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let sizes: Vec<f64> = values.into_iter().map(f64::abs).filter(|size| size.is_finite() && *size > 0.0).collect();
        let (least, most) =
            (sizes.iter().copied().fold(f64::NAN, f64::min), sizes.iter().copied().fold(f64::NAN, f64::max));
        let decimals = (2.0 - most.log10().floor()).max(0.0);
        // The smallest keeps two digits.
        let is_visible = least >= 10f64.powf(1.0 - decimals) && (1e-3..1e5).contains(&most);
        Self { decimals: is_visible.then_some(decimals as usize) }
    }

    /// The number; a dash for NaN. A number that would round to 0, such as a small deviation, keeps its first digits.
    pub fn text(self, value: f64) -> String {
        let fixed = self.decimals.filter(|_| value.is_finite()).map(|decimals| format!("{value:.decimals$}"));
        let is_zero = |text: &String| text.chars().all(|digit| matches!(digit, '0' | '.' | '-'));
        match fixed {
            Some(text) if !is_zero(&text) => text,
            Some(text) if value == 0.0 => text.trim_start_matches('-').to_owned(),
            Some(_) => number::two_digits(value),
            // Rounds to three digits first, because `number` keeps four.
            None => number::number_or_dash(format!("{value:.2e}").parse().unwrap_or(value)),
        }
    }

    /// Mean, standard deviation, and number of runs: `0.912 ± 0.004 (3)`, or `(3/5)` if two of five have no value.
    pub fn summary(self, seen: &Statistics) -> String {
        let runs = if seen.missing > 0 { format!("{}/{}", seen.n, seen.runs()) } else { seen.n.to_string() };
        match seen.n {
            0 => format!("– ({runs})"),
            1 => format!("{} ({runs})", self.text(seen.mean)),
            _ => match seen.interval {
                Some([low, high]) => {
                    let [share, low, high] = [seen.mean, low, high].map(|share| self.text(share));
                    format!("{share}, {low} to {high} ({runs})")
                }
                None => format!("{} ± {} ({runs})", self.text(seen.mean), self.text(seen.std)),
            },
        }
    }
}

/// Mean, standard deviation, extremes, and number of runs in words, for tooltips.
pub(super) fn sentence(seen: &Statistics) -> String {
    let number = number::short;
    let missing = match seen.missing {
        0 => String::new(),
        missing => format!(", {missing} of {} without a finite value", number::count(seen.runs(), "run")),
    };
    match seen.n {
        0 => format!("no finite value in {}", number::count(seen.runs(), "run")),
        1 => format!("{} (n = 1{missing})", number(seen.mean)),
        n => {
            let Statistics { mean, std, min, max, interval, .. } = *seen;
            let [mean, std, min, max] = [mean, std, min, max].map(number);
            match interval.map(|ends| ends.map(number)) {
                Some([low, high]) => format!("{mean}, 95% interval {low} to {high} (n = {n}{missing})"),
                None => format!("{mean} ± {std}, {min} to {max} (n = {n}{missing})"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_have_the_decimals_of_the_largest() {
        let digits = Digits::of([0.9, 0.91234, 0.05]);
        assert_eq!([0.9, 0.91234, 0.05, -0.0].map(|value| digits.text(value)), ["0.900", "0.912", "0.050", "0.000"]);
        assert_eq!([0.000_123, -0.0004].map(|value| digits.text(value)), ["1.2e-4", "-4e-4"]);
        assert_eq!(Digits::of([23.06, 2.0]).text(23.06), "23.1");
        assert_eq!(Digits::of([1580.0, 200.0]).text(200.0), "200");
    }

    #[test]
    fn numbers_of_different_magnitudes_have_their_own_digits() {
        let digits = Digits::of([1e-6, 0.5, f64::NAN, f64::INFINITY]);
        assert_eq!([1.2345e-6, 0.5, 0.12345].map(|value| digits.text(value)), ["1.23e-6", "0.5", "0.123"]);
        assert_eq!([f64::NAN, f64::INFINITY].map(|value| digits.text(value)), ["–", "∞"]);
        assert_eq!(Digits::of([]).text(2.0), "2");
    }

    #[test]
    fn a_summary_counts_runs_and_those_without_a_value() {
        let summary = |values: &[f64]| Digits::of(values.iter().copied()).summary(&Statistics::of(values));
        // Deviations of 0.02 around 0.9.
        assert_eq!(summary(&[0.88, 0.9, 0.92]), "0.900 ± 0.020 (3)");
        // Deviations of 1e-4 around 0.9 are no spread of 0.
        assert_eq!(summary(&[0.8999, 0.9, 0.9001]), "0.900 ± 1e-4 (3)");
        assert_eq!(summary(&[0.9]), "0.900 (1)");
        assert_eq!(summary(&[0.9, f64::NAN]), "0.900 (1/2)");
        assert_eq!(summary(&[f64::NAN, f64::NAN]), "– (0/2)");
    }

    #[test]
    fn a_tooltip_has_mean_spread_and_count() {
        assert_eq!(sentence(&Statistics::of(&[1.0, 3.0])), "2 ± 1.414, 1 to 3 (n = 2)");
        assert_eq!(sentence(&Statistics::of(&[1.0, f64::NAN])), "1 (n = 1, 1 of 2 runs without a finite value)");
        assert_eq!(sentence(&Statistics::of(&[f64::NAN])), "no finite value in 1 run");
    }
}
