//! Pages of one run.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
};

use super::{Theme, depth, findings, heat, panels::Panel, system, text, verdict};
use crate::{
    printable,
    watch::{Gpus, Page, RunModel, RunState, ViewState},
};

/// Least size of the overview with all panels, without the footer.
const ALL_PANELS: [u16; 2] = [120, 39];

/// Draws a run at a time in seconds since 1970.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    (model, gpus): (&RunModel, &Gpus),
    state: &ViewState,
    now: f64,
    theme: Theme,
) {
    let is_large = area.width >= ALL_PANELS[0] && area.height >= ALL_PANELS[1];
    draw_header(buffer, area, model, now, theme);
    let most = if state.page == Page::Overview { 8 } else { 2 };
    let below =
        |rows: u16| Rect { y: area.y + rows.min(area.height), height: area.height.saturating_sub(rows), ..area };
    let top = Rect { height: area.height.saturating_sub(1), ..below(1) };
    let rows = verdict::draw(buffer, top, model, (state.page, most), theme);
    verdict::draw_figures(buffer, below(rows + 1), model, theme);
    let page = below(rows + 2);
    match state.page {
        Page::Overview if is_large => draw_all(buffer, page, (model, gpus), state, theme),
        Page::Overview => draw_overview(buffer, page, model, state, theme),
        Page::Curves => draw_curves(buffer, page, model, state, theme),
        Page::Layers => draw_layers(buffer, page, model, state, theme),
        Page::Findings => findings::draw(buffer, page, model, state, theme),
        Page::System => system::draw(buffer, page, (model, gpus), state, theme),
    }
}

/// Name and state of the run.
fn draw_header(buffer: &mut Buffer, area: Rect, model: &RunModel, now: f64, theme: Theme) {
    let mut parts = Vec::new();
    if let Some(total) = model.total_steps.filter(|total| *total > 0) {
        parts.push(format!("{:.0}%", 100.0 * model.steps() as f64 / total as f64));
    }
    if let Some(step) = model.loss().broken_since() {
        parts.push(format!("NaN for {} steps", text::thousands(model.steps().saturating_sub(step))));
    } else if let Some(secs) = model.eta_secs() {
        parts.push(format!("{} left", text::duration(secs)));
    }
    if let Some(written) = model.written {
        let age = text::duration(now - written);
        parts.push(if model.state == RunState::Silent {
            format!("no data for {age}")
        } else {
            format!("data {age} old")
        });
    }
    let facts: String = parts.iter().map(|part| format!(" · {part}")).collect();
    let right =
        Line::from(vec![Span::styled(model.state.label(), theme.state(model.state)), Span::raw(facts), Span::raw(" ")]);
    let width = right.width() as u16;
    let left = Rect { width: area.width.saturating_sub(width + 1), ..area };
    let column = text::put(buffer, left, 0, 1, "gradwatch ", theme.faint());
    let column = text::put(buffer, left, 0, column, &model.name, theme.strong());
    let title = format!(" · {}", printable::line(&model.report.title));
    let has_room = usize::from(left.width.saturating_sub(column)) >= title.chars().count();
    if model.report.config.is_some() && has_room {
        text::put(buffer, left, 0, column, &title, theme.faint());
    }
    let column = area.width.saturating_sub(width);
    text::put_line(buffer, Rect { x: area.x + column, width: area.width - column, ..area }, 0, &right);
}

/// Loss, gradient norm, and layers.
fn draw_overview(buffer: &mut Buffer, area: Rect, model: &RunModel, state: &ViewState, theme: Theme) {
    let has_layers = !model.report.course.gradients.whole().names.is_empty();
    let top = if has_layers { (area.height / 2).max(6).min(area.height) } else { area.height };
    let [charts, layers] = Layout::vertical([Constraint::Length(top), Constraint::Fill(1)]).areas(area);
    let second = if Panel::GradientNorm.has_values(model) { Panel::GradientNorm } else { Panel::Accuracy };
    let panels = if second.has_values(model) { &[Panel::Loss, second][..] } else { &[Panel::Loss] };
    draw_row(buffer, charts, panels, model, state, theme);
    if layers.height > 3 {
        heat::draw(buffer, layers, model, state, theme);
    }
}

