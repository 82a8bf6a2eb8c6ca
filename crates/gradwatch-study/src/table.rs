//! Tables of results: mean ± standard deviation (number of runs) of each group.

use std::fmt::Write;

use maud::{Markup, html};

use crate::{
    chart::{Digits, column, distinct, place, plain},
    definition::TableDefinition,
    groups::{Statistics, cell, groups, name},
    results::{Results, Row},
};

/// A table, ready to be rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Title.
    pub title: String,
    /// Column of the results whose values are shown.
    pub value: String,
    /// Names of the columns that make the rows and the columns of the table; the latter is empty with one column.
    pub names: [String; 2],
    /// Headings of the columns.
    pub columns: Vec<String>,
    /// Headings of the rows, each with its cells. A combination that has no runs is `None`.
    pub rows: Vec<(String, Vec<Option<Statistics>>)>,
}

impl Table {
    /// The table of a definition. Rows and columns are in ascending order if they are numbers, else in the order of the
    /// results.
    pub fn new(definition: &TableDefinition, results: &Results) -> Self {
        let keep = |row: &Row| {
            definition.filters.iter().all(|filter| filter.admits(cell(row, column(results, &filter.column))))
        };
        let by: Vec<usize> =
            std::iter::once(&definition.rows).chain(&definition.columns).map(|name| column(results, name)).collect();
        let groups = groups(results, &by, keep);
        let rows = distinct(results, &groups, by[0]);
        let columns = by.get(1).map(|column| distinct(results, &groups, *column)).unwrap_or_default();
        let mut cells = vec![vec![None; columns.len().max(1)]; rows.len()];
        for group in &groups {
            let across = group.keys.get(1).map_or(0, |key| place(&columns, key));
            let statistics = group.statistics(results, column(results, &definition.value));
            cells[place(&rows, &group.keys[0])][across] = Some(statistics);
        }
        let headings = columns.iter().map(name).collect::<Vec<_>>();
        Self {
            title: definition.title.clone(),
            value: definition.value.clone(),
            names: [definition.rows.clone(), definition.columns.clone().unwrap_or_default()],
            columns: if headings.is_empty() { vec![definition.value.clone()] } else { headings },
            rows: rows.iter().map(name).zip(cells).collect(),
        }
    }

    /// The cells as text.
    fn texts(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let seen = self.rows.iter().flat_map(|(_, cells)| cells).flatten();
        let digits = Digits::of(seen.map(|statistics| statistics.mean));
        let text = move |cell: &Option<Statistics>| cell.map(|seen| digits.summary(&seen)).unwrap_or_default();
        self.rows.iter().map(move |(row, cells)| (&**row, cells.iter().map(text).collect()))
    }

    /// Meaning of the numbers.
    fn caption(&self) -> String {
        format!("{}: mean ± standard deviation (number of runs; with a/b, a of b runs have a finite value)", self.value)
    }

    /// Renders the table as Markdown, with its title in bold above it.
    pub fn markdown(&self) -> String {
        let escaped = |text: &str| plain(text).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;");
        let columns: Vec<String> = self.columns.iter().map(|column| escaped(column)).collect();
        let [rows, of_columns] = self.names.each_ref().map(|name| escaped(name));
        let corner = if of_columns.is_empty() { rows } else { format!("{rows} \\ {of_columns}") };
        let mut text = format!("**{}**\n\n{}.\n\n", escaped(&self.title), escaped(&self.caption()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {corner} | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()));
        for (row, cells) in self.texts() {
            let _ = writeln!(text, "| {} | {} |", escaped(row), cells.join(" | "));
        }
        text
    }

