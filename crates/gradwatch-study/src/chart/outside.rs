//! Values that have no place on the axes of a chart: values that are not above 0 on a logarithmic axis, values beyond
//! the ends that the study chose, and unknown positions. They are left out, counted, and explained below the chart.

use gradwatch_doctor::number::count;

use super::{Chart, Panel, Point};
use crate::definition::{ChartKind, Scale};

/// Reason why a value has no place on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    NotFinite,
    /// On a logarithmic axis.
    NotAboveZero,
    BeyondEnds,
}

impl Outside {
    /// Why a value has no place; `None` if it has one. `ends` are those that the study chose.
    pub(super) fn of(value: f64, is_log: bool, ends: Option<[f64; 2]>) -> Option<Self> {
        let is_beyond = |[low, high]: [f64; 2]| value < low || value > high;
        if !value.is_finite() {
            Some(Self::NotFinite)
        } else if is_log && value <= 0.0 {
            Some(Self::NotAboveZero)
        } else {
            ends.is_some_and(is_beyond).then_some(Self::BeyondEnds)
        }
    }

    /// Why the position of a point has no place. Every category has one.
    fn of_x(chart: &Chart, point: &Point) -> Option<Self> {
        let axis = &chart.x;
        if axis.scale == Scale::Category { None } else { Self::of(point.x, axis.scale == Scale::Log, axis.range) }
    }

    /// Why the mean of a point has no place. The colors of a heat map have no ends: values beyond them get the color of
    /// the nearest end.
    pub(super) fn of_mean(chart: &Chart, point: &Point) -> Option<Self> {
        let ends = chart.y.range.filter(|_| chart.kind != ChartKind::HeatMap);
        Self::of(point.statistics.mean, chart.y.scale == Scale::Log, ends)
    }
}

/// The sentences of the caption: how many points are left out, and why. Points without a finite value have marks.
pub(super) fn sentences(chart: &Chart) -> Vec<String> {
    let points = || chart.points().map(|(.., point)| point);
    let of_x = |why: Outside| points().filter(|point| Outside::of_x(chart, point) == Some(why)).count();
    let of_mean = |why: Outside| {
        let in_columns = points().filter(|point| Outside::of_x(chart, point).is_none());
        in_columns.filter(|point| Outside::of_mean(chart, point) == Some(why)).count()
    };
    let is_map = chart.kind == ChartKind::HeatMap;
    let left_out = if is_map { ["has no color", "have no color"] } else { ["is left out", "are left out"] };
    let x = &chart.x.label;
    let colored = ["has the color of the nearest end", "have the color of the nearest end"];
    [
        (of_x(Outside::NotFinite), "point", format!("without a finite {x}"), left_out),
        (of_x(Outside::NotAboveZero), "point", format!("with {x} not above 0"), left_out),
        (of_mean(Outside::NotAboveZero), "value", "not above 0".into(), left_out),
        (of_mean(Outside::BeyondEnds), "value", "beyond the axis".into(), left_out),
        (beyond_colors(chart), "value", "beyond the range of the colors".into(), colored),
        (cut_ranges(chart), "range", "of runs".into(), ["continues beyond the axis", "continue beyond the axis"]),
    ]
    .into_iter()
    .filter(|(number, ..)| *number > 0)
    .map(|(number, noun, which, [one, several])| {
        format!("{} {which} {}", count(number, noun), if number == 1 { one } else { several })
    })
    .collect()
}

/// Number of cells of a heat map whose mean is beyond the colors.
fn beyond_colors(chart: &Chart) -> usize {
    let is_beyond = |(.., point): &(&Panel, &super::Line, &Point)| {
        let why = Outside::of(point.statistics.mean, chart.y.scale == Scale::Log, chart.y.range);
        why == Some(Outside::BeyondEnds)
    };
    if chart.kind == ChartKind::HeatMap { chart.points().filter(is_beyond).count() } else { 0 }
}

