//! Table of the runs of a log folder, and the loss curves of the marked ones.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    Theme,
    chart::{Axis, Chart, Drawn, Mark},
    curve::{Curve, smoothed},
    text, verdict,
};
use crate::{
    picture::axis::shorten,
    printable,
    watch::{RunSummary, TableModel, ViewState},
};

/// Rows of the verdict of the selected run, with its frame.
const DETAILS: u16 = 7;
/// Least rows of the list with that verdict.
const LEAST_WITH_DETAILS: u16 = 16;
/// Most runs whose curves are drawn over each other.
const CURVES: usize = 6;

/// Indices of the runs that the search shows.
pub(crate) fn shown(model: &TableModel, state: &ViewState) -> Vec<usize> {
    (0..model.runs.len()).filter(|index| model.runs[*index].name.contains(&state.search)).collect()
}

/// Draws the table at a time in seconds since 1970.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &TableModel, state: &ViewState, now: f64, theme: Theme) {
    let rows = shown(model, state);
    let column = text::put(buffer, area, 0, 1, "gradwatch ", theme.faint());
    let column = text::put(buffer, area, 0, column, &printable::path(&model.path), theme.strong());
    let read = model.runs.iter().filter(|run| run.is_read).count();
    let mut count = format!(" · {} of {} runs", rows.len(), model.runs.len());
    if read < model.runs.len() {
        count.push_str(&format!(", {read} read"));
    }
    text::put(buffer, area, 0, column, &count, theme.faint());
    if let Some(problem) = model.problem.as_ref().filter(|_| model.runs.is_empty()) {
        for (row, line) in text::wrapped(problem, area.width.saturating_sub(2)).iter().enumerate() {
            text::put(buffer, area, row as u16 + 2, 1, line, Style::new());
        }
        return;
    }
    let marked: Vec<&RunSummary> = model.runs.iter().filter(|run| state.marks.contains(&run.path)).collect();
    let chart = if marked.is_empty() { 0 } else { (area.height / 2).min(24) };
    let list = Rect { y: area.y + 1, height: area.height.saturating_sub(chart + 1), ..area };
    let selected = rows.get(state.selected.min(rows.len().saturating_sub(1))).map(|index| &model.runs[*index]);
    let details = if selected.is_some() && list.height >= LEAST_WITH_DETAILS { DETAILS } else { 0 };
    let below = Rect { y: list.bottom() - details, height: details, ..list };
    let list = Rect { height: list.height - details, ..list };
    draw_rows(buffer, list, model, &rows, state, now, theme);
    if let Some(run) = selected.filter(|_| details > 0) {
        let inner = text::frame(buffer, below, &run.name, theme);
        verdict::draw_rows(buffer, inner, verdict::summary_rows(run, theme), (inner.height, "… press Enter"), theme);
    }
    if chart > 0 {
        let area = Rect { y: area.bottom() - chart, height: chart, ..area };
        draw_overlay(buffer, area, &marked, state, theme);
    }
}

/// Widths of the columns between the name and the verdict.
const COLUMNS: [(&str, usize); 6] = [("state", 9), ("step", 9), ("loss", 8), ("acc", 6), ("ETA", 10), ("age", 10)];

