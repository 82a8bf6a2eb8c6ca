//! A value per layer over the steps of a run, in bounded memory.

use std::ops::Range as Indices;

use serde::{Deserialize, Serialize};

use super::{index_of, series::merged_pairs};

/// One column per time and one row per layer. NaN: unknown; infinity: not finite; negative infinity: logarithm of 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Grid {
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
pub(crate) struct Table {
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
    pub(crate) const COLUMNS: usize = 64;
    /// Most rows to draw. With more layers, neighbors share a row.
    pub(crate) const ROWS: usize = 64;

    /// Adds the base-10 logarithms of a step's values.
    pub(crate) fn add<'a>(&mut self, step: u64, figures: impl IntoIterator<Item = (&'a str, f64)>) {
        self.add_cells(step, figures.into_iter().map(|(name, figure)| (name, log10_or_mark(figure))));
    }

    /// Adds a step's values as they are, for shares, whose mean matters and not that of their logarithms.
    pub(crate) fn add_cells<'a>(&mut self, step: u64, cells: impl IntoIterator<Item = (&'a str, f64)>) {
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
        for (name, cell) in cells {
            let row = index_of(&self.names, next, |known| known == name).unwrap_or_else(|| {
                self.names.push(name.to_owned());
                self.names.len() - 1
            });
            next = row + 1;
            if let Some(column) = self.columns.last_mut() {
                // A layer that appears late has no values in earlier columns.
                column.resize(column.len().max(row + 1), f64::NAN);
                column[row] = together((column[row], readings), (cell, 1.0));
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
    pub(crate) fn table(&self) -> Table {
        let share = self.names.len().div_ceil(Self::ROWS).max(1);
        self.whole().fitted(self.names.len().div_ceil(share), Self::COLUMNS)
    }

    /// All cells.
    pub(crate) fn whole(&self) -> Table {
        let cell = |column: &Vec<f64>, row: usize| column.get(row).copied().unwrap_or(f64::NAN);
        let row = |row: usize| self.columns.iter().map(|column| cell(column, row)).collect();
        Table { names: self.names.clone(), steps: self.steps.clone(), rows: (0..self.names.len()).map(row).collect() }
    }
}

impl Table {
    /// The table with at most this many rows and columns. Neighbors share a row or a column.
    pub(crate) fn fitted(&self, rows: usize, columns: usize) -> Self {
        let (across, down) = (groups(self.steps.len(), columns), groups(self.names.len(), rows));
        let name = |rows: &Indices<usize>| match &self.names[rows.clone()] {
            [first, .., last] => format!("{first} … {last}"),
            one => one.concat(),
        };
        let merged = |values: &mut dyn Iterator<Item = f64>| {
            let weighted = values.zip(0u32..);
            weighted.fold(f64::NAN, |mean, (value, before)| together((mean, f64::from(before)), (value, 1.0)))
        };
        let cell = |rows: &Indices<usize>, columns: &Indices<usize>| {
            let row = |row: usize| merged(&mut self.rows[row][columns.clone()].iter().copied());
            merged(&mut rows.clone().map(row))
        };
        Self {
            names: down.iter().map(name).collect(),
            steps: across.iter().map(|columns| self.steps[columns.start]).collect(),
            rows: down.iter().map(|rows| across.iter().map(|columns| cell(rows, columns)).collect()).collect(),
        }
    }

    /// The rows whose name contains a text.
    pub(crate) fn named(&self, part: &str) -> Self {
        let is_named = |(name, _): &(&String, &Vec<f64>)| name.contains(part);
        let rows = self.names.iter().zip(&self.rows).filter(is_named);
        let (names, rows) = rows.map(|(name, row)| (name.clone(), row.clone())).unzip();
        Self { names, steps: self.steps.clone(), rows }
    }

    /// The columns with steps from the first to the last one. The column that contains the first step belongs to them.
    pub(crate) fn between(&self, [first, last]: [u64; 2]) -> Self {
        let start = self.steps.partition_point(|step| *step <= first).saturating_sub(1);
        let end = self.steps.partition_point(|step| *step <= last).max(start);
        let rows = self.rows.iter().map(|row| row[start..end].to_vec()).collect();
        Self { names: self.names.clone(), steps: self.steps[start..end].to_vec(), rows }
    }
}

/// Splits `0..count` into at most `most` groups, whose sizes differ by at most 1.
fn groups(count: usize, most: usize) -> Vec<Indices<usize>> {
    let groups = count.min(most.max(1));
    (0..groups).map(|group| group * count / groups..(group + 1) * count / groups).collect()
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

    #[test]
    fn a_table_is_searched_cut_and_merged() {
        let mut grid = Grid::default();
        (0..4).for_each(|step| grid.add_cells(10 * step, [("conv1", step as f64), ("conv2", 1.0), ("fc", 0.0)]));
        let table = grid.whole();
        assert_eq!(table.named("conv").names, ["conv1", "conv2"]);
        let late = table.between([15, 20]);
        assert_eq!((&late.steps[..], &late.rows[0][..]), (&[10, 20][..], &[1.0, 2.0][..]));
        let small = table.fitted(2, 2);
        assert_eq!(
            (&small.names[..], &small.steps[..]),
            (&["conv1".to_string(), "conv2 … fc".into()][..], &[0, 20][..])
        );
        // (0 + 1) / 2 and (2 + 3) / 2; the mean of 1 and 0.
        assert_eq!(small.rows, [[0.5, 2.5], [0.5, 0.5]]);
    }
}
