//! The table of all rows: ours, and beneath a model's the peers', read from the JSON lines of their script.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// One variant on one model: medians over the turns, and the smallest and largest ratio.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    pub framework: String,
    pub model: String,
    pub variant: String,
    pub ms_per_step: f64,
    pub ratio: f64,
    pub lowest_ratio: f64,
    pub highest_ratio: f64,
}

/// Reads what `benches/peers/telemetry.py --json` wrote.
///
/// # Errors
/// Where the file cannot be read or a line of it is no row.
pub fn read_rows(path: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
    let row = |(index, line)| {
        serde_json::from_str(line).map_err(|cause| format!("{}, line {}: {cause}", path.display(), index + 1).into())
    };
    text.lines().enumerate().map(row).collect()
}

pub fn print_header() {
    print_cells(["model", "framework", "variant", "ms/step", "ratio to plain", "spread"]);
    print_cells(["---", "---", "---", "--:", "--:", "--:"]);
}

pub fn print_row(row: &Row) {
    let Row { framework, model, variant, ms_per_step, ratio, lowest_ratio, highest_ratio } = row;
    let spread = format!("{lowest_ratio:.3}..{highest_ratio:.3}");
    print_cells([model, framework, variant, &format!("{ms_per_step:.1}"), &format!("{ratio:.3}"), &spread]);
}

fn print_cells([model, framework, variant, ms_per_step, ratio, spread]: [&str; 6]) {
    println!("| {model:<11} | {framework:<14} | {variant:<26} | {ms_per_step:>8} | {ratio:>14} | {spread:>14} |");
}
