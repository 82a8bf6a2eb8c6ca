//! Ranks, GPUs, speed, and waiting times.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::Style,
};

use super::{Theme, findings, panels::Panel, text};
use crate::{
    number::number_or_dash,
    printable,
    report::RankCourse,
    watch::{Gpus, RunModel, ViewState},
};

/// Draws the page.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    (model, gpus): (&RunModel, &Gpus),
    state: &ViewState,
    theme: Theme,
) {
    let ranks = &model.report.course.ranks;
    let charts = (area.height / 3).clamp(6, 16).min(area.height);
    let gpu_rows = (gpus.rows().len() as u16 + 2).clamp(3, 10);
    let rank_rows = if ranks.sums.is_empty() { 0 } else { rank_rows(ranks) };
    let [top, middle, ranks_area, notes] = Layout::vertical([
        Constraint::Length(charts),
        Constraint::Length(gpu_rows),
        Constraint::Length(rank_rows.min(area.height.saturating_sub(charts + gpu_rows))),
        Constraint::Fill(1),
    ])
    .areas(area);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(top);
    Panel::Speed.draw(buffer, left, model, state, theme);
    Panel::Waiting.draw(buffer, right, model, state, theme);
    draw_gpus(buffer, middle, gpus, theme);
    if rank_rows > 0 {
        draw_ranks(buffer, ranks_area, model, ranks, theme);
    }
    if notes.height > 2 {
        findings::draw_notes(buffer, notes, model, state, theme);
    }
}

/// Draws a line per GPU of this machine.
pub(super) fn draw_gpus(buffer: &mut Buffer, area: Rect, gpus: &Gpus, theme: Theme) {
    let inner = text::frame(buffer, area, "GPUs of this machine (nvidia-smi)", theme);
    for (row, line) in gpus.rows().iter().enumerate() {
        text::put(buffer, inner, row as u16, 1, &printable::line(line), Style::new());
    }
}

/// Draws a line per rank, or per place in the spread of many ranks.
pub(super) fn draw_ranks(buffer: &mut Buffer, area: Rect, model: &RunModel, ranks: &RankCourse, theme: Theme) {
    let inner = text::frame(buffer, area, &format!("{} ranks: median per step, work with loading", ranks.world), theme);
    let width = if ranks.is_listed() { 4 } else { 7 };
    let row = |name: &str, [work, waits, images, norm]: [&str; 4], mark: &str, place: &str| {
        format!("{name:<width$}{work:>8}{waits:>8}{images:>8}{norm:>10} {mark:<10} {place}")
    };
    let headers = [
        row("rank", ["work", "waits", "images", "gradient"], "", "place"),
        row("", ["ms", "ms", "/step", "norm"], "", ""),
    ];
    headers.iter().zip(0..).for_each(|(header, row)| _ = text::put(buffer, inner, row, 0, header, theme.strong()));
    let most = ranks.sums.iter().map(|sums| sums.busy.value()).fold(f64::NAN, f64::max);
    for (index, sums) in ranks.sums.iter().enumerate() {
        let name = if ranks.is_listed() { index.to_string() } else { RankCourse::PLACES[index % 3].to_owned() };
        let place = model.ranks().get(index).filter(|_| ranks.is_listed()).map(|rank| rank.place()).unwrap_or_default();
        let place = place.strip_prefix("host ").unwrap_or(&place);
        let busy = sums.busy.value();
        let numbers = [1000.0 * busy, 1000.0 * sums.wait.value(), sums.images_per_step().round(), sums.norm.value()];
        let numbers = numbers.map(number_or_dash);
        // The lowest, middle, and highest values of many ranks are not those of one rank.
        let mark = if busy == most && ranks.is_listed() { "<- slowest" } else { "" };
        let line = row(&name, numbers.each_ref().map(String::as_str), mark, &printable::line(place));
        text::put(buffer, inner, index as u16 + 2, 0, &text::cut(&line, inner.width, "…"), Style::new());
    }
}

/// Rows of the ranks with their header and frame.
pub(super) fn rank_rows(ranks: &RankCourse) -> u16 {
    ranks.sums.len() as u16 + 4
}
