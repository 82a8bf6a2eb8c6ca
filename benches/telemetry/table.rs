//! The table of all rows: gradwatch's and, below them for each model, the peers', read from the JSON lines of their
//! script.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// One variant on one model: medians over the turns, and the smallest and largest ratio.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub framework: String,
    pub model: String,
    pub variant: String,
    pub ms_per_step: f64,
    pub ratio: f64,
    pub lowest_ratio: f64,
    pub highest_ratio: f64,
}

impl Row {
    /// Summarizes a variant: seconds per step and ratios, one of each per turn. Sorts both.
    pub(crate) fn measured(model: &str, variant: &str, secs: &mut [f64], ratios: &mut [f64]) -> Self {
        // Sorts the ratios: the spread is their ends.
        let ratio = median(ratios);
        Self {
            framework: "gradwatch".into(),
            model: model.into(),
            variant: variant.into(),
            ms_per_step: 1e3 * median(secs),
            ratio,
            lowest_ratio: ratios[0],
            highest_ratio: ratios[ratios.len() - 1],
        }
    }
}

/// Sorts the values and returns their median. There must be at least one.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Reads the rows that a script of `benches/peers` wrote with `--json`.
///
/// # Errors
/// If the file cannot be read or a line of it is not a row.
pub(crate) fn read_rows(path: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
    let row = |(index, line)| {
        serde_json::from_str(line).map_err(|cause| format!("{}, line {}: {cause}", path.display(), index + 1).into())
    };
    text.lines().enumerate().map(row).collect()
}

/// Prints the column names; `more` are the columns of only one bench.
pub(crate) fn print_header(more: &[&str]) {
    print_cells(["model", "framework", "variant", "ms/step", "ratio to plain", "spread"], more);
    print_cells(["---", "---", "---", "--:", "--:", "--:"], &vec!["--:"; more.len()]);
}

pub(crate) fn print_row(row: &Row, more: &[&str]) {
    let Row { framework, model, variant, ms_per_step, ratio, lowest_ratio, highest_ratio } = row;
    let spread = format!("{lowest_ratio:.3}..{highest_ratio:.3}");
    print_cells([model, framework, variant, &format!("{ms_per_step:.1}"), &format!("{ratio:.3}"), &spread], more);
}

fn print_cells([model, framework, variant, ms_per_step, ratio, spread]: [&str; 6], more: &[&str]) {
    print!("| {model:<18} | {framework:<14} | {variant:<38} | {ms_per_step:>8} | {ratio:>14} | {spread:>14} |");
    more.iter().for_each(|cell| print!(" {cell:>8} |"));
    println!();
}
