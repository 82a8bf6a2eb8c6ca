//! Comparison of numbers.

/// The largest error relative to the largest expected value.
pub(crate) fn error(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |a: f64, b| a.max(b.abs()));
    let off = largest(&mut got.iter().zip(want).map(|(got, want)| got - want));
    off / largest(&mut want.iter().copied()).max(f64::MIN_POSITIVE)
}