fn draw_rows(
    buffer: &mut Buffer,
    list: Rect,
    model: &TableModel,
    rows: &[usize],
    state: &ViewState,
    now: f64,
    theme: Theme,
) {
    let longest = rows.iter().map(|index| model.runs[*index].name.chars().count()).max().unwrap_or(4);
    let names = longest.clamp(4, 40).min(usize::from(list.width) / 4);
    // Narrow screens leave out times, so that the verdict has room.
    let is_shown = |name: &str| list.width >= 110 || !["ETA", "age"].contains(&name);
    let columns: Vec<(&str, usize)> = COLUMNS.into_iter().filter(|(name, _)| is_shown(name)).collect();
    let mut header = format!("  {:<names$}", "run");
    columns.iter().for_each(|&(name, width)| header.push_str(&format!(" {name:>width$}")));
    header.push_str("  verdict");
    let width = usize::from(list.width);
    text::put(buffer, list, 0, 0, &format!("{header:<width$}"), theme.reversed());
    let room = usize::from(list.height.saturating_sub(1)).max(1);
    let selected = state.selected.min(rows.len().saturating_sub(1));
    let first = (selected + 1).saturating_sub(room);
    for (row, (place, index)) in rows.iter().enumerate().skip(first).take(room).enumerate() {
        let (run, row) = (&model.runs[*index], row as u16 + 1);
        let style = if place == selected { theme.reversed() } else { Style::new() };
        let cursor = if place == selected { '>' } else { ' ' };
        let mark = if state.marks.contains(&run.path) { '*' } else { ' ' };
        let mut column =
            text::put(buffer, list, row, 0, &format!("{cursor}{mark}{:<names$}", shorten(&run.name, names)), style);
        for &(name, width) in &columns {
            let (value, look) = value(run, name, now, theme);
            let look = if place == selected { style } else { look };
            column = text::put(buffer, list, row, column, &format!(" {value:>width$}"), look);
        }
        let (word, look) = verdict::word_of(run, theme);
        let column = text::put(buffer, list, row, column + 2, word, look);
        if run.is_read {
            let room = list.width.saturating_sub(column + 1);
            text::put(buffer, list, row, column + 1, &text::cut(problem_of(run), room, "…"), style);
        }
    }
}

/// The problem in a verdict, without the judgement before it, which the severity tells, or the path, which the name tells.
fn problem_of(run: &RunSummary) -> &str {
    let path = format!("{}: ", printable::path(&run.path));
    let judgements = [
        "The run cannot continue: ",
        "The run cannot succeed with these settings: ",
        "The run could do better: ",
        "Healthy: ",
        &path,
    ];
    judgements.iter().find_map(|judgement| run.verdict.strip_prefix(judgement)).unwrap_or(&run.verdict)
}

fn value(run: &RunSummary, column: &str, now: f64, theme: Theme) -> (String, Style) {
    let plain = |value: String| (value, Style::new());
    match column {
        _ if !run.is_read && column != "age" => plain("…".into()),
        "state" => (run.state.label().to_owned(), theme.state(run.state)),
        "step" => plain(text::thousands(run.steps)),
        "loss" if run.is_loss_broken => ("NaN".into(), theme.not_finite().1),
        "loss" => plain(text::figure(run.loss)),
        "acc" => plain(text::share(run.accuracy)),
        "ETA" => plain(run.eta_secs.map_or("-".into(), text::duration)),
        _ => plain(run.written.map_or("-".into(), |written| text::duration(now - written))),
    }
}

fn draw_overlay(buffer: &mut Buffer, area: Rect, marked: &[&RunSummary], state: &ViewState, theme: Theme) {
    const SYMBOLS: [char; CURVES] = ['o', 'x', '+', '#', '%', '@'];
    let curve = |(index, run): (usize, &&RunSummary)| Drawn {
        curve: Curve { points: smoothed(run.losses.clone(), state.weight()), not_finite: Vec::new() },
        // Without colors, only the symbols tell the curves apart.
        mark: if theme.has_colors() { Mark::Line } else { Mark::Symbol(SYMBOLS[index % CURVES]) },
        style: theme.run(index),
        labels: vec![shorten(&run.name, 20)],
    };
    let curves: Vec<Drawn> = marked.iter().take(CURVES).enumerate().map(curve).collect();
    let steps = || curves.iter().flat_map(|drawn| drawn.curve.points.iter().map(|(step, _)| *step));
    let ends = [steps().fold(f64::INFINITY, f64::min), steps().fold(0.0, f64::max)];
    let more = marked.len().saturating_sub(CURVES);
    let title = match more {
        0 => "Loss of the marked runs".to_owned(),
        more => format!("Loss of the first {CURVES} marked runs ({more} more)"),
    };
    let axis = if state.is_log { Axis::Log } else { Axis::Fitting };
    let steps = ends.map(|step| if step.is_finite() { step as u64 } else { 0 });
    Chart { title: &title, curves, axis, steps, marks: &[], without: "the marked runs have no loss" }
        .draw(buffer, area, theme);
}
