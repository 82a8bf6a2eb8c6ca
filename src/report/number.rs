//! Formats numbers for readers.

/// Formats a number with about four significant digits, or with an exponent and three digits if it is very small or
/// large.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.into();
    }
    let size = value.abs();
    if size == 0.0 {
        "0".into()
    } else if (1e-3..1e5).contains(&size) {
        let decimals = (3.0 - size.log10().floor()).max(0.0) as usize;
        without_zeros(&format!("{value:.decimals$}"))
    } else {
        let text = format!("{value:.2e}");
        text.split_once('e').map_or(text.clone(), |(digits, power)| format!("{}e{power}", without_zeros(digits)))
    }
}

/// Formats a number; a dash for NaN.
pub(super) fn number_or_dash(value: f64) -> String {
    if value.is_nan() { "–".into() } else { number(value) }
}

/// Formats a fraction as a percentage; a dash for NaN.
pub(super) fn percent(share: f64) -> String {
    if share.is_nan() { "–".into() } else { format!("{} %", number(100.0 * share)) }
}

/// Formats a step on an axis: `20k` for 20000.
pub(super) fn step_label(step: f64) -> String {
    for (unit, name) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if step >= 10.0 * unit || step >= unit && step % (unit / 10.0) == 0.0 {
            return format!("{}{name}", number(step / unit));
        }
    }
    format!("{step:.0}")
}

/// Formats a count with its noun: `1 finding`, `2 findings`.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
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
        assert_eq!(percent(0.9999), "99.99 %");
    }

    #[test]
    fn large_steps_are_written_short() {
        assert_eq!(
            [0.0, 950.0, 1000.0, 1234.0, 2500.0, 20_000.0, 3e6].map(step_label),
            ["0", "950", "1k", "1234", "2.5k", "20k", "3M"]
        );
    }
}
