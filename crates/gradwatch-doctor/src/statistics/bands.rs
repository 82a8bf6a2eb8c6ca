//! The spread of values across many tensors, as three percentiles.

use serde::Serialize;

/// Percentiles across layers or parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bands {
    /// 5% of the values are below.
    pub p5: f64,
    /// The median.
    pub p50: f64,
    /// 5% of the values are above.
    pub p95: f64,
}

impl Bands {
    /// Percentiles of the finite values, interpolated linearly between neighbors as in numpy; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        if values.is_empty() {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let percentile = |share: f64| {
            let position = share * (values.len() - 1) as f64;
            let (below, above) = (values[position.floor() as usize], values[position.ceil() as usize]);
            below + (above - below) * position.fract()
        };
        Some(Self { p5: percentile(0.05), p50: percentile(0.5), p95: percentile(0.95) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([4, 1, 3, 2], [5, 50, 95])
        let bands = Bands::of([4.0, f64::NAN, 1.0, 3.0, f64::INFINITY, 2.0]).unwrap();
        assert_eq!((bands.p5, bands.p50), (1.15, 2.5));
        assert!((bands.p95 - 3.85).abs() < 1e-12);
        assert_eq!(Bands::of([7.0]), Some(Bands { p5: 7.0, p50: 7.0, p95: 7.0 }));
        assert_eq!(Bands::of([f64::NAN]), None);
    }
}