/// Number of points with a place whose lowest or highest run has none.
fn cut_ranges(chart: &Chart) -> usize {
    let has_place = |value: f64| Outside::of(value, chart.y.scale == Scale::Log, chart.y.range).is_none();
    let is_cut = |(.., point): &(&Panel, &super::Line, &Point)| {
        let seen = &point.statistics;
        let is_drawn = Outside::of_x(chart, point).is_none() && has_place(seen.mean);
        is_drawn && seen.n > 1 && !(has_place(seen.min) && has_place(seen.max))
    };
    if chart.kind == ChartKind::HeatMap { 0 } else { chart.points().filter(is_cut).count() }
}

/// Why a panel is empty, in a few words; `None` if a point of it has a place.
pub(super) fn emptiness(chart: &Chart, panel: &Panel) -> Option<String> {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let finite = || points().filter(|point| point.statistics.n > 0);
    let in_columns = || finite().filter(|point| Outside::of_x(chart, point).is_none());
    let reasons = |point: &Point| Outside::of_mean(chart, point);
    if in_columns().any(|point| reasons(point).is_none()) {
        return None;
    }
    let x = &chart.x.label;
    Some(if points().next().is_none() {
        chart.remarks.first().cloned().unwrap_or_else(|| "no run".into())
    } else if finite().next().is_none() {
        "no finite value".into()
    } else if in_columns().next().is_none() {
        let is_known = finite().any(|point| point.x.is_finite());
        if is_known { format!("no {x} above 0") } else { format!("no finite {x}") }
    } else if in_columns().any(|point| reasons(point) == Some(Outside::BeyondEnds)) {
        "no value within the axis".into()
    } else {
        "no value above 0".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chart::{
            Curves, csv,
            fixture::{definition, filter, results},
            svg,
            tests::{markers, texts},
        },
        definition::ChartDefinition,
        results::{Cell, Results},
    };

    /// All text of a chart in one line.
    fn text(definition: &ChartDefinition, results: &Results) -> String {
        texts(&svg(&Chart::new(definition, results, &Curves::default()), "")).join(" ")
    }

    fn log(kind: ChartKind) -> ChartDefinition {
        ChartDefinition { y_scale: Scale::Log, ..definition(kind) }
    }

    /// Runs of one method with these depths and accuracies.
    fn runs(points: &[(f64, f64)]) -> Results {
        let rows: Vec<_> = points.iter().map(|(depth, value)| (*depth, "a", 1.0, [*value, 0.0])).collect();
        results(&rows)
    }

    #[test]
    fn values_not_above_0_are_left_out_of_a_logarithmic_axis_and_counted() {
        let three = runs(&[(1.0, 0.1), (2.0, 0.0), (3.0, -1.0)]);
        for kind in [ChartKind::Lines, ChartKind::Bars] {
            let said = text(&log(kind), &three);
            assert!(said.contains("2 values not above 0 are left out"), "{said}");
            let none = text(&log(kind), &runs(&[(1.0, 0.0), (2.0, -1.0)]));
            assert!(none.contains("no value above 0") && none.contains("2 values not above 0 are left out"), "{none}");
            assert!(!text(&definition(kind), &three).contains("left out"));
        }
        let chart = Chart::new(&log(ChartKind::Lines), &three, &Curves::default());
        assert_eq!(markers(&svg(&chart, "")).len(), 1);
        // The numbers have all of them.
        assert_eq!(csv(&chart).lines().count(), 4);
    }

    #[test]
    fn positions_not_above_0_are_left_out_of_a_logarithmic_axis_and_counted() {
        let by_depth = ChartDefinition { x_scale: Some(Scale::Log), ..definition(ChartKind::Lines) };
        let two = runs(&[(0.0, 0.1), (1.0, 0.2)]);
        let said = text(&by_depth, &two);
        assert!(said.contains("1 point with depth not above 0 is left out"), "{said}");
        assert_eq!(markers(&svg(&Chart::new(&by_depth, &two, &Curves::default()), "")).len(), 1);
        assert!(text(&by_depth, &runs(&[(0.0, 0.1), (-1.0, 0.2)])).contains("no depth above 0"));
    }

    #[test]
    fn a_run_without_a_position_is_left_out_and_the_others_keep_their_numbers() {
        let mut three = runs(&[(4.0, 0.1), (8.0, 0.2), (16.0, 0.3)]);
        three.rows[1].cells[0] = Cell::Missing;
        let chart = Chart::new(&definition(ChartKind::Lines), &three, &Curves::default());
        assert_eq!((chart.x.scale, markers(&svg(&chart, "")).len()), (Scale::Linear, 2));
        assert!(text(&definition(ChartKind::Lines), &three).contains("1 point without a finite depth is left out"));
    }

    #[test]
    fn values_beyond_the_ends_of_the_axis_are_left_out_and_counted() {
        let range = ChartDefinition { y_range: Some([0.0, 1.0]), ..definition(ChartKind::Lines) };
        let said = text(&range, &runs(&[(1.0, 0.0), (2.0, 1.0), (3.0, 1.5)]));
        assert!(said.contains("1 value beyond the axis is left out"), "{said}");
        assert!(text(&range, &runs(&[(1.0, 2.0)])).contains("no value within the axis"));
        let map = ChartDefinition { y_range: Some([0.0, 1.0]), ..definition(ChartKind::HeatMap) };
        let said = text(&map, &runs(&[(1.0, 0.5), (2.0, 1.5), (3.0, -1.0)]));
        assert!(said.contains("2 values beyond the range of the colors have the color of the nearest end"), "{said}");
    }

    #[test]
    fn a_range_of_runs_that_reaches_0_continues_beyond_a_logarithmic_axis() {
        // Means 1 and 2.
        let rows = [(1.0, "a", 1.0, [-1.0, 0.0]), (1.0, "a", 2.0, [3.0, 0.0]), (2.0, "a", 1.0, [2.0, 0.0])];
        let drawn = svg(&Chart::new(&log(ChartKind::Bars), &results(&rows), &Curves::default()), "");
        let said = texts(&drawn).join(" ");
        assert!(said.contains("1 range of runs continues beyond the axis") && !said.contains("left out"), "{said}");
        // One cap, at the highest run.
        assert_eq!(drawn.matches("h6").count(), 1, "{drawn}");
    }

    #[test]
    fn a_cell_not_above_0_has_its_number_and_no_color_on_a_logarithmic_scale() {
        let drawn =
            svg(&Chart::new(&log(ChartKind::HeatMap), &runs(&[(1.0, 2.0), (2.0, -4.0)]), &Curves::default()), "");
        let said = texts(&drawn).join(" ");
        assert!(said.contains("-4.00") && said.contains("1 value not above 0 has no color"), "{said}");
        assert_eq!(drawn.matches("fill=\"currentColor\" d=\"M").count(), 0);
        let none = text(&log(ChartKind::HeatMap), &runs(&[(2.0, -4.0)]));
        assert!(none.contains("no value above 0"), "{none}");
    }

    #[test]
    fn a_chart_without_runs_says_why() {
        for kind in ChartKind::ALL {
            let said = text(&definition(*kind), &runs(&[]));
            assert!(said.contains("No run has started") && !said.contains("Value"), "{kind}: {said}");
        }
        let nowhere =
            ChartDefinition { filters: vec![filter("depth", Cell::Number(9.0))], ..definition(ChartKind::Lines) };
        assert!(text(&nowhere, &runs(&[(1.0, 2.0)])).contains("No run matches the filter (where)"));
        let broken = text(&definition(ChartKind::Lines), &runs(&[(1.0, f64::NAN), (2.0, f64::INFINITY)]));
        assert!(
            broken.contains("None of the 2 runs has a finite value") && broken.contains("no finite value"),
            "{broken}"
        );
    }
}
