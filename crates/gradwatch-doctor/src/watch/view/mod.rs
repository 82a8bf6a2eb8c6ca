//! Draws a model. Depends on nothing else, so that a frame can be tested.

mod ascii;
mod chart;
mod curve;
mod depth;
mod findings;
mod heat;
mod help;
mod panels;
mod run;
mod system;
pub(super) mod table;
mod text;
mod theme;
mod verdict;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

pub use theme::{Colors, Theme};

use super::{Gpus, Model, Page, ViewState};
use crate::printable;

/// Least size of the screen, in columns and rows.
pub const LEAST: [u16; 2] = [80, 24];

/// Everything that a frame shows.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The runs; `None` before the first one is read.
    pub model: Option<&'a Model>,
    /// GPUs of this machine.
    pub gpus: &'a Gpus,
    /// Seconds since 1970.
    pub now: f64,
    /// Colors.
    pub theme: Theme,
}

/// Draws a frame into all of an area.
pub fn draw(buffer: &mut Buffer, area: Rect, scene: &Scene<'_>, state: &ViewState) {
    let &Scene { model, gpus, now, theme } = scene;
    let [width, height] = LEAST;
    if area.width < width || area.height < height {
        let got = format!("The screen has {} x {} characters,", area.width, area.height);
        text::put(buffer, area, 0, 0, &got, Style::new());
        text::put(buffer, area, 1, 0, &format!("want {width} x {height}."), Style::new());
        text::put(buffer, area, 2, 0, "Enlarge it, or press q.", Style::new());
        return;
    }
    let page = Rect { height: area.height - 1, ..area };
    match model {
        None => _ = text::put(buffer, page, page.height / 2, 2, "reading ...", Style::new()),
        Some(Model::Run(model)) => run::draw(buffer, page, (model, gpus), state, now, theme),
        Some(Model::Table(model)) => table::draw(buffer, page, model, state, now, theme),
    }
    draw_footer(buffer, Rect { y: area.bottom() - 1, height: 1, ..area }, model, state, theme);
    if state.has_help {
        help::draw(buffer, page, theme);
    }
    if theme.is_ascii() {
        ascii::replace(buffer);
    }
}

/// The search, the answer to the last key, or the most useful keys.
fn draw_footer(buffer: &mut Buffer, area: Rect, model: Option<&Model>, state: &ViewState, theme: Theme) {
    if state.is_searching {
        let search = printable::line(&state.search).into_owned();
        text::put(buffer, area, 0, 0, &format!("/{search}_   Enter keeps it, Esc ends it"), theme.strong());
        return;
    }
    if let Some(message) = &state.message {
        text::put(buffer, area, 0, 1, &printable::line(message), theme.strong());
        return;
    }
    let mut spans = Vec::new();
    let is_run = matches!(model, Some(Model::Run(_)));
    if is_run {
        for (page, number) in Page::ALL.iter().zip(1..) {
            let style = if *page == state.page { theme.reversed() } else { Style::new() };
            spans.push(Span::styled(format!(" {number} {} ", page.title()), style));
        }
    }
    let keys: &[&str] = match is_run {
        // Narrow screens cut the last ones.
        true if state.has_table => &["? help", "q quit", "Esc back", "/ search", "m map", "y copy"],
        true => &["? help", "q quit", "/ search", "m map", "y copy"],
        false => &["? help", "q quit", "Enter open", "Space mark", "/ search", "l log", "s smooth"],
    };
    spans.extend(keys.iter().map(|key| Span::styled(format!("  {key}"), theme.faint())));
    text::put_line(buffer, area, 0, &Line::from(spans));
}
