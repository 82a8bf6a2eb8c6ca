//! Page of a study: its question and definition, charts, tables, and all runs.

use std::path::Path;

use gradwatch_doctor::{number::count, report::list};
use maud::{Markup, html};

use super::{figures, page, runs};
use crate::{
    chart::{Chart, plain},
    definition::Study,
    gather::State,
    grid::InvalidRun,
    groups::{cell, name},
    results::{Results, Row},
    table::Table,
};

/// Folder of the charts' files, next to the page.
pub(crate) const CHARTS: &str = "charts";

/// Notes of a page about the runs.
#[derive(Debug, Clone, Copy)]
pub struct StudyNotes<'a> {
    /// Runs that could not start.
    pub invalid: &'a [InvalidRun],
    /// Missing and damaged files of the runs, and measures without a value.
    pub files: &'a [String],
}

/// Renders the page of a study in `folder`, which also has the folders of the runs. Fetches nothing and has no scripts.
pub fn study_page(study: &Study, results: &Results, notes: &StudyNotes<'_>, charts: &[Chart], folder: &Path) -> String {
    let StudyNotes { invalid, files: notes } = notes;
    let tables: Vec<Table> = study.tables.iter().map(|definition| Table::new(definition, results)).collect();
    let invalid: Vec<String> = invalid.iter().map(|run| format!("{}: {}", run.name, run.problem)).collect();
    let content = html! {
        (head(study, results, invalid.len()))
        (definition(study))
        @if !charts.is_empty() {
            section aria-labelledby="charts" {
                h2 id="charts" { "Charts" }
                (figures(charts, results, Some(CHARTS)))
            }
        }
        @if !tables.is_empty() {
            section class="tables" aria-labelledby="tables" {
                h2 id="tables" { "Tables" }
                @for (index, table) in tables.iter().enumerate() { (table.html(&format!("table-{index}"))) }
            }
        }
        (list("failed", "Failed runs", &failed(results)))
        (list("invalid", "Runs with an invalid config", &invalid))
        section aria-labelledby="runs" {
            h2 id="runs" { "Runs" }
            (runs(results, Some(folder)))
        }
        (list("notes", "Notes", notes))
        section {
            details class="config" {
                summary { h2 { "Study file" } }
                pre class="copy" { code { (study.text) } }
            }
        }
    };
    page(&format!("{} · study", study.name), &content)
}

fn head(study: &Study, results: &Results, invalid: usize) -> Markup {
    let of_state = |state: State| results.rows.iter().filter(|row| state_of(results, row) == state.name()).count();
    let (finished, failed, stopped) = (of_state(State::Finished), of_state(State::Failed), of_state(State::Stopped));
    let pending = results.rows.len() - finished - failed - stopped;
    let counts =
        [("finished", finished), ("failed", failed), ("stopped", stopped), ("not run", pending), ("invalid", invalid)];
    html! {
        header class="head" {
            p class="run" { "Study " code { (plain(&study.name)) } ", " (count(results.rows.len() + invalid, "run")) }
            h1 { (plain(study.question.as_ref().unwrap_or(&study.name))) }
            dl class="facts" {
                @for (name, count) in counts.into_iter().filter(|(name, count)| *count > 0 || *name == "finished") {
                    div { dt { (name) } dd { (count) } }
                }
            }
        }
    }
}

fn definition(study: &Study) -> Markup {
    let tags = |values: Vec<String>| html! { @for value in values { span class="tag plain" { (plain(&value)) } } };
    html! {
        section aria-labelledby="definition" {
            h2 id="definition" { "Definition" }
            dl class="axes" {
                dt { "base" }
                dd { (tags(vec![study.base.display().to_string()])) }
                @if !study.set.is_empty() {
                    dt { "set" }
                    dd { (tags(study.set.iter().map(|(key, value)| format!("{key} = {value}")).collect())) }
                }
                @for axis in &study.axes {
                    dt { (plain(&axis.name)) }
                    dd { (tags(axis.values.iter().map(|value| name(&value.label)).collect())) }
                }
                dt { "seeds" }
                dd { (tags(study.seeds.iter().map(u64::to_string).collect())) }
                @if let Some(halving) = &study.halving {
                    dt { "halving" }
                    dd {
                        (tags(halving.steps.iter().map(|step| format!("{step} steps")).collect()))
                        span { "the best 1/" (halving.factor) " by " (plain(&halving.metric)) " continue" }
                    }
                }
            }
        }
    }
}

fn text<'a>(results: &Results, row: &'a Row, column: &str) -> std::borrow::Cow<'a, str> {
    match cell(row, crate::chart::column(results, column)) {
        crate::Cell::Text(text) => text.into(),
        other => other.to_string().into(),
    }
}

fn state_of<'a>(results: &Results, row: &'a Row) -> std::borrow::Cow<'a, str> {
    text(results, row, "state")
}

/// The runs that failed, with their reasons.
fn failed(results: &Results) -> Vec<String> {
    let failed = results.rows.iter().filter(|row| state_of(results, row) == State::Failed.name());
    failed.map(|row| format!("{}: {}", row.run, text(results, row, "ending"))).collect()
}
