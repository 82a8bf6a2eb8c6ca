//! Points of a curve, cut to a range of steps and smoothed.

use crate::{report::Series, watch::ViewState};

/// Points of a curve, and the steps at which a value was not finite.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Curve {
    /// Step and value.
    pub points: Vec<(f64, f64)>,
    /// Steps with a value that is not finite.
    pub not_finite: Vec<f64>,
}

impl Curve {
    /// The buckets of a series in the range of the view, smoothed.
    pub(super) fn of(series: &Series, state: &ViewState) -> Self {
        let is_shown = |first: u64, last: u64| state.range.is_none_or(|[from, to]| last >= from && first <= to);
        let buckets = || series.buckets().iter().filter(|bucket| is_shown(bucket.first_step, bucket.last_step));
        let finite = buckets().filter(|bucket| bucket.count > 0).map(|bucket| (bucket.middle(), bucket.mean));
        let not_finite = buckets().filter(|bucket| bucket.not_finite > 0).map(|bucket| bucket.middle());
        Self { points: smoothed(finite.collect(), state.weight()), not_finite: not_finite.collect() }
    }

    /// The same curve with other units.
    pub(super) fn scaled(mut self, factor: f64) -> Self {
        self.points.iter_mut().for_each(|(_, value)| *value *= factor);
        self
    }
}

/// Exponential moving average as in TensorBoard: the first values weigh no more than the later ones (debiased).
pub(super) fn smoothed(mut points: Vec<(f64, f64)>, weight: f64) -> Vec<(f64, f64)> {
    if weight <= 0.0 {
        return points;
    }
    let (mut average, mut bias) = (0.0, 1.0);
    for (_, value) in &mut points {
        average = average * weight + *value * (1.0 - weight);
        bias *= weight;
        *value = average / (1.0 - bias);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moving_average_starts_at_the_first_value() {
        let points = smoothed(vec![(0.0, 4.0), (1.0, 2.0)], 0.5);
        // (0.5 * 2 + 0.5 * 2) / 0.75.
        assert_eq!(points, [(0.0, 4.0), (1.0, 2.0 / 0.75)]);
    }

    #[test]
    fn a_curve_has_the_steps_in_the_range_and_where_it_is_not_finite() {
        let mut series = Series::default();
        [1.0, f64::NAN, 3.0, 4.0].into_iter().zip(0..).for_each(|(value, step)| series.add(step, value));
        let state = ViewState { range: Some([1, 2]), ..ViewState::default() };
        let want = Curve { points: vec![(2.0, 3.0)], not_finite: vec![1.0] };
        assert_eq!(Curve::of(&series, &state), want);
        assert_eq!(Curve::of(&series, &state).scaled(2.0).points, [(2.0, 6.0)]);
    }
}
