//! Heat map of layers over steps.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{Theme, text};
use crate::{
    number::{short, step_label},
    picture::axis::{Range, shorten},
    printable,
    report::Table,
    watch::{HeatKind, RunModel, ViewState},
};

/// Widest names of layers, in columns.
const NAMES: usize = 24;
/// Marks of values without a logarithm.
const SPECIAL: &str = " 0 all zero, ! not finite ";

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
    // The range is that of all layers, so that the colors are the same on screens of any size.
    let range = if is_log { Range::of(&table.rows.concat()) } else { Range::of(&[0.0, 1.0]) };
    let mut table = table.fitted(usize::from(inner.height - 1), usize::MAX);
    draw_legend(buffer, area, range, is_log, theme);
    let most = NAMES.min(usize::from(inner.width / 3));
    table.names.iter_mut().for_each(|name| *name = label(name, most));
    let names = table.names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let cells = Rect { x: inner.x + names as u16 + 1, width: inner.width.saturating_sub(names as u16 + 1), ..inner };
    draw_rows(buffer, inner, cells, &table, &|value| look(value, range, theme));
    draw_steps(buffer, cells, &table, theme);
}

/// Name of a row in at most `most` columns. Several layers that share it are a range: `layers.3-4.linear`.
fn label(name: &str, most: usize) -> String {
    let name = printable::line(name);
    let Some((first, last)) = name.split_once(" … ") else { return shorten(&name, most) };
    let block = |name: &str| name.rsplit_once('.').map_or(name, |(block, _)| block).to_owned();
    let ranges = [
        numbered(first, last),
        Some(format!("{first} to {last}")),
        Some(block(first)).filter(|one| *one == block(last)),
        numbered(&block(first), &block(last)),
        Some(format!("{}-{}", block(first), block(last))),
    ];
    let fitting = ranges.into_iter().flatten().find(|range| range.chars().count() <= most);
    fitting.unwrap_or_else(|| shorten(first, most))
}

/// Range of two names that differ in one number.
fn numbered(first: &str, last: &str) -> Option<String> {
    let same = first.bytes().zip(last.bytes()).take_while(|(one, other)| one == other).count();
    let start = first.get(..same)?.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let [one, other] = [first, last].map(|name| {
        let rest = &name[start..];
        rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count())
    });
    let is_range = one.1 == other.1 && !one.0.is_empty() && !other.0.is_empty();
    is_range.then(|| format!("{}{}-{}{}", &first[..start], one.0, other.0, one.1))
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

fn draw_rows(buffer: &mut Buffer, inner: Rect, cells: Rect, table: &Table, look: &dyn Fn(f64) -> (char, Style)) {
    let columns = table.steps.len();
    let width = usize::from(cells.width);
    for (row, (name, values)) in table.names.iter().zip(&table.rows).enumerate() {
        let row = row as u16;
        text::put(buffer, inner, row, 0, name, Style::new());
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
        range.ends().map(|end| if is_log { short(10f64.powf(end)) } else { format!("{:.0}%", 100.0 * end) });
    let (low, high) = (format!(" low {low} "), format!(" high {high}{} ", if is_log { ", log" } else { "" }));
    let scale = low.chars().count() + high.chars().count() + 10;
    let special = if is_log && scale + SPECIAL.len() + 2 <= usize::from(area.width) { SPECIAL } else { "" };
    let Some(column) = usize::from(area.width).checked_sub(scale + special.len() + 2) else { return };
    let row = area.height - 1;
    let mut column = text::put(buffer, area, row, column as u16, &low, theme.faint());
    for step in 0..10 {
        let (symbol, style) = theme.heat(f64::from(step) / 9.0);
        column = text::put(buffer, area, row, column, symbol.encode_utf8(&mut [0; 4]), style);
    }
    column = text::put(buffer, area, row, column, &high, theme.faint());
    text::put(buffer, area, row, column, special, theme.faint());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_share_a_row_are_a_range() {
        let label = |name, most| label(name, most);
        assert_eq!(label("layers.3.linear … layers.4.linear", 24), "layers.3-4.linear");
        assert_eq!(label("layers.3.linear … layers.13.linear", 24), "layers.3-13.linear");
        assert_eq!(label("layers.10.linear … layers.19.linear", 12), "layers.10-19");
        assert_eq!(label("layers.7.linear … classifier", 24), "layers.7-classifier");
        assert_eq!(label("stem … head", 24), "stem to head");
        assert_eq!(label("blocks.0.conv1 … blocks.0.conv2", 24), "blocks.0.conv1-2");
        assert_eq!(label("blocks.0.conv1 … blocks.0.downsample", 24), "blocks.0");
        assert_eq!(label("conv1", 24), "conv1");
        assert_eq!(label("élan … été", 5), "élan");
    }
}
