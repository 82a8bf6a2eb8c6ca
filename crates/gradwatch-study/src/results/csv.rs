//! Results as CSV (RFC 4180), with every number in full.

use std::path::Path;

use super::{Cell, Column, ColumnKind, Results, Row};
use crate::definition::{RUN, SEED};

/// A CSV file without the results of a study.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The text is not CSV.
    #[error("the results are not valid CSV: {0}")]
    Csv(#[from] csv::Error),
    /// The file has other columns.
    #[error("got the columns {got}, want the columns of results.csv: run first, and a column seed")]
    Columns {
        /// The header.
        got: String,
    },
}

impl Results {
    /// The results as CSV: a header and a line per run. Non-finite numbers are `NaN`, `inf`, and `-inf`; missing values
    /// are empty.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = [RUN].into_iter().chain(self.columns.iter().map(|column| &*column.name));
        let mut written = writer.write_record(header);
        for row in &self.rows {
            let cells = row.cells.iter().map(Cell::to_string);
            written = written.and_then(|()| writer.write_record([row.run.clone()].into_iter().chain(cells)));
        }
        // Writing to memory cannot fail, and all rows have one cell per column.
        debug_assert!(written.is_ok(), "{written:?}");
        let bytes = writer.into_inner().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads the results of the study in `folder` from CSV. Columns before the seed are axes. Texts that look like
    /// numbers are read as numbers.
    ///
    /// # Errors
    /// If the text is not CSV, or another file.
    pub fn from_csv(text: &str, folder: &Path) -> Result<Self, ResultsError> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers()?.clone();
        let seed = header.iter().position(|name| name == SEED);
        let Some(seed) = seed.filter(|_| header.get(0) == Some(RUN)) else {
            return Err(ResultsError::Columns { got: header.iter().collect::<Vec<_>>().join(", ") });
        };
        let kind = |index: usize| match index {
            index if index < seed => ColumnKind::Axis,
            index if index == seed => ColumnKind::Seed,
            _ => ColumnKind::Measure,
        };
        let columns = header.iter().enumerate().skip(1);
        let columns = columns.map(|(index, name)| Column { name: name.to_owned(), kind: kind(index) }).collect();
        let row = |record: csv::StringRecord| {
            let run = record.get(0).unwrap_or_default().to_owned();
            Row { folder: folder.join(&run), run, cells: record.iter().skip(1).map(Cell::of_text).collect() }
        };
        let rows = reader.records().map(|record| Ok(row(record?))).collect::<Result<_, csv::Error>>()?;
        Ok(Self { columns, rows })
    }
}

impl Cell {
    /// Reads the text of a cell. Text that a number would write differently stays a text.
    fn of_text(text: &str) -> Self {
        let numbers = [text.parse().ok().map(Self::Number), text.parse::<i128>().ok().map(Self::integer)];
        match numbers.into_iter().flatten().find(|number| number.to_string() == text) {
            Some(number) => number,
            None if text.is_empty() => Self::Missing,
            None => Self::Text(text.to_owned()),
        }
    }
}