/// All panels.
fn draw_all(buffer: &mut Buffer, area: Rect, (model, gpus): (&RunModel, &Gpus), state: &ViewState, theme: Theme) {
    let ranks = &model.report.course.ranks;
    let has_ranks = !ranks.sums.is_empty();
    let rows = model.report.course.gradients.whole().names.len().max(6) as u16 + 3;
    let rows = rows.min(area.height / 2);
    let [first, second, third] =
        Layout::vertical([Constraint::Fill(1), Constraint::Fill(1), Constraint::Length(rows)]).areas(area);
    draw_row(buffer, first, &[Panel::Loss, Panel::Accuracy, Panel::GradientNorm], model, state, theme);
    let [rate, speed, other] = Layout::horizontal([Constraint::Fill(1); 3]).areas(second);
    Panel::LearningRate.draw(buffer, rate, model, state, theme);
    Panel::Speed.draw(buffer, speed, model, state, theme);
    match (has_ranks, model.report.findings.is_empty()) {
        (true, _) => {
            let [upper, lower] =
                Layout::vertical([Constraint::Length(system::rank_rows(ranks)), Constraint::Fill(1)]).areas(other);
            system::draw_ranks(buffer, upper, model, ranks, theme);
            if lower.height > 4 {
                Panel::Waiting.draw(buffer, lower, model, state, theme);
            }
        }
        (false, true) => system::draw_gpus(buffer, other, gpus, theme),
        (false, false) => findings::draw(buffer, other, model, state, theme),
    }
    let [left, right] = Layout::horizontal([Constraint::Percentage(62), Constraint::Fill(1)]).areas(third);
    heat::draw(buffer, left, model, state, theme);
    depth::draw(buffer, right, model, state, theme);
}

/// Charts of everything that the run has, in two or three columns.
fn draw_curves(buffer: &mut Buffer, area: Rect, model: &RunModel, state: &ViewState, theme: Theme) {
    let mut panels: Vec<Panel> = Panel::ALL.into_iter().filter(|panel| panel.has_values(model)).collect();
    if panels.is_empty() {
        panels.push(Panel::Loss);
    }
    // The first charts stay if there is no room for all.
    let rows_that_fit = usize::from(area.height / 5).max(1);
    let columns = (usize::from(area.width) / 38).clamp(1, 3);
    panels.truncate(rows_that_fit * columns);
    let rows: Vec<&[Panel]> = panels.chunks(columns).collect();
    let areas = Layout::vertical(rows.iter().map(|_| Constraint::Fill(1))).split(area);
    rows.iter().zip(areas.iter()).for_each(|(row, area)| draw_row(buffer, *area, row, model, state, theme));
}

/// Heat map and depth profile, side by side or one below the other.
fn draw_layers(buffer: &mut Buffer, area: Rect, model: &RunModel, state: &ViewState, theme: Theme) {
    let layout = if area.width >= ALL_PANELS[0] {
        Layout::horizontal([Constraint::Percentage(62), Constraint::Fill(1)])
    } else {
        Layout::vertical([Constraint::Percentage(55), Constraint::Fill(1)])
    };
    let [map, profile] = layout.areas(area);
    heat::draw(buffer, map, model, state, theme);
    depth::draw(buffer, profile, model, state, theme);
}

fn draw_row(buffer: &mut Buffer, area: Rect, panels: &[Panel], model: &RunModel, state: &ViewState, theme: Theme) {
    let areas = Layout::horizontal(panels.iter().map(|_| Constraint::Fill(1))).split(area);
    panels.iter().zip(areas.iter()).for_each(|(panel, area)| panel.draw(buffer, *area, model, state, theme));
}
