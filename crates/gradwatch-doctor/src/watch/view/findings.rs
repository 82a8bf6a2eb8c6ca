//! List of findings, and the selected one in full.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{Theme, text};
use crate::{
    config::RuleName,
    diagnosis::Finding,
    number::short,
    printable,
    report::phrase_of,
    watch::{Page, RunModel, ViewState},
};

/// Draws the findings, the one to fix first at the top.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &RunModel, state: &ViewState, theme: Theme) {
    let findings = model.report.ranked();
    let rows = (findings.len() as u16 + 2).min(area.height / 2).max(3);
    let list = text::frame(buffer, Rect { height: rows.min(area.height), ..area }, "Findings", theme);
    let below = Rect { y: area.y + rows, height: area.height.saturating_sub(rows), ..area };
    if findings.is_empty() {
        text::put(buffer, list, 0, 1, &model.report.verdict().sentence, Style::new());
        draw_notes(buffer, below, model, state, theme);
        return;
    }
    let selected = state.finding.min(findings.len() - 1);
    let first = selected.saturating_sub(usize::from(list.height.saturating_sub(1)));
    for (row, (index, finding)) in findings.iter().enumerate().skip(first).enumerate() {
        draw_row(buffer, list, row as u16, (index, index == selected), finding, (model, more(state)), theme);
    }
    draw_one(buffer, below, findings[selected], state, theme);
}

/// End of a text that is cut.
fn more(state: &ViewState) -> &'static str {
    if state.page == Page::Findings { "…" } else { "… press 4" }
}

fn draw_row(
    buffer: &mut Buffer,
    list: Rect,
    row: u16,
    (index, is_selected): (usize, bool),
    finding: &Finding,
    (model, more): (&RunModel, &str),
    theme: Theme,
) {
    let root =
        if model.report.is_root_cause(finding) && model.report.findings.len() > 1 { " (root cause)" } else { "" };
    let place = printable::line(&finding.place()).into_owned();
    let line = format!("{}{place}, since step {}{root}", phrase_of(finding), finding.first_step);
    let cursor = if is_selected { ">" } else { " " };
    let style = if is_selected { theme.reversed() } else { Style::new() };
    let column = text::put(buffer, list, row, 0, &format!("{cursor} {} ", index + 1), style);
    let severity = format!(" {:<8} ", finding.severity.to_string().to_uppercase());
    let column = text::put(buffer, list, row, column, &severity, theme.severity(Some(finding.severity)));
    let room = list.width.saturating_sub(column + 1);
    text::put(buffer, list, row, column + 1, &text::cut(&line, room, more), style);
}

/// Cause, figures, changes, and consequences of one finding.
fn draw_one(buffer: &mut Buffer, area: Rect, finding: &Finding, state: &ViewState, theme: Theme) {
    let title = format!("{}: steps {} to {}", finding.rule, finding.first_step, finding.last_step);
    let inner = text::frame(buffer, area, &title, theme);
    let mut rows = Rows { buffer, inner, row: 0, skip: state.scroll };
    rows.add(&finding.cause, theme.strong(), 0);
    for figure in &finding.figures {
        rows.add(&format!("{}: {} (expected: {})", figure.name, short(figure.seen), figure.expected), Style::new(), 2);
    }
    let layers = match (finding.rule, &finding.layers[..]) {
        // These rules name the ends of the network.
        (RuleName::Vanishing | RuleName::Exploding, [first, last]) => format!("{first} to {last}"),
        (_, layers) => layers.join(", "),
    };
    if !layers.is_empty() {
        rows.add(&format!("layers: {layers}"), Style::new(), 2);
    }
    let selected = state.remedy % finding.remedies.len().max(1);
    for (index, remedy) in finding.remedies.iter().enumerate() {
        let (style, sign) = if index == selected { (theme.reversed(), "> ") } else { (theme.strong(), "") };
        rows.add(&format!("{sign}{}", remedy.change), style, if index == selected { 0 } else { 2 });
        rows.add(&remedy.why, Style::new(), 4);
    }
    for (rule, step) in &finding.symptoms {
        rows.add(&format!("leads to {rule}, since step {step}"), theme.faint(), 2);
    }
    rows.end(area, state, theme);
}

/// Withdrawn findings, rules that were not checked, and notes about the files.
pub(super) fn draw_notes(buffer: &mut Buffer, area: Rect, model: &RunModel, state: &ViewState, theme: Theme) {
    let inner = text::frame(buffer, area, "Notes", theme);
    let mut rows = Rows { buffer, inner, row: 0, skip: state.scroll };
    for note in &model.report.notes {
        rows.add(note, Style::new(), 0);
    }
    for finding in &model.report.withdrawn {
        rows.add(&format!("withdrawn: {finding}"), theme.faint(), 0);
    }
    for line in &model.report.not_judged {
        rows.add(&format!("not checked: {line}"), theme.faint(), 0);
    }
    rows.end(area, state, theme);
}

/// Lines from top to bottom, of which the first ones may be scrolled away.
struct Rows<'a> {
    buffer: &'a mut Buffer,
    inner: Rect,
    row: u16,
    skip: usize,
}

impl Rows<'_> {
    fn add(&mut self, sentence: &str, style: Style, indent: u16) {
        let width = self.inner.width.saturating_sub(indent + 1);
        for line in text::wrapped(&printable::line(sentence), width) {
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            text::put(self.buffer, self.inner, self.row, indent, &line, style);
            self.row += 1;
        }
    }

    /// Tells on the lower edge of the frame how to see rows without room.
    fn end(self, area: Rect, state: &ViewState, theme: Theme) {
        if self.row > self.inner.height && area.height > 1 {
            let more = if state.page == Page::Overview { " … press 4 " } else { " … PgDn " };
            let column = area.width.saturating_sub(more.chars().count() as u16 + 2);
            text::put(self.buffer, area, area.height - 1, column, more, theme.strong());
        }
    }
}
