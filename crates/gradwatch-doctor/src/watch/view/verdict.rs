//! Verdict, cause, and change at the top of a run.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Theme, text};
use crate::{diagnosis::Severity, printable, watch::RunModel};

/// Width of the labels, in columns.
const LABELS: u16 = 10;

/// A label, a text, and the style of the label.
type Row = (&'static str, String, Style);

/// Rows of the verdict: each label with its text.
fn rows(model: &RunModel, theme: Theme) -> Vec<Row> {
    if let Some(problem) = &model.problem {
        return vec![("NO DATA", problem.clone(), theme.severity(Some(Severity::Warning)))];
    }
    let verdict = model.report.verdict();
    let word = match verdict.severity {
        _ if !model.is_read() => "reading",
        None if model.steps() == 0 && model.report.course.evaluations() == 0 => "waiting",
        None => "OK",
        Some(Severity::Info) => "NOTE",
        Some(Severity::Warning) => "WARNING",
        Some(Severity::Critical) => "CRITICAL",
        Some(Severity::Fatal) => "FATAL",
    };
    let sentence = match model.is_read() {
        true => verdict.sentence,
        false => format!("{:.0}% of the files; so far: {}", 100.0 * model.read, verdict.sentence),
    };
    let mut rows = vec![(word, sentence, theme.severity(verdict.severity))];
    if let Some(first) = model.report.ranked().first() {
        rows.push(("cause", first.cause.clone(), theme.strong()));
        if let Some(remedy) = first.remedies.first() {
            rows.push(("try", format!("{}: {}", remedy.change, remedy.why), theme.strong()));
        }
    }
    rows
}

/// Draws the verdict in at most `most` lines. Returns their number.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &RunModel, most: u16, theme: Theme) -> u16 {
    let (mut rows, mut row) = (rows(model, theme), 0);
    rows.truncate(usize::from(most));
    let width = area.width.saturating_sub(LABELS + 1);
    let count = rows.len();
    for (index, (label, sentence, style)) in rows.into_iter().enumerate() {
        let later = (count - index - 1) as u16;
        let room = most.saturating_sub(row + later).min(if index == 0 { 3 } else { 2 });
        let lines = text::wrapped_in(&printable::line(&sentence), width, usize::from(room));
        text::put(buffer, area, row, 0, &format!(" {label} "), style);
        for line in lines {
            text::put(buffer, area, row, LABELS, &line, if index == 0 { theme.strong() } else { Style::new() });
            row += 1;
        }
    }
    row
}

/// The most important numbers in one line.
pub(super) fn draw_figures(buffer: &mut Buffer, area: Rect, model: &RunModel, theme: Theme) {
    let course = &model.report.course;
    let total = model.total_steps.map(|total| format!(" of {}", text::thousands(total))).unwrap_or_default();
    let last = |one: f64, other: f64| if one.is_nan() { other } else { one };
    let mut figures = vec![
        ("step", format!("{}{total}", text::thousands(model.steps()))),
        ("loss", text::figure(last(course.loss.last(), course.train_loss.last()))),
        ("val", text::figure(course.validation_loss.last())),
        ("accuracy", text::share(last(course.validation_accuracy.last(), course.train_accuracy.last()))),
        ("norm", text::figure(course.total_norm.last())),
        ("lr", text::figure(course.learning_rate.last())),
    ];
    if let Some(rate) = model.steps_per_sec {
        match model.images_per_step {
            Some(images) => figures.push(("images/s", text::figure((rate * images as f64).round()))),
            None => figures.push(("steps/s", text::figure(rate))),
        }
    }
    let mut line = Line::default();
    for (name, value) in figures.into_iter().filter(|(_, value)| value != "-") {
        let [name, value] = [format!(" {name} "), format!("{value} ")];
        // A number that does not fit is left out, not cut.
        if line.width() + name.len() + value.len() <= usize::from(area.width) + 1 {
            line.push_span(Span::styled(name, theme.faint()));
            line.push_span(Span::styled(value, theme.strong()));
        }
    }
    text::put_line(buffer, area, 0, &line);
}
