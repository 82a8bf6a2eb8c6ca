//! A comparison for the terminal, at most 100 columns wide.

use std::collections::HashSet;

use gradwatch_doctor::{number::short, picture::axis::shorten, printable};
use unicode_width::UnicodeWidthStr;

use super::{Comparison, Property};
use crate::results::Cell;

/// Widest line, in columns of the terminal.
const WIDEST: usize = 100;
/// Widest cell.
const WIDEST_CELL: usize = 40;
/// Widths of the names of the runs to try, until no two names look alike.
const NAME_WIDTHS: [usize; 3] = [34, 46, WIDEST - WIDEST_CELL - GAP];
/// Space between two columns.
const GAP: usize = 2;

/// Lines of a table.
type Lines = Vec<String>;

impl Comparison {
    /// Renders final metrics, config differences, and findings as tables with a column per run, or with a row per run if
    /// the columns do not fit.
    pub fn terminal(&self) -> String {
        let results = self.results();
        let text = |cell: &Cell| match cell {
            Cell::Number(value) => short(*value),
            Cell::Missing => "–".into(),
            cell => cell.to_string(),
        };
        let metric = |(index, column): (usize, &crate::Column)| Property {
            name: column.name.clone(),
            values: results.rows.iter().map(|row| text(&row.cells[index])).collect(),
        };
        let metrics: Vec<Property> = results.columns.iter().enumerate().map(metric).collect();
        let (differences, findings) = (self.config_differences(), self.findings());
        let names = distinct(&self.names);
        let mut lines = table("final metrics", &names, &metrics);
        lines.push(String::new());
        match differences.is_empty() {
            true => lines.push(self.no_differences()),
            false => lines.extend(table("config", &names, &differences)),
        }
        lines.push(String::new());
        match findings.is_empty() {
            true => lines.push("No run has a finding.".into()),
            false => lines.extend(table("findings", &names, &findings)),
        }
        let notes = self.notes();
        if !notes.is_empty() {
            lines.push(String::new());
        }
        lines.extend(notes.iter().map(|note| format!("note: {}", printable::line(note))));
        lines.join("\n")
    }
}

/// A table with a column per run, or with a row per run if that is too wide.
fn table(heading: &str, names: &[String], properties: &[Property]) -> Lines {
    let lines = by_column(heading, names, properties);
    if lines.iter().all(|line| line.width() <= WIDEST) { lines } else { by_row(heading, names, properties) }
}

/// A line per property.
fn by_column(heading: &str, names: &[String], properties: &[Property]) -> Lines {
    let row =
        |property: &Property| [&property.name].into_iter().chain(&property.values).map(|text| cell(text)).collect();
    let head = [heading.to_owned()].into_iter().chain(names.iter().cloned()).collect();
    aligned(&[head].into_iter().chain(properties.iter().map(row)).collect::<Vec<Vec<String>>>())
}

/// A line per run. Properties that do not fit beside the others are in further tables below.
fn by_row(heading: &str, names: &[String], properties: &[Property]) -> Lines {
    let names_width = names.iter().map(|name| name.width()).max().unwrap_or(0).max(heading.width());
    let mut parts: Vec<Vec<Vec<String>>> = Vec::new();
    let mut room = 0;
    for property in properties {
        let values: Vec<String> = property.values.iter().map(|value| cell(value)).collect();
        let head = head(&property.name, values.iter().map(|value| value.width()).max().unwrap_or(0));
        let width = head.iter().chain(&values).map(|text| text.width()).max().unwrap_or(0) + GAP;
        let column = [head, values].concat();
        match parts.last_mut().filter(|_| width <= room) {
            Some(part) => part.push(column),
            None => {
                parts.push(vec![column]);
                room = WIDEST.saturating_sub(names_width);
            }
        }
        room = room.saturating_sub(width);
    }
    let part = |columns: &Vec<Vec<String>>| {
        let heads = columns.iter().map(|column| column.len() - names.len()).max().unwrap_or(0);
        let row = |row: usize| {
            let name =
                if row + 1 == heads { heading } else { row.checked_sub(heads).map_or("", |run| names[run].as_str()) };
            // Heads of several lines end above the first run.
            let cell = |column: &Vec<String>| {
                (row + column.len())
                    .checked_sub(heads + names.len())
                    .map_or_else(String::new, |cell| column[cell].clone())
            };
            [name.to_owned()].into_iter().chain(columns.iter().map(cell)).collect()
        };
        aligned(&(0..heads + names.len()).map(row).collect::<Vec<Vec<String>>>())
    };
    parts.iter().map(part).collect::<Vec<_>>().join(&String::new())
}

