//! Charts on a page, each with its numbers and the runs of each point.

use maud::{Markup, html};

use super::runs::run_anchor;
use crate::{
    chart::{Chart, Digits, Line, Panel, Point, draw, plain},
    definition::ChartKind,
    results::Results,
};

/// The charts, with links to their files in the folder `files`, if there are any.
pub(crate) fn figures(charts: &[Chart], results: &Results, files: Option<&str>) -> Markup {
    html! {
        @for chart in charts {
            figure class="study" id=(plain(&chart.slug)) {
                figcaption {
                    h3 { (plain(&chart.title)) }
                    @if let Some(folder) = files {
                        span class="downloads" {
                            @for extension in ["svg", "png", "csv"] {
                                a href={ (folder) "/" (plain(&chart.slug)) "." (extension) } { (extension.to_uppercase()) }
                            }
                        }
                    }
                }
                div class="scroll" tabindex="0" role="region" aria-label=(plain(&chart.title)) { (draw(chart)) }
                (numbers(chart, results))
            }
        }
    }
}

/// The numbers of the chart, with the runs of each point. Of a curve, the last point.
fn numbers(chart: &Chart, results: &Results) -> Markup {
    let is_curve = chart.kind == ChartKind::Curves;
    let is_shown = |(_, line, point): &(&Panel, &Line, &Point)| {
        !is_curve || line.points.last().is_some_and(|last| last.x == point.x)
    };
    let points: Vec<_> = chart.points().filter(is_shown).collect();
    let digits = Digits::of(points.iter().map(|(.., point)| point.statistics.mean));
    let has_panels = chart.panels.iter().any(|panel| !panel.name.is_empty());
    let has_lines = chart.lines.iter().any(|line| !line.is_empty());
    html! {
        details {
            summary { @if is_curve { "Last values and runs" } @else { "Numbers and runs" } }
            div class="scroll" tabindex="0" role="region" aria-label={ "Numbers of " (plain(&chart.title)) } {
                table class="parameters groups" {
                    thead {
                        tr {
                            th scope="col" { (plain(&chart.x.label)) }
                            @if has_panels { th scope="col" { "panel" } }
                            @if has_lines { th scope="col" { (plain(line_heading(chart))) } }
                            @for name in ["mean", "std", "min", "max", "n", "missing", "runs"] { th scope="col" { (name) } }
                        }
                    }
                    tbody {
                        @for (panel, line, point) in points {
                            tr id=(plain(&chart.anchor(point.group))) {
                                th scope="row" { (plain(&point.label)) }
                                @if has_panels { td { (plain(&panel.name)) } }
                                @if has_lines { td { (plain(chart.line_name(line))) } }
                                @let seen = &point.statistics;
                                @for value in [seen.mean, seen.std, seen.min, seen.max] { td { (digits.text(value)) } }
                                td { (seen.n) }
                                td { (seen.missing) }
                                td class="list" { (runs_of(point, results)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn line_heading(chart: &Chart) -> &str {
    match chart.kind {
        ChartKind::HeatMap => &chart.y.label,
        _ if chart.legend.is_empty() => "value",
        _ => &chart.legend,
    }
}

fn runs_of(point: &Point, results: &Results) -> Markup {
    let runs = point.runs.iter().filter_map(|row| Some((*row, results.rows.get(*row)?)));
    html! {
        @for (index, (row, run)) in runs.enumerate() {
            @if index > 0 { " · " }
            a href={ "#" (run_anchor(row)) } { (plain(&run.run)) }
        }
    }
}