    /// Renders the table for a page, under the heading with this id.
    pub(crate) fn html(&self, heading: &str) -> Markup {
        let [rows, columns] = &self.names;
        html! {
            h3 id=(heading) { (plain(&self.title)) }
            p class="caption" { (plain(&self.caption())) }
            div class="scroll" tabindex="0" role="region" aria-labelledby=(heading) {
                table class="parameters" {
                    thead {
                        @if !columns.is_empty() {
                            tr { td {} th scope="colgroup" colspan=(self.columns.len()) { (plain(columns)) } }
                        }
                        tr {
                            th scope="col" { (plain(rows)) }
                            @for column in &self.columns { th scope="col" { (plain(column)) } }
                        }
                    }
                    tbody {
                        @for (row, cells) in self.texts() {
                            tr { th scope="row" { (plain(row)) } @for cell in cells { td { (cell) } } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{
        chart::fixture::{filter, results},
        results::Cell,
    };

    fn definition(columns: Option<&str>) -> TableDefinition {
        TableDefinition {
            title: "Accuracy | depth".into(),
            rows: "depth".into(),
            columns: columns.map(str::to_owned),
            value: "accuracy".into(),
            filters: Vec::new(),
        }
    }

    fn runs() -> Results {
        let nan = f64::NAN;
        results(&[
            (8.0, "<a>", 1.0, [0.88, 0.0]),
            (8.0, "<a>", 2.0, [0.92, 0.0]),
            (4.0, "<a>", 1.0, [nan, 0.0]),
            (4.0, "<a>", 2.0, [0.5, 0.0]),
            (4.0, "b", 1.0, [0.75, 0.0]),
        ])
    }

    #[test]
    fn a_cell_has_mean_deviation_and_count_and_a_combination_without_runs_is_empty() {
        // Deviations of 0.02 around 0.9: sqrt(2 * 0.0004 / 1) = 0.0283.
        let want = "**Accuracy \\| depth**\n\naccuracy: mean ± standard deviation (number of runs; with a/b, a of b runs have \
                    a finite value).\n\n| depth \\ method | &lt;a> | b |\n|---|---:|---:|\n| 4 | 0.500 (1/2) | 0.750 (1) |\n\
                    | 8 | 0.900 ± 0.028 (2) |  |\n";
        assert_eq!(Table::new(&definition(Some("method")), &runs()).markdown(), want);
    }

    #[test]
    fn a_table_without_columns_has_one() {
        let definition =
            TableDefinition { filters: vec![filter("method", Cell::Text("b".into()))], ..definition(None) };
        let table = Table::new(&definition, &runs());
        assert_eq!(table.columns, ["accuracy"]);
        assert_eq!((table.rows.len(), table.rows[0].1[0].map(|cell| cell.mean)), (1, Some(0.75)));
        assert!(table.markdown().ends_with("| depth | accuracy |\n|---|---:|\n| 4 | 0.750 (1) |\n"));
    }

    proptest! {
        #[test]
        fn every_cell_has_the_mean_the_deviation_and_the_count_of_its_runs(
            rows in vec((select(vec![1.0, 2.0, 8.0]), select(vec!["a", "b"]), prop_oneof![0.5..2.0, Just(f64::NAN)]), 1..12),
        ) {
            let of_rows: Vec<_> = rows.iter().map(|(depth, method, value)| (*depth, *method, 1.0, [*value, 0.0])).collect();
            let table = Table::new(&definition(Some("method")), &results(&of_rows));
            let texts: Vec<(String, Vec<String>)> = table.texts().map(|(row, cells)| (row.to_owned(), cells)).collect();
            for ((depth, cells), method) in texts.iter().flat_map(|row| table.columns.iter().map(move |method| (row, method))) {
                let column = table.columns.iter().position(|column| column == method).unwrap();
                let is_of_cell = |(of_run, name, _): &&(f64, &str, f64)| of_run.to_string() == *depth && *name == method.as_str();
                let runs: Vec<f64> = rows.iter().filter(is_of_cell).map(|(.., value)| *value).collect();
                let finite: Vec<f64> = runs.iter().copied().filter(|value| !value.is_nan()).collect();
                let n = finite.len() as f64;
                let mean = finite.iter().sum::<f64>() / n;
                let std = (finite.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
                // The largest mean is from 0.5 to 2, so that all have two or three decimals.
                let (text, count) = cells[column].rsplit_once(" (").unwrap_or(("", ")"));
                let want = if finite.len() == runs.len() { format!("{n})") } else { format!("{n}/{})", runs.len()) };
                prop_assert_eq!(count, if runs.is_empty() { ")" } else { &*want });
                let numbers: Vec<f64> = text.split(" ± ").filter_map(|number| number.parse().ok()).collect();
                let all = [mean, std];
                prop_assert_eq!(numbers.len(), finite.len().min(2));
                prop_assert!(numbers.iter().zip(all).all(|(seen, want)| (seen - want).abs() <= 0.00501), "{text} {all:?}");
            }
        }
    }

    #[test]
    fn names_are_text_on_a_page() {
        let page = Table::new(&definition(Some("method")), &runs()).html("table-1").into_string();
        assert!(page.contains("<th scope=\"col\">&lt;a&gt;</th>") && !page.contains("<a>"), "{page}");
    }
}