/// The name of a property as the head of a column: in lines, if it is wider than its values.
fn head(name: &str, width: usize) -> Lines {
    let name = printable::line(name);
    let mut lines: Lines = Vec::new();
    // A config key is broken after the dots between its tables.
    for word in name.split_inclusive(['.', ' ']) {
        match lines.last_mut() {
            Some(line) if line.width() + word.trim_end().width() <= width => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| fit(line.trim_end(), WIDEST_CELL)).collect()
}

/// Pads the cells of each column to the same width.
fn aligned(rows: &[Vec<String>]) -> Lines {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.width())));
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn cell(text: &str) -> String {
    fit(&printable::line(text), WIDEST_CELL)
}

/// Shortens a text to a width by cutting out its middle.
fn fit(text: &str, most: usize) -> String {
    let mut count = text.chars().count();
    let mut short = shorten(text, count);
    while count > 1 && short.width() > most {
        count -= 1;
        short = shorten(text, count);
    }
    short
}

/// The names of the runs, as short as they are different. Names that are not have a number.
fn distinct(names: &[String]) -> Vec<String> {
    let fitted = |most: usize| names.iter().map(move |name| fit(&printable::line(name), most)).collect::<Vec<_>>();
    let are_distinct = |names: &Vec<String>| names.iter().collect::<HashSet<_>>().len() == names.len();
    NAME_WIDTHS.into_iter().map(fitted).find(are_distinct).unwrap_or_else(|| {
        let number = |(index, name): (usize, &String)| {
            let number = format!("{}: ", index + 1);
            fit(&format!("{number}{}", printable::line(name)), NAME_WIDTHS[0])
        };
        names.iter().enumerate().map(number).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, values: &[&str]) -> Property {
        Property { name: name.into(), values: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    #[test]
    fn a_few_runs_have_a_column_each_and_many_have_a_row_each() {
        let properties = [property("validation accuracy", &["0.5", "0.75"]), property("verdict", &["healthy", "–"])];
        let two = ["one".to_owned(), "two".to_owned()];
        let want = [
            "final metrics        one      two",
            "validation accuracy  0.5      0.75",
            "verdict              healthy  –",
        ];
        assert_eq!(table("final metrics", &two, &properties), want);
        let long = ["a".repeat(34), "b".repeat(34)];
        let row = |name: char, values: &str| format!("{}  {values}", name.to_string().repeat(34));
        let wide = [properties.to_vec(), vec![property("optimizer.learning_rate", &["0.1", &"x".repeat(40)])]].concat();
        let gap = " ".repeat(34);
        let want = [
            format!("{gap}  validation"),
            format!("config{}  accuracy    verdict  optimizer.learning_rate", " ".repeat(28)),
            row('a', "0.5         healthy  0.1"),
            row('b', &format!("0.75        –        {}", "x".repeat(40))),
        ];
        assert_eq!(table("config", &long, &wide), want);
    }

    #[test]
    fn columns_that_do_not_fit_are_in_a_table_below() {
        let names: Vec<String> = (0..20).map(|run| format!("depth={run},initialization=kaiming_normal")).collect();
        let values: Vec<String> = (0..20).map(|run| format!("critical, step {run}, withdrawn at step 1000")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let properties = ["vanishing", "exploding", "dead_relu"].map(|rule| property(rule, &values));
        let lines = table("findings", &distinct(&names), &properties);
        // One column of 40 fits beside names of 34: a head, 20 runs, and an empty line between two tables.
        assert_eq!(lines.len(), 3 * 21 + 2);
        assert!(lines.iter().all(|line| line.width() <= WIDEST), "{lines:#?}");
        let heads: Vec<&str> =
            lines.iter().filter(|line| line.starts_with("findings")).map(|line| line[8..].trim()).collect();
        assert_eq!(heads, ["vanishing", "exploding", "dead_relu"]);
    }

    #[test]
    fn names_are_cut_in_the_middle_until_two_would_look_alike() {
        let name = |middle: &str| format!("logs/a-long-name-of-study/{middle}/initialization=kaiming_normal,seed=1");
        // They differ in the 27th of 64 characters: 46 would keep the first 23, and 58 the first 29.
        let two = distinct(&[name("a"), name("b")]);
        assert!(two[0] != two[1] && two.iter().all(|name| name.width() > 34 && name.width() <= 58), "{two:?}");
        let same = distinct(&["x".repeat(99), "x".repeat(99)]);
        assert!(same[0].starts_with("1: xxx") && same[1].starts_with("2: xxx"), "{same:?}");
        assert!(same.iter().all(|name| name.width() == 34 && name.contains('…')), "{same:?}");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(fit("深い学習の実行", 8).width(), 7);
        let rows =
            aligned(&[vec!["学".into(), "a".into()], vec!["ab".into(), "b".into()], vec!["c".into(), "c".into()]]);
        assert_eq!(rows, ["学  a", "ab  b", "c   c"]);
    }
}
