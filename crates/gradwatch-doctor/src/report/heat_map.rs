//! Heat map of logarithms as SVG.

use std::{collections::BTreeMap, fmt::Write};

use maud::{Markup, html};

use super::{
    chart::{at, side},
    grid::Table,
    layer_rows::{names, row_height},
};
use crate::number::{number, step_label};
use crate::picture::{axis::Range, color};

/// Number of distinct colors.
const SHADES: u32 = 32;

/// Appearance of a cell: a shade, or the reason for having none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Shade(u32),
    Zero,
    NotFinite,
    Unknown,
}

/// Draws base-10 logarithms in rows over steps; empty without cells.
pub(super) fn heat_map(title: &str, unit: &str, table: &Table) -> Markup {
    let values: Vec<f64> = table.rows.iter().flatten().copied().collect();
    let range = Range::of(&values);
    let cells: Vec<Vec<Cell>> =
        table.rows.iter().map(|row| row.iter().map(|value| cell(*value, range)).collect()).collect();
    let (rows, columns) = (table.rows.len(), table.steps.len());
    let label = describe(title, unit, table, range);
    html! {
        @if rows > 0 && columns > 0 {
            figure class="heat" style=(row_height(rows)) {
                figcaption { h3 { (title) } (legend(unit, range, &cells)) }
                div class="rows" {
                    (names(&table.names))
                    svg viewBox={ "0 0 " (columns) " " (rows) } preserveAspectRatio="none" role="img"
                        aria-label=(label) {
                        title { (label) }
                        g transform="translate(0 .5)" {
                            @for (cell, path) in paths(&cells) {
                                @match cell {
                                    Cell::Shade(shade) => path stroke=(hex(shade)) d=(path) {},
                                    Cell::Zero => path class="zero" d=(path) {},
                                    Cell::NotFinite => path class="broken" d=(path) {},
                                    Cell::Unknown => {},
                                }
                            }
                        }
                    }
                    div class="x" aria-hidden="true" {
                        @for (place, step) in column_ticks(&table.steps) {
                            span class=(side(place)) style=(at("left", place)) { (step_label(step as f64)) }
                        }
                    }
                }
            }
        }
    }
}

fn cell(value: f64, range: Option<Range>) -> Cell {
    match range {
        Some(range) if value.is_finite() => Cell::Shade((range.fraction(value) * f64::from(SHADES - 1)).round() as u32),
        _ if value == f64::INFINITY => Cell::NotFinite,
        _ if value == f64::NEG_INFINITY => Cell::Zero,
        _ => Cell::Unknown,
    }
}

/// One path per appearance, along the middle of its cells: a few bytes per cell, and fewer for equal neighbors.
fn paths(cells: &[Vec<Cell>]) -> BTreeMap<Cell, String> {
    let mut paths: BTreeMap<Cell, String> = BTreeMap::new();
    for (row, cells) in cells.iter().enumerate() {
        let mut column = 0;
        for run in cells.chunk_by(|one, other| one == other) {
            let _ = write!(paths.entry(run[0]).or_default(), "M{column} {row}h{}", run.len());
            column += run.len();
        }
    }
    paths
}

fn hex(shade: u32) -> String {
    let [red, green, blue] = color::at(f64::from(shade) / f64::from(SHADES - 1));
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn legend(unit: &str, range: Option<Range>, cells: &[Vec<Cell>]) -> Markup {
    let has = |cell| cells.iter().flatten().any(|known| *known == cell);
    let shades: Vec<String> = (0..SHADES).step_by(4).chain([SHADES - 1]).map(hex).collect();
    html! {
        ul class="legend" {
            li {
                (unit) " "
                @if let Some(range) = range {
                    @let [low, high] = range.ends().map(|log10| number(10f64.powf(log10)));
                    b { (low) } " "
                    span class="ramp" style={ "background:linear-gradient(90deg," (shades.join(",")) ")" } {}
                    " " b { (high) }
                }
            }
            @if has(Cell::Zero) { li class="box zero" { "0" } }
            @if has(Cell::NotFinite) { li class="box broken" { "not finite" } }
            @if has(Cell::Unknown) { li class="box unknown" { "no value" } }
        }
    }
}

fn describe(title: &str, unit: &str, table: &Table, range: Option<Range>) -> String {
    let (rows, columns) = (table.rows.len(), table.steps.len());
    let [low, high] = range.map_or([f64::NAN; 2], |range| range.ends().map(|log10| 10f64.powf(log10)));
    format!("{title}: {rows} rows over {columns} times, {unit} from {} to {}", number(low), number(high))
}

/// Evenly spaced columns, with their position and first step.
fn column_ticks(steps: &[u64]) -> Vec<(f64, u64)> {
    let each = steps.len().div_ceil(5).max(1);
    steps.iter().enumerate().step_by(each).map(|(column, step)| (column as f64 / steps.len() as f64, *step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: Vec<Vec<f64>>) -> Table {
        let names = (0..rows.len()).map(|row| format!("layer{row}")).collect();
        let steps = (0..rows.first().map_or(0, Vec::len) as u64).map(|column| 10 * column).collect();
        Table { names, steps, rows }
    }

    #[test]
    fn equal_neighbors_are_one_stroke_and_each_look_one_path() {
        let cells =
            [vec![Cell::Shade(1), Cell::Shade(1), Cell::Zero], vec![Cell::NotFinite, Cell::Shade(1), Cell::Unknown]];
        let paths = paths(&cells);
        assert_eq!(paths[&Cell::Shade(1)], "M0 0h2M1 1h1");
        assert_eq!((&*paths[&Cell::Zero], &*paths[&Cell::NotFinite]), ("M2 0h1", "M0 1h1"));
    }

    #[test]
    fn the_lowest_is_purple_the_highest_yellow_and_what_is_neither_is_in_the_legend() {
        let svg = heat_map("Gradient", "RMS", &table(vec![vec![-3.0, f64::INFINITY], vec![-1.0, f64::NAN]]));
        let svg = svg.into_string();
        for want in
            ["#440154\" d=\"M0 0h1\"", "#fde725\" d=\"M0 1h1\"", "not finite", "no value", "RMS from 0.001 to 0.1"]
        {
            assert!(svg.contains(want), "{want}\n{svg}");
        }
        assert!(!svg.contains("box zero"));
    }

    #[test]
    fn tables_without_a_finite_value_or_without_cells_are_drawn() {
        assert!(heat_map("", "", &table(vec![vec![f64::NAN; 9]; 3])).into_string().contains("no value"));
        assert_eq!(heat_map("", "", &table(vec![])).into_string(), "");
    }

    #[test]
    fn the_largest_map_is_small() {
        // No two neighbors are equal.
        let rows = (0..64).map(|row| (0..64).map(|column| f64::from((row * 7 + column * 13) % 32)).collect()).collect();
        assert!(heat_map("Gradient", "RMS", &table(rows)).into_string().len() < 60_000);
    }
}
