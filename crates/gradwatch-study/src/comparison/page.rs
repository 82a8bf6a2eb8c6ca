//! Page of a comparison.

use gradwatch_doctor::{number::count, report::list};
use maud::{Markup, html};

use super::{
    Comparison, Property,
    run::{Curves as RunCurves, Steps},
};
use crate::{
    chart::{Chart, Curves, plain},
    definition::{ChartDefinition, ChartKind, Scale},
    page::{figures, page, runs},
    results::{Cell, Column, ColumnKind},
};

/// Most runs with a curve each; more lines cannot be distinguished.
const MOST_LINES: usize = 40;

/// Most runs in the title.
const MOST_NAMES: usize = 4;

/// Title and curve of a chart.
type TitledCurve = (&'static str, fn(&RunCurves) -> &Steps);

/// The charts.
const CHARTS: [TitledCurve; 5] = [
    ("Validation accuracy", |curves| &curves.validation_accuracy),
    ("Validation loss", |curves| &curves.validation_loss),
    ("Step loss", |curves| &curves.loss),
    ("Total gradient norm", |curves| &curves.total_norm),
    ("Learning rate", |curves| &curves.learning_rate),
];

impl Comparison {
    /// Renders the comparison as a standalone page with curves, for any screen width and for light and dark mode.
    pub fn html(&self) -> String {
        let (differences, findings, results) = (self.config_differences(), self.findings(), self.results());
        let charts = self.charts();
        let content = html! {
            header class="head" {
                p class="run" { "Comparison of " (count(self.runs.len(), "run")) }
                h1 { (plain(&self.title())) }
            }
            section aria-labelledby="runs" {
                h2 id="runs" { "Final metrics" }
                (runs(&results, None))
            }
            section aria-labelledby="config" {
                h2 id="config" { "Config differences" }
                @if differences.is_empty() { p class="caption" { (self.no_differences()) } }
                (self.table("config", "key", &differences))
            }
            section aria-labelledby="findings" {
                h2 id="findings" { "Findings" }
                @if findings.is_empty() { p class="caption" { "No run has a finding." } }
                (self.table("findings", "rule", &findings))
            }
            section aria-labelledby="curves" {
                h2 id="curves" { "Curves" }
                @if self.runs.len() > MOST_LINES {
                    p class="caption" { "The first " (MOST_LINES) " of " (self.runs.len()) " runs." }
                }
                @if charts.is_empty() { p class="caption" { "No run recorded losses, accuracies, norms, or learning rates." } }
                (figures(&charts, &results, None))
            }
            (list("notes", "Notes", &self.notes()))
        };
        page(&format!("{} · comparison", self.title()), &content)
    }

    /// The names of the runs, or of some of many.
    fn title(&self) -> String {
        let some = self.names.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
        match self.names.len().saturating_sub(MOST_NAMES) {
            0 => some,
            more => format!("{some}, and {more} more"),
        }
    }

    /// Why there are no differences to show.
    pub(super) fn no_differences(&self) -> String {
        match self.runs.iter().filter(|run| run.config.is_some()).count() {
            0 => "No run has a config.toml of gradwatch.".into(),
            1 => "Only one run has a config.toml of gradwatch.".into(),
            _ => "All configs are the same.".into(),
        }
    }

    fn table(&self, heading: &str, name: &str, properties: &[Property]) -> Markup {
        html! {
            @if !properties.is_empty() {
                div class="scroll" tabindex="0" role="region" aria-labelledby=(heading) {
                    table class="parameters" {
                        thead {
                            tr {
                                th scope="col" { (name) }
                                @for run in &self.names { th scope="col" { (plain(run)) } }
                            }
                        }
                        tbody {
                            @for property in properties {
                                tr class=[property.differs().then_some("differs")] {
                                    th scope="row" { (plain(&property.name)) }
                                    @for value in &property.values { td { (plain(value)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// A chart with a line per run for each curve that any run has.
    fn charts(&self) -> Vec<Chart> {
        let mut results = self.results();
        results.columns = vec![Column { name: "run".into(), kind: ColumnKind::Axis }];
        results.rows.truncate(MOST_LINES);
        results.rows.iter_mut().for_each(|row| row.cells = vec![Cell::Text(row.run.clone())]);
        let runs = || self.runs.iter().take(MOST_LINES);
        let has = |(_, curve): &&TitledCurve| runs().any(|run| !curve(&run.curves).is_empty());
        let chart = |(title, curve): &TitledCurve| {
            let mut curves = Curves::default();
            for (row, run) in runs().enumerate() {
                curves.insert(row, title, curve(&run.curves).clone());
            }
            Chart::new(&definition(title, scale(runs().map(|run| curve(&run.curves)))), &results, &curves)
        };
        CHARTS.iter().filter(has).map(chart).collect()
    }
}

/// Logarithmic if all values are above 0 and the largest is more than 30 times the median, such as an exploding norm.
fn scale<'a>(curves: impl Iterator<Item = &'a Steps>) -> Scale {
    let values: Vec<f64> = curves.flat_map(|steps| steps.values().copied()).collect();
    let is_log = gradwatch_doctor::report::Scale::fitting(&values).is_some_and(|scale| scale.is_log());
    if is_log { Scale::Log } else { Scale::Linear }
}

fn definition(title: &str, y_scale: Scale) -> ChartDefinition {
    ChartDefinition {
        title: title.to_owned(),
        kind: ChartKind::Curves,
        x: None,
        y: vec![title.to_owned()],
        rows: None,
        lines: Some("run".into()),
        panels: None,
        filters: Vec::new(),
        x_scale: None,
        y_scale,
        y_range: None,
        x_label: None,
        labels: Vec::new(),
        y_label: Some(title.to_lowercase()),
    }
}
