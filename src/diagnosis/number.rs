//! Formats numbers for messages.

/// Formats a number with two significant digits, for example the magnitude of a gradient.
pub(super) fn two_digits(number: f64) -> String {
    let rounded = format!("{number:.1e}").parse().unwrap_or(number);
    short(rounded)
}

/// Formats a number with at most four decimals, or in scientific notation if it is very small or large.
pub(super) fn short(number: f64) -> String {
    if number == 0.0 || (1e-3..1e5).contains(&number.abs()) {
        let text = format!("{number:.4}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    // "1.0e-7" becomes 1e-7; NaN and infinities have no exponent.
    format!("{number:.1e}").replace(".0e", "e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!([0.0, 0.2, 70.0, 1e6, 2.5e-9].map(short), ["0", "0.2", "70", "1e6", "2.5e-9"]);
        assert_eq!([1.0234, 0.001_26, 153.0, 2.04e-6].map(two_digits), ["1", "0.0013", "150", "2e-6"]);
        assert_eq!([f64::NAN, f64::INFINITY].map(two_digits), ["NaN", "inf"]);
    }
}
