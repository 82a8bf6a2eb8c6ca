//! A value per layer over the steps of a run, in bounded memory.

use serde::{Deserialize, Serialize};

use super::{index_of, series::merged_pairs};

/// One column per time and one row per layer. NaN: unknown; infinity: not finite; negative infinity: logarithm of 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Grid {
    names: Vec<String>,
    steps: Vec<u64>,
    #[serde(with = "crate::json::exact_rows")]
    columns: Vec<Vec<f64>>,
    /// Base-2 logarithm of the tracked steps per column.
    halvings: u32,
    /// Number of tracked steps in the last column.
    open: u64,
}

/// Cells to draw.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// Row names, from top to bottom.
    pub names: Vec<String>,
    /// First step of each column.
    pub steps: Vec<u64>,
    /// Cell values, row by row.
    pub rows: Vec<Vec<f64>>,
}

impl Grid {
    /// Maximum number of columns. When all are used, neighbors are merged, and each column then takes twice as many
    /// steps.
    pub(super) const COLUMNS: usize = 64;
    /// Most rows to draw. With more layers, neighbors share a row.
    pub(super) const ROWS: usize = 64;

    /// Adds the base-10 logarithms of a step's values.
    pub(super) fn add<'a>(&mut self, step: u64, figures: impl IntoIterator<Item = (&'a str, f64)>) {
        let full = 1u64 << self.halvings.min(63);
        if self.columns.is_empty() || self.open == full {
            if self.columns.len() == Self::COLUMNS {
                self.halve();
            }
            self.steps.push(step);
            self.columns.push(Vec::new());
            self.open = 0;
        }
        let (readings, mut next) = (self.open as f64, 0);
        for (name, figure) in figures {
            let row = index_of(&self.names, next, |known| known == name).unwrap_or_else(|| {
                self.names.push(name.to_owned());
                self.names.len() - 1
            });
            next = row + 1;
            if let Some(column) = self.columns.last_mut() {
                // A layer that appears late has no values in earlier columns.
                column.resize(column.len().max(row + 1), f64::NAN);
                column[row] = together((column[row], readings), (log10_or_mark(figure), 1.0));
            }
        }
        self.open += 1;
    }

    fn halve(&mut self) {
        self.halvings += 1;
        self.columns = merged_pairs(&self.columns, |one, other| {
            let cell = |column: &[f64], row: usize| (column.get(row).copied().unwrap_or(f64::NAN), 1.0);
            (0..one.len().max(other.len())).map(|row| together(cell(one, row), cell(other, row))).collect()
        });
        self.steps = self.steps.iter().copied().step_by(2).collect();
    }

    /// The cells to draw, with at most 64 rows.
    pub(super) fn table(&self) -> Table {
        let share = self.names.len().div_ceil(Self::ROWS).max(1);
        let groups = || (0..self.names.len()).step_by(share).map(|first| first..(first + share).min(self.names.len()));
        let name = |rows: std::ops::Range<usize>| match &self.names[rows] {
            [first, .., last] => format!("{first} … {last}"),
            one => one.concat(),
        };
        let cell = |column: &Vec<f64>, rows: std::ops::Range<usize>| {
            let values = rows.filter_map(|row| column.get(row).copied()).zip(0u32..);
            values.fold(f64::NAN, |mean, (value, before)| together((mean, f64::from(before)), (value, 1.0)))
        };
        let row = |rows: std::ops::Range<usize>| self.columns.iter().map(|column| cell(column, rows.clone())).collect();
        Table { names: groups().map(name).collect(), steps: self.steps.clone(), rows: groups().map(row).collect() }
    }
}

fn log10_or_mark(figure: f64) -> f64 {
    // The logarithm of 0 is negative infinity.
    if figure.is_finite() { figure.log10() } else { f64::INFINITY }
}

/// Weighted mean of two cells. Infinity wins; otherwise a finite cell wins over unknown and zero.
fn together((one, weight): (f64, f64), (other, other_weight): (f64, f64)) -> f64 {
    if one == f64::INFINITY || other == f64::INFINITY {
        f64::INFINITY
    } else if one.is_finite() && other.is_finite() {
        (one * weight + other * other_weight) / (weight + other_weight)
    } else if one.is_finite() || other.is_nan() {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_bounded_and_merged_by_their_mean() {
        let mut grid = Grid::default();
        for step in 0..100_000u64 {
            grid.add(step, [("a", if step.is_multiple_of(2) { 1.0 } else { 100.0 }), ("b", 0.1)]);
        }
        let table = grid.table();
        assert!(table.steps.len() <= Grid::COLUMNS && table.steps.len() > Grid::COLUMNS / 4);
        assert_eq!((&table.names[..], table.steps[0]), (&["a".to_string(), "b".to_string()][..], 0));
        // The geometric mean of 1 and 100 is 10.
        assert!(table.rows[0].iter().all(|log10| (log10 - 1.0).abs() < 1e-9), "{:?}", table.rows[0]);
        assert!(table.rows[1].iter().all(|log10| (log10 + 1.0).abs() < 1e-9));
    }

    #[test]
    fn a_gradient_that_was_not_finite_or_0_is_marked() {
        let mut grid = Grid::default();
        grid.add(0, [("a", f64::NAN), ("b", 0.0)]);
        grid.add(1, [("b", 1.0), ("c", 10.0)]);
        let table = grid.table();
        assert_eq!((table.rows[0][0], table.rows[1][0]), (f64::INFINITY, f64::NEG_INFINITY));
        assert!(table.rows[0][1].is_nan() && table.rows[2][0].is_nan());
        assert_eq!((table.rows[1][1], table.rows[2][1]), (0.0, 1.0));
        assert_eq!(together((f64::INFINITY, 1.0), (1.0, 1.0)), f64::INFINITY);
        assert_eq!(together((f64::NEG_INFINITY, 1.0), (1.0, 1.0)), 1.0);
        assert_eq!(together((f64::NEG_INFINITY, 1.0), (f64::NAN, 1.0)), f64::NEG_INFINITY);
    }

    #[test]
    fn many_layers_share_rows() {
        let names: Vec<String> = (0..150).map(|layer| format!("layer{layer}")).collect();
        let mut grid = Grid::default();
        grid.add(0, names.iter().map(|name| (name.as_str(), 0.01)));
        let table = grid.table();
        assert_eq!((table.names.len(), table.rows.len()), (50, 50));
        assert_eq!(table.names[49], "layer147 … layer149");
        assert!(table.rows.iter().all(|row| (row[0] + 2.0).abs() < 1e-12));
    }

    #[test]
    fn a_grid_that_was_written_and_read_goes_on_as_the_one_that_was_not() {
        let (mut whole, mut resumed) = (Grid::default(), Grid::default());
        for step in 0..300 {
            resumed = serde_json::from_str(&serde_json::to_string(&resumed).unwrap()).unwrap();
            for grid in [&mut whole, &mut resumed] {
                grid.add(step, [("a", step as f64), ("b", if step == 7 { f64::NAN } else { 0.3 })]);
            }
        }
        assert_eq!(whole, resumed);
    }
}
