//! Results of runs as a table.

mod csv;
mod json;

use std::{cmp::Ordering, fmt, path::PathBuf};

use toml::Value;

pub use csv::ResultsError;

/// A value of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A name, such as the value of an axis.
    Text(String),
    /// A number; non-finite if the run diverged.
    Number(f64),
    /// An integer of 16 digits or more, which a [`Number`](Self::Number) may round, such as a seed.
    Integer(i128),
    /// Not measured.
    Missing,
}

/// Smallest magnitude of a [`Cell::Integer`]. Smaller integers are exact as numbers, and written without an exponent.
const MANY_DIGITS: u128 = 1_000_000_000_000_000;

/// Source of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// An axis of the study.
    Axis,
    /// The seed of the run.
    Seed,
    /// A measured value, such as the best validation accuracy.
    Measure,
    /// Whether the run has a property: 1 or 0. The mean over runs is a share.
    Flag,
}

impl Cell {
    /// An integer, exactly.
    pub fn integer(integer: impl Into<i128>) -> Self {
        let integer = integer.into();
        if integer.unsigned_abs() < MANY_DIGITS { Self::Number(integer as f64) } else { Self::Integer(integer) }
    }

    /// The number, rounded if it is an integer of many digits; `None` for a name or a missing value.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Integer(integer) => Some(*integer as f64),
            Self::Text(_) | Self::Missing => None,
        }
    }

    /// Whether both are the same number, or have the same text, such as the number 4 and the name `4`. Missing values
    /// equal nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Missing, _) | (_, Self::Missing) => false,
            // The text of a number has an exponent from 1e15 on, unlike that of an integer.
            (Self::Integer(integer), Self::Number(number)) | (Self::Number(number), Self::Integer(integer)) => {
                *integer as f64 == *number && *number as i128 == *integer
            }
            _ => self.to_string() == other.to_string(),
        }
    }

    /// Order of two numbers. Names and missing values are equal to everything.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one.cmp(other),
            _ => self.number().zip(other.number()).map_or(Ordering::Equal, |(one, other)| one.total_cmp(&other)),
        }
    }

    /// A value of a TOML file: numbers and texts as they are, all else as its text.
    pub(crate) fn of_toml(value: &Value) -> Self {
        match value {
            Value::Integer(integer) => Self::integer(*integer),
            Value::Float(number) => Self::Number(*number),
            Value::String(text) => Self::Text(text.clone()),
            value => Self::Text(value.to_string()),
        }
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::Missing, Self::Number)
    }
}

impl fmt::Display for Cell {
    /// A number in the shortest form that reads back as the same one, `NaN`, `inf`, or `-inf`; nothing if missing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) if *number != 0.0 && !(1e-4..1e15).contains(&number.abs()) => write!(f, "{number:e}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Missing => Ok(()),
        }
    }
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, such as `model.depth` or `best_validation_accuracy`.
    pub name: String,
    /// Source.
    pub kind: ColumnKind,
}

/// The values of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name of the run.
    pub run: String,
    /// Run folder.
    pub folder: PathBuf,
    /// One cell per column.
    pub cells: Vec<Cell>,
}

/// Results of a study: one row per run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Results {
    /// The columns.
    pub columns: Vec<Column>,
    /// The runs.
    pub rows: Vec<Row>,
}

impl Results {
    /// Index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

#[cfg(test)]
mod tests;
