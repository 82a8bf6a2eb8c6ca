//! The keys.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    widgets::{Clear, Widget},
};

use super::{Theme, text};

/// Keys and their effects.
const KEYS: [(&str, &str); 21] = [
    ("q, F10, Ctrl-C", "quit; the run goes on"),
    ("Esc, Backspace", "back to the table of runs, or end of a search"),
    ("up, down, j, k", "select a run or a finding; scroll notes"),
    ("PgUp, PgDn, Home, End, g, G", "move or scroll by a page, to the first, last"),
    ("Enter", "open the selected run"),
    ("Space", "table: mark a run; marked ones share a chart"),
    ("U", "table: remove all marks"),
    ("/", "search runs by name, or layers by name"),
    ("Tab, Shift-Tab, 1 to 5", "Overview, Curves, Layers, Findings, System"),
    ("l", "logarithmic or linear axis"),
    ("s", "smoothing of curves: off, 0.6, 0.9, 0.97"),
    ("+, -", "zoom in to the latest steps, zoom out"),
    ("left, right", "earlier or later steps"),
    ("0", "all steps"),
    ("m", "heat map: gradient, update ratio, zeros"),
    ("r", "next change of the selected finding"),
    ("y", "copy the change (OSC 52) and show it"),
    ("o", "open report.html, or tell how to write it"),
    ("Ctrl-L", "draw the screen anew"),
    ("Ctrl-Z", "suspend; fg returns"),
    ("?, h, F1", "this help; any key closes it"),
];

/// Width of the frame, and column of the effects.
const WIDTH: u16 = 78;
const EFFECTS: u16 = 30;

/// Draws the help over the screen.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, theme: Theme) {
    let (width, height) = (area.width.min(WIDTH), area.height.min(KEYS.len() as u16 + 2));
    let area = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(area, buffer);
    let inner = text::frame(buffer, area, "Keys", theme);
    for (row, (keys, effect)) in KEYS.iter().enumerate() {
        text::put(buffer, inner, row as u16, 1, keys, theme.strong());
        text::put(buffer, inner, row as u16, EFFECTS, effect, Style::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_screen_cuts_nothing() {
        let room = usize::from(WIDTH - 2 - EFFECTS);
        for (keys, effect) in KEYS {
            assert!(keys.len() < usize::from(EFFECTS) && effect.len() <= room, "{keys}: {effect}");
        }
    }
}
