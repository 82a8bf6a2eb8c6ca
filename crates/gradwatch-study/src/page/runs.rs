//! Table of all runs.

use std::path::Path;

use gradwatch_doctor::{number::number_or_dash, printable};
use maud::{Markup, html};

use crate::{
    chart::plain,
    groups,
    results::{Cell, ColumnKind, Results, Row},
};

/// Longest text, in characters, that stays on one line.
const SHORT: usize = 24;

/// Anchor of a run on the page, by its row.
pub(crate) fn run_anchor(row: usize) -> String {
    format!("run-{row}")
}

/// A row per run with all of its values. A run that has a report links to it; the page is in `folder`.
pub(crate) fn runs(results: &Results, folder: Option<&Path>) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-labelledby="runs" {
            table class="parameters runs" {
                thead {
                    tr {
                        th scope="col" { "run" }
                        @for column in &results.columns { th scope="col" { (plain(&column.name)) } }
                    }
                }
                tbody {
                    @for (index, row) in results.rows.iter().enumerate() {
                        tr id=(run_anchor(index)) {
                            th scope="row" { (name(row, folder)) }
                            @for (column, cell) in results.columns.iter().zip(&row.cells) { (value(column.kind, cell)) }
                        }
                    }
                }
            }
        }
    }
}

fn name(row: &Row, folder: Option<&Path>) -> Markup {
    let report = row.folder.join("report.html");
    let target = folder.and_then(|folder| report.strip_prefix(folder).ok()).filter(|_| report.is_file());
    html! {
        @match target {
            Some(target) => a href=(printable::percent_encoded(target)) { (plain(&row.run)) },
            None => (plain(&row.run)),
        }
    }
}

fn value(kind: ColumnKind, cell: &Cell) -> Markup {
    let is_measured = matches!(kind, ColumnKind::Measure | ColumnKind::Flag);
    html! {
        @match cell {
            Cell::Number(value) if is_measured && value.is_nan() => td class="broken" { "NaN" },
            Cell::Number(value) if is_measured => td { (number_or_dash(*value)) },
            Cell::Text(text) if text.chars().count() > SHORT => td class="text" { (plain(text)) },
            Cell::Text(text) => td class="short" { (plain(text)) },
            cell => td { (plain(&groups::name(cell))) },
        }
    }
}
