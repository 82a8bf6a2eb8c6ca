//! Results as JSON.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Cell, Column, Results, Row};
use crate::definition::RUN;

/// Integers below this one are exact as floating-point numbers.
const EXACT: f64 = (1u64 << 53) as f64;

/// The values of a run by the names of their columns, in the order of the columns.
struct Record<'a>(&'a Row, &'a [Column]);

impl Results {
    /// The results as a JSON array with one object per run and line. Missing values and non-finite numbers are null;
    /// [`to_csv`](Self::to_csv) tells them apart.
    pub fn to_json(&self) -> String {
        // Serialization fails only for maps with non-string keys. There are none.
        let record = |row| serde_json::to_string(&Record(row, &self.columns)).unwrap_or_default();
        let records: Vec<String> = self.rows.iter().map(record).collect();
        format!("[\n{}\n]\n", records.join(",\n"))
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(row, columns) = self;
        let mut map = serializer.serialize_map(Some(1 + columns.len()))?;
        map.serialize_entry(RUN, &row.run)?;
        for (column, cell) in columns.iter().zip(&row.cells) {
            map.serialize_entry(&column.name, cell)?;
        }
        map.end()
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            // 4 instead of 4.0.
            Self::Number(number) if number.fract() == 0.0 && number.abs() < EXACT => {
                serializer.serialize_i64(*number as i64)
            }
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Integer(integer) => serializer.serialize_i128(*integer),
            Self::Missing => serializer.serialize_none(),
        }
    }
}
