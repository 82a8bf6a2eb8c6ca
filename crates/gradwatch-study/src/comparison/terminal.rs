//! A comparison for the terminal.

use gradwatch_doctor::{number::short, printable};

use super::{Comparison, Property};
use crate::results::Cell;

/// Longest cell, in characters.
const LONGEST: usize = 40;

impl Comparison {
    /// Renders final metrics, config differences, and findings as tables with a column per run.
    pub fn terminal(&self) -> String {
        let results = self.results();
        let text = |cell: &Cell| match cell {
            Cell::Number(value) => short(*value),
            Cell::Text(text) => text.clone(),
            Cell::Missing => "–".into(),
        };
        let metric = |(index, column): (usize, &crate::Column)| Property {
            name: column.name.clone(),
            values: results.rows.iter().map(|row| text(&row.cells[index])).collect(),
        };
        let metrics: Vec<Property> = results.columns.iter().enumerate().map(metric).collect();
        let (differences, findings) = (self.config_differences(), self.findings());
        let mut lines = table("final metrics", &self.names, &metrics);
        lines.push(String::new());
        match differences.is_empty() {
            true => lines.push(self.no_differences()),
            false => lines.extend(table("config", &self.names, &differences)),
        }
        lines.push(String::new());
        match findings.is_empty() {
            true => lines.push("No run has a finding.".into()),
            false => lines.extend(table("findings", &self.names, &findings)),
        }
        let notes = self.notes();
        if !notes.is_empty() {
            lines.push(String::new());
        }
        lines.extend(notes.iter().map(|note| format!("note: {}", printable::line(note))));
        lines.join("\n")
    }
}

/// A heading with the names of the runs, and a line per property, in columns.
fn table(heading: &str, names: &[String], properties: &[Property]) -> Vec<String> {
    let row = |name: &str, values: &[String]| {
        std::iter::once(name).chain(values.iter().map(|value| &**value)).map(cell).collect::<Vec<_>>()
    };
    let mut rows = vec![row(heading, names)];
    rows.extend(properties.iter().map(|property| row(&property.name, &property.values)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=names.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn cell(text: &str) -> String {
    gradwatch_doctor::picture::axis::shorten(&printable::line(text), LONGEST)
}
