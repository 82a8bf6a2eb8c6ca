//! The caption of a chart: the meaning of its marks, the number of runs, and the values that it leaves out.

use gradwatch_doctor::number::count;

use super::{Chart, outside};
use crate::definition::{ChartKind, Scale};

/// The caption, on one line: its parts, separated by semicolons.
pub(super) fn caption(chart: &Chart) -> String {
    let steps = chart.steps_per_point;
    let steps = (steps > 1).then(|| format!("each point: mean of {steps} steps"));
    let is_marked = chart.points().any(|(.., point)| point.diverged > 0);
    let missing = match chart.kind {
        ChartKind::Curves => "×: number of runs whose first value that is not finite is here",
        ChartKind::HeatMap => "× or corner: runs without a finite value",
        ChartKind::Lines | ChartKind::Bars => "×: number of runs without a finite value",
    };
    let missing = is_marked.then(|| missing.to_owned());
    let parts = meaning(chart).into_iter().chain(steps).chain(missing).chain(outside::sentences(chart));
    let text = parts.chain(without_colors(chart)).chain(chart.remarks.iter().cloned()).collect::<Vec<_>>().join("; ");
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// Why a heat map with values has no colors. Other charts have room for it in their plots.
fn without_colors(chart: &Chart) -> Option<String> {
    let has_values = chart.points().any(|(.., point)| point.statistics.n > 0);
    let reasons: Option<Vec<String>> = chart.panels.iter().map(|panel| outside::emptiness(chart, panel)).collect();
    reasons?.into_iter().next().filter(|_| has_values && chart.kind == ChartKind::HeatMap)
}

/// The meaning of a point, and how many runs it has; nothing without runs.
fn meaning(chart: &Chart) -> Vec<String> {
    let runs = || chart.points().map(|(.., point)| point.statistics.n).filter(|n| *n > 0);
    let (Some(least), Some(most)) = (runs().min(), runs().max()) else {
        let mut rows: Vec<usize> = chart.points().flat_map(|(.., point)| point.runs.iter().copied()).collect();
        rows.sort_unstable();
        rows.dedup();
        return match rows.len() {
            0 => Vec::new(),
            1 => vec!["the run has no finite value".into()],
            runs => vec![format!("none of the {runs} runs has a finite value")],
        };
    };
    if most == 1 && chart.points().all(|(.., point)| point.runs.len() == 1) {
        let part = match chart.kind {
            ChartKind::HeatMap => "cell",
            ChartKind::Bars => "bar",
            ChartKind::Lines => "point",
            ChartKind::Curves => "line",
        };
        return vec![format!("each {part} is one run")];
    }
    let (of, ends) = match chart.points().any(|(.., point)| point.statistics.interval.is_some()) {
        true => ("share of runs", "95% confidence interval (Wilson)"),
        false => ("mean", "lowest to highest run"),
    };
    let spread = match chart.kind {
        ChartKind::HeatMap => format!("color: {of}"),
        ChartKind::Bars => format!("bar: {of}; whisker: {ends}"),
        _ if chart.x.scale == Scale::Category => format!("dot: {of}; whisker: {ends}"),
        _ => format!("line: {of}; band: {ends}"),
    };
    let counts =
        if least < most { format!("n = {least} to {most} runs") } else { format!("n = {}", count(most, "run")) };
    vec![spread, counts]
}
