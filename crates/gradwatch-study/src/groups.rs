//! Groups of runs that agree in some columns, and statistics of a value over the runs of a group.

use std::collections::HashMap;

use crate::results::{Cell, ColumnKind, Results, Row};

/// Column that is missing for runs that have not started.
const STATE: &str = "state";
/// Magnitude up to which values enter mean and standard deviation unchanged, so that sums stay finite.
const LARGEST: f64 = 1e300;
/// Quantile of the normal distribution for 95%, two-sided.
const Z: f64 = 1.959_963_984_540_054;

/// Statistics of a value over the runs of a group. NaN if no run has a finite value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Number of runs with a finite value.
    pub n: usize,
    /// Number of runs without a value, or with one that is not finite.
    pub missing: usize,
    /// Mean of the finite values.
    pub mean: f64,
    /// Lowest finite value.
    pub min: f64,
    /// Highest finite value.
    pub max: f64,
    /// Sample standard deviation (divided by n - 1) of the finite values; NaN with fewer than two.
    pub std: f64,
    /// 95% confidence interval of the mean of flags, which is a share; `None` for other values, or without a value.
    pub interval: Option<[f64; 2]>,
}

impl Statistics {
    /// Statistics of `values`, of which NaN and infinities count as missing.
    pub fn of(values: &[f64]) -> Self {
        let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        let (n, missing) = (finite.len(), values.len() - finite.len());
        let clamped = || finite.iter().map(|value| value.clamp(-LARGEST, LARGEST));
        let mean = if n > 0 { clamped().sum::<f64>() / n as f64 } else { f64::NAN };
        let squares: f64 = clamped().map(|value| (value - mean).powi(2)).sum();
        Self {
            n,
            missing,
            mean,
            min: finite.iter().copied().fold(f64::NAN, f64::min),
            max: finite.iter().copied().fold(f64::NAN, f64::max),
            std: if n > 1 { (squares / (n - 1) as f64).sqrt() } else { f64::NAN },
            interval: None,
        }
    }

    /// Statistics of flags, each 1 or 0.
    pub fn of_flags(flags: &[f64]) -> Self {
        let seen = Self::of(flags);
        Self { interval: (seen.n > 0).then(|| wilson(seen.mean, seen.n as f64)), ..seen }
    }

    /// Ends of the spread to draw: the confidence interval of a share, or else the lowest and the highest value.
    pub fn spread(&self) -> [f64; 2] {
        self.interval.unwrap_or([self.min, self.max])
    }

    /// Number of runs.
    pub fn runs(&self) -> usize {
        self.n + self.missing
    }
}

/// 95% confidence interval of a share of `n` (Wilson 1927, without continuity correction).
fn wilson(share: f64, n: f64) -> [f64; 2] {
    let scale = 1.0 / (1.0 + Z * Z / n);
    let middle = scale * (share + Z * Z / (2.0 * n));
    let half = scale * Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

/// Runs that agree in some columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The cells in which they agree, one per column.
    pub keys: Vec<Cell>,
    /// Indices of their rows.
    pub rows: Vec<usize>,
}

/// Groups the rows that `keep` accepts by the columns `by`, without runs that have not started. Groups and rows are in
/// the order of the table.
pub fn groups(results: &Results, by: &[usize], keep: impl Fn(&Row) -> bool) -> Vec<Group> {
    let (mut groups, mut places): (Vec<Group>, HashMap<Vec<String>, usize>) = Default::default();
    let state = results.column(STATE);
    let has_started = |row: &Row| state.is_none_or(|column| *cell(row, column) != Cell::Missing);
    for (index, row) in results.rows.iter().enumerate().filter(|(_, row)| has_started(row) && keep(row)) {
        let keys: Vec<Cell> = by.iter().map(|column| cell(row, *column).clone()).collect();
        let place = *places.entry(keys.iter().map(name).collect()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.rows.push(index),
            None => groups.push(Group { keys, rows: vec![index] }),
        }
    }
    groups
}

impl Group {
    /// Statistics of a column over the runs of the group.
    pub fn statistics(&self, results: &Results, column: usize) -> Statistics {
        let values: Vec<f64> = self.rows.iter().map(|row| number(cell(&results.rows[*row], column))).collect();
        let is_flag = results.columns.get(column).is_some_and(|column| column.kind == ColumnKind::Flag);
        if is_flag { Statistics::of_flags(&values) } else { Statistics::of(&values) }
    }
}

/// The cell of a row; [`Cell::Missing`] beyond its end.
pub(crate) fn cell(row: &Row, column: usize) -> &Cell {
    row.cells.get(column).unwrap_or(&Cell::Missing)
}

