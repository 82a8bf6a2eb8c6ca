//! Formats numbers for messages and reports.

use std::fmt;

/// Formats a number with about four significant digits, or with an exponent and three digits if it is very small or
/// large.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value.is_infinite() {
        if value > 0.0 { "∞" } else { "-∞" }.into()
    } else if size == 0.0 {
        "0".into()
    } else if (1e-3..1e5).contains(&size) {
        let decimals = (3.0 - size.log10().floor()).max(0.0) as usize;
        without_zeros(&format!("{value:.decimals$}"))
    } else {
        // NaN has no exponent.
        let text = format!("{value:.2e}");
        text.split_once('e').map_or(text.clone(), |(digits, power)| format!("{}e{power}", without_zeros(digits)))
    }
}

/// Formats a number with about four significant digits, or with an exponent, in ASCII.
pub fn short(value: f64) -> String {
    number(value).replace('∞', "inf")
}

/// Formats a number with two significant digits, for example the magnitude of a gradient.
pub fn two_digits(value: f64) -> String {
    short(format!("{value:.1e}").parse().unwrap_or(value))
}

/// A number with a fixed number of decimals, such as `{:.3}`, or with an exponent if it is very large.
#[derive(Clone, Copy)]
pub(crate) struct Rounded(pub f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() && self.0.abs() >= 1e5 {
            return f.write_str(&short(self.0));
        }
        write!(f, "{:.*}", f.precision().unwrap_or(2), self.0)
    }
}

/// Formats a number; a dash for NaN.
pub fn number_or_dash(value: f64) -> String {
    if value.is_nan() { "–".into() } else { number(value) }
}

/// Formats a fraction as a percentage; a dash for NaN.
pub fn percent(share: f64) -> String {
    if share.is_nan() { "–".into() } else { format!("{}%", number(100.0 * share)) }
}

/// Formats a step on an axis: `20k` for 20000.
pub fn step_label(step: f64) -> String {
    for (unit, name) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if step >= 10.0 * unit || step >= unit && step % (unit / 10.0) == 0.0 {
            return format!("{}{name}", number(step / unit));
        }
    }
    format!("{step:.0}")
}

/// Formats a count with its noun: `1 finding`, `2 findings`.
pub fn count<N: fmt::Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    format!("{number} {thing}{}", if number == N::from(1) { "" } else { "s" })
}

fn without_zeros(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits_at_most_and_no_zeros_at_their_end() {
        let texts = [0.0, 0.98, 12.0, 12345.6, 0.001_234_5, 1e-5, -2.5e-9, 1e5, 1.0 / 3.0].map(number);
        assert_eq!(texts, ["0", "0.98", "12", "12346", "0.001234", "1e-5", "-2.5e-9", "1e5", "0.3333"]);
        assert_eq!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(number), ["NaN", "∞", "-∞"]);
    }

    #[test]
    fn what_there_is_none_of_is_a_dash() {
        assert_eq!((number_or_dash(f64::NAN), percent(f64::NAN)), ("–".into(), "–".into()));
        assert_eq!(percent(0.9999), "99.99%");
    }

    #[test]
    fn large_steps_are_written_short() {
        assert_eq!(
            [0.0, 950.0, 1000.0, 1234.0, 2500.0, 20_000.0, 3e6].map(step_label),
            ["0", "950", "1k", "1234", "2.5k", "20k", "3M"]
        );
    }

    #[test]
    fn numbers_in_messages_have_the_digits_that_matter() {
        assert_eq!([0.0, 0.2, 70.0, 1e6, 2.5e-9].map(short), ["0", "0.2", "70", "1e6", "2.5e-9"]);
        assert_eq!([1.0234, 0.001_26, 153.0, 2.04e-6].map(two_digits), ["1", "0.0013", "150", "2e-6"]);
        assert_eq!([f64::NAN, f64::INFINITY].map(two_digits), ["NaN", "inf"]);
    }

    #[test]
    fn a_huge_number_has_an_exponent_instead_of_dozens_of_digits() {
        let texts =
            [2.5004, 99_999.0, 1.5e5, 5.2812e37, f64::NAN, f64::INFINITY].map(|value| format!("{:.3}", Rounded(value)));
        assert_eq!(texts, ["2.500", "99999.000", "1.5e5", "5.28e37", "NaN", "inf"]);
        assert_eq!([5.28, 5.28e5].map(short), ["5.28", "5.28e5"]);
    }

    #[test]
    fn one_thing_is_singular() {
        assert_eq!([0usize, 1, 2].map(|number| count(number, "step")), ["0 steps", "1 step", "2 steps"]);
        assert_eq!(count(1u64, "step"), "1 step");
    }
}
