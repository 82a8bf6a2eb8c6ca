//! Heat map of layers over steps.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{Theme, text};
use crate::{
    number::{number, step_label},
    picture::axis::{Range, shorten},
    printable,
    report::Table,
    watch::{HeatKind, RunModel, ViewState},
};

/// Widest names of layers, in columns.
const NAMES: usize = 24;
/// Marks of values without a logarithm.
const SPECIAL: &str = "0 zero, ! not finite ";

/// Draws the statistic that the view has chosen.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &RunModel, state: &ViewState, theme: Theme) {
    let course = &model.report.course;
    let (what, table, without) = match state.heat {
        HeatKind::Gradient => ("gradient RMS", course.gradients.whole(), "the files have no gradient per parameter"),
        HeatKind::UpdateRatio => ("update ratio", course.updates.whole(), "the files have no update ratios"),
        HeatKind::Activations => {
            ("share of activations at 0", model.activations.whole(), "the files have no activations")
        }
    };
    let all = table.names.len();
    let table = if state.search.is_empty() { table } else { table.named(&state.search) };
    let table = state.range.map(|range| table.between(range)).unwrap_or(table);
    let found = match state.search.as_str() {
        "" => String::new(),
        search => format!(", {} of {all} with \"{}\"", table.names.len(), printable::line(search)),
    };
    let inner = text::frame(buffer, area, &format!("Layers over steps: {what}{found}"), theme);
    if table.names.is_empty() || table.steps.is_empty() || inner.height < 2 {
        let without =
            if all > 0 && !state.search.is_empty() { "no layer has this name; Esc ends the search" } else { without };
        text::put(buffer, inner, inner.height / 2, 1, without, theme.faint());
        return;
    }
    let is_log = state.heat != HeatKind::Activations;
    let table = table.fitted(usize::from(inner.height - 1), usize::MAX);
    let range = if is_log { Range::of(&table.rows.concat()) } else { Range::of(&[0.0, 1.0]) };
    draw_legend(buffer, area, range, is_log, theme);
    let widest = table.names.iter().map(|name| label(name).chars().count()).max().unwrap_or_default();
    let names = widest.min(NAMES).min(usize::from(inner.width / 3));
    let cells = Rect { x: inner.x + names as u16 + 1, width: inner.width.saturating_sub(names as u16 + 1), ..inner };
    draw_rows(buffer, inner, cells, &table, names, &|value| look(value, range, theme));
    draw_steps(buffer, cells, &table, theme);
}

/// Name of a row. Of several layers that share it, the first one.
fn label(name: &str) -> String {
    let name = printable::line(name);
    name.split_once(" … ").map_or(name.to_string(), |(first, _)| format!("{first} …"))
}

/// Character and style of a cell.
fn look(value: f64, range: Option<Range>, theme: Theme) -> (char, Style) {
    match range {
        Some(range) if value.is_finite() => theme.heat(range.fraction(value)),
        _ if value == f64::INFINITY => theme.not_finite(),
        _ if value == f64::NEG_INFINITY => ('0', theme.strong()),
        _ => (' ', Style::new()),
    }
}

fn draw_rows(
    buffer: &mut Buffer,
    inner: Rect,
    cells: Rect,
    table: &Table,
    names: usize,
    look: &dyn Fn(f64) -> (char, Style),
) {
    let columns = table.steps.len();
    let width = usize::from(cells.width);
    for (row, (name, values)) in table.names.iter().zip(&table.rows).enumerate() {
        let row = row as u16;
        text::put(buffer, inner, row, 0, &shorten(&label(name), names), Style::new());
        for column in 0..width {
            // Wide cells repeat a value; of several values in a narrow cell, the largest one counts.
            let first = column * columns / width;
            let last = ((column + 1) * columns / width).max(first + 1);
            let value = values[first..last].iter().copied().fold(f64::NAN, largest);
            let (symbol, style) = look(value);
            text::put(buffer, cells, row, column as u16, symbol.encode_utf8(&mut [0; 4]), style);
        }
    }
}

/// The larger of two values; infinity, which stands for values that are not finite, is the largest.
fn largest(one: f64, other: f64) -> f64 {
    one.max(other)
}

/// Labels below the first, the middle, and the last column.
fn draw_steps(buffer: &mut Buffer, cells: Rect, table: &Table, theme: Theme) {
    let (count, row) = (table.steps.len(), cells.height - 1);
    for index in [0, count / 2, count - 1] {
        let label = step_label(table.steps[index] as f64);
        let column = (index * usize::from(cells.width) / count) as u16;
        let column = column.min(cells.width.saturating_sub(label.chars().count() as u16));
        text::put(buffer, cells, row, column, &label, theme.faint());
    }
}

/// The ends of the scale, and the marks of special values, on the lower edge.
fn draw_legend(buffer: &mut Buffer, area: Rect, range: Option<Range>, is_log: bool, theme: Theme) {
    let Some(range) = range else { return };
    let [low, high] =
        range.ends().map(|end| if is_log { number(10f64.powf(end)) } else { format!("{:.0}%", 100.0 * end) });
    let width = low.chars().count() + high.chars().count() + 14 + if is_log { SPECIAL.len() } else { 0 };
    let Some(column) = usize::from(area.width).checked_sub(width + 2) else { return };
    let row = area.height - 1;
    let mut column = text::put(buffer, area, row, column as u16, &format!(" {low} "), theme.faint());
    for step in 0..10 {
        let (symbol, style) = theme.heat(f64::from(step) / 9.0);
        column = text::put(buffer, area, row, column, symbol.encode_utf8(&mut [0; 4]), style);
    }
    column = text::put(buffer, area, row, column, &format!(" {high} "), theme.faint());
    if is_log {
        text::put(buffer, area, row, column, SPECIAL, theme.faint());
    }
}
