//! Selects runs by the values of their columns.

use gradwatch_doctor::config::Section;
use toml::Value;

use super::keys::flat;
use crate::results::Cell;

/// Values that a column may have: `"model.depth" = 8`, or a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Name of the column.
    pub column: String,
    /// The values.
    pub values: Vec<Cell>,
}

impl Filter {
    /// Whether a cell of the column has one of the values.
    pub fn admits(&self, cell: &Cell) -> bool {
        self.values.iter().any(|value| value.is_same(cell))
    }

    /// Reads a table of columns and values. Columns may be written with dots or in quotes.
    pub(super) fn read(mut section: Section<'_>) -> Vec<Self> {
        let of_value = |(column, value): (String, Value)| {
            let values = match &value {
                Value::Array(values) => values.iter().map(Cell::of_toml).collect(),
                value => vec![Cell::of_toml(value)],
            };
            Self { column, values }
        };
        flat(section.rest()).into_iter().map(of_value).collect()
    }
}
