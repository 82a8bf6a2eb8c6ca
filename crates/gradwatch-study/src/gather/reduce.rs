//! Values of [`Measure`]s.

use super::Series;
use crate::{
    definition::{Measure, Reduction},
    results::Cell,
};
use gradwatch_doctor::config::matches;

/// The value of a measure: the mean over the series whose tags match; missing if none has a step in the
/// range.
pub(super) fn value(measure: &Measure, series: &Series) -> Cell {
    let [first, last] = measure.steps.unwrap_or([0, u64::MAX]);
    let of_tags = series.iter().filter(|(tag, _)| matches(&measure.tag, tag));
    let values =
        of_tags.filter_map(|(_, series)| reduced(measure.reduce, series.range(first..=last).map(|(_, value)| *value)));
    mean(values).into()
}

/// `None` without values.
fn reduced(reduce: Reduction, mut values: impl Iterator<Item = f64>) -> Option<f64> {
    match reduce {
        Reduction::First => values.next(),
        Reduction::Last => values.last(),
        // Both ignore NaN unless all values are NaN.
        Reduction::Min => values.reduce(f64::min),
        Reduction::Max => values.reduce(f64::max),
        Reduction::Mean => mean(values),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