/// The number in a cell; NaN for text and missing values.
pub(crate) fn number(cell: &Cell) -> f64 {
    cell.number().unwrap_or(f64::NAN)
}

/// The cell as the name of a line, a panel, or a tick; a dash for a missing value.
pub(crate) fn name(cell: &Cell) -> String {
    if *cell == Cell::Missing { "–".into() } else { cell.to_string() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::results::Column;

    #[test]
    fn statistics_are_those_computed_by_hand() {
        // Mean 5; squares 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32; 32 / 7.
        let known = Statistics::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        let want =
            Statistics { n: 8, missing: 0, mean: 5.0, min: 2.0, max: 9.0, std: (32.0f64 / 7.0).sqrt(), interval: None };
        assert_eq!(known, want);
        assert_eq!(known.runs(), 8);
    }

    #[test]
    fn a_diverged_run_is_counted_and_not_averaged() {
        let seen = Statistics::of(&[1.0, f64::NAN, 3.0, f64::INFINITY]);
        assert_eq!(
            seen,
            Statistics { n: 2, missing: 2, mean: 2.0, min: 1.0, max: 3.0, std: 2f64.sqrt(), interval: None }
        );
        let one = Statistics::of(&[0.5]);
        assert_eq!((one.n, one.mean, one.min, one.max), (1, 0.5, 0.5, 0.5));
        assert!(one.std.is_nan());
        let none = Statistics::of(&[f64::NAN]);
        assert_eq!((none.n, none.missing), (0, 1));
        assert!([none.mean, none.min, none.max, none.std].iter().all(|value| value.is_nan()));
    }

    #[test]
    fn the_interval_of_a_share_is_that_of_wilson() {
        // Table I of Newcombe 1998 (10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E), method 3.
        for (hits, n, want) in [
            (81, 263, [0.2553, 0.3662]),
            (15, 148, [0.0624, 0.1605]),
            (0, 20, [0.0, 0.1611]),
            (1, 29, [0.0061, 0.1718]),
        ] {
            let flags: Vec<f64> = (0..n).map(|run| f64::from(run < hits)).collect();
            let [low, high] = Statistics::of_flags(&flags).spread();
            assert!((low - want[0]).abs() < 5e-5 && (high - want[1]).abs() < 5e-5, "{hits} of {n}: {low} to {high}");
        }
        assert_eq!(Statistics::of_flags(&[f64::NAN]).interval, None);
        assert_eq!(Statistics::of(&[0.0, 1.0]).spread(), [0.0, 1.0]);
    }

    proptest! {
        #[test]
        fn the_mean_lies_between_the_extremes_for_any_finite_values(values in vec(any::<f64>(), 1..9)) {
            let seen = Statistics::of(&values);
            prop_assert_eq!(seen.runs(), values.len());
            if seen.n > 0 {
                // A sum of n values is off by n roundings.
                let room = 1e-12 * seen.min.abs().max(seen.max.abs()).min(LARGEST);
                let [min, max] = [seen.min, seen.max].map(|end| end.clamp(-LARGEST, LARGEST));
                prop_assert!(min - room <= seen.mean && seen.mean <= max + room);
                prop_assert_eq!(seen.std.is_nan(), seen.n == 1);
            }
        }
    }

    #[test]
    fn rows_that_agree_in_the_columns_are_a_group_in_the_order_of_the_table() {
        let row = |depth: f64, method: &str, value: f64| Row {
            run: String::new(),
            folder: PathBuf::new(),
            cells: vec![Cell::Number(depth), Cell::Text(method.into()), Cell::Number(value)],
        };
        let rows = vec![row(8.0, "b", 1.0), row(4.0, "a", 2.0), row(8.0, "b", 5.0), row(f64::NAN, "a", 3.0)];
        let column = |name: &str| Column { name: name.into(), kind: ColumnKind::Axis };
        let columns = vec![column("depth"), column("method"), column("value")];
        let results = Results { columns, rows };
        let found = groups(&results, &[0, 1], |_| true);
        let rows: Vec<&[usize]> = found.iter().map(|group| &*group.rows).collect();
        assert_eq!(rows, [&[0, 2][..], &[1], &[3]]);
        assert_eq!(found[0].statistics(&results, 2).mean, 3.0);
        let kept = groups(&results, &[1], |row| row.cells[1] == Cell::Text("a".into()));
        assert_eq!(kept, [Group { keys: vec![Cell::Text("a".into())], rows: vec![1, 3] }]);
        // Without columns, all runs are one group.
        assert_eq!(groups(&results, &[], |_| true)[0].rows, [0, 1, 2, 3]);
    }
}
