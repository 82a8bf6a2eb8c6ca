//! Axes of a study: the settings that its runs differ in.

use gradwatch_doctor::config::{Notes, shown};
use toml::{Table, Value};

use super::{
    keys::{flat, problem},
    names::quoted,
};
use crate::results::Cell;

/// An axis: a config key with its values, or a name with settings of several keys each.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The config key or the name. Also the name of the column in the results.
    pub name: String,
    /// The values, in the order of the file.
    pub values: Vec<AxisValue>,
}

/// A value of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct AxisValue {
    /// The value in the results: the value itself, or the label of several settings.
    pub label: Cell,
    /// Config keys with their values.
    pub assignments: Vec<(String, Value)>,
}

impl Axis {
    /// Reads an axis. Reports problems of `axes.NAME`.
    pub(super) fn read(name: String, value: Value, notes: &Notes) -> Self {
        let report = |text: String| notes.problem(format!("axes.{name}"), text);
        let Value::Array(values) = value else {
            report(format!("got {}, want a list of values", shown(&value)));
            return Self { name, values: Vec::new() };
        };
        if values.is_empty() {
            report("the list is empty; want at least one value".to_owned());
        }
        let values: Vec<AxisValue> = values.into_iter().map(|value| AxisValue::read(&name, value)).collect();
        let mut told: Vec<String> = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let before = &values[..index];
            let of_value = value.problems(before);
            // A key has the same problem in every value.
            told.extend(of_value.into_iter().filter(|text| !told.contains(text)).collect::<Vec<_>>());
        }
        told.into_iter().for_each(report);
        Self { name, values }
    }

    /// All config keys that it sets.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.iter().flat_map(|value| value.assignments.iter().map(|(key, _)| &**key))
    }
}

impl AxisValue {
    fn read(axis: &str, value: Value) -> Self {
        let Value::Table(mut table) = value else {
            return Self { label: Cell::of_toml(&value), assignments: vec![(axis.to_owned(), value)] };
        };
        let label = table.remove("label").as_ref().map(Cell::of_toml);
        let label = label.unwrap_or_else(|| default_label(&table));
        Self { label, assignments: flat(table) }
    }

    /// Its problems, and that it equals a value before it.
    fn problems(&self, before: &[Self]) -> Vec<String> {
        let label = quoted(&self.label.to_string());
        if self.assignments.is_empty() {
            return vec![format!("the value {label} sets nothing; want config keys with values")];
        }
        let mut problems: Vec<String> = self.assignments.iter().filter_map(|(key, _)| problem(key)).collect();
        if self.label.to_string().trim().is_empty() {
            problems.push("a value is empty text; add a label".to_owned());
        } else if before.iter().any(|other| other.label.is_same(&self.label)) {
            problems.push(format!("got {label} twice; remove one, or give it another label"));
        } else if let Some(same) = before.iter().find(|other| other.assignments == self.assignments) {
            let other = quoted(&same.label.to_string());
            problems.push(format!("{other} and {label} are the same settings; remove one"));
        }
        problems
    }
}

/// The only value, or all keys with their values: `method=kaiming_normal learning_rate=0.05`.
fn default_label(table: &Table) -> Cell {
    let settings = flat(table.clone());
    if let [(_, value)] = &settings[..] {
        return Cell::of_toml(value);
    }
    let text = |(key, value): &(String, Value)| format!("{}={}", last_part(key), Cell::of_toml(value));
    Cell::Text(settings.iter().map(text).collect::<Vec<_>>().join(" "))
}

/// The last part of a key: `depth` of `model.depth`.
pub(crate) fn last_part(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, last)| last)
}
