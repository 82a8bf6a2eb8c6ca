//! Verdict, cause, and change at the top of a run.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Theme, text};
use crate::{
    diagnosis::Severity,
    printable,
    report::Series,
    watch::{Page, RunModel, RunSummary},
};

/// Width of the labels, in columns.
const LABELS: u16 = 10;

/// A label, a text, and the style of the label.
pub(super) type Row = (&'static str, String, Style);

/// Rows of the verdict above a page: each label with its text.
fn rows(model: &RunModel, page: Page, theme: Theme) -> Vec<Row> {
    if let Some(problem) = &model.problem {
        return vec![("NO DATA", problem.clone(), theme.severity(Some(Severity::Warning)))];
    }
    let verdict = model.report.verdict();
    let word = match verdict.severity {
        _ if !model.is_read() => "reading",
        None if model.steps() == 0 && model.report.course.evaluations() == 0 => "waiting",
        None => "OK",
        Some(severity) => of_severity(severity),
    };
    let mut sentence = verdict.sentence;
    if model.report.findings.is_empty() && !model.report.not_judged.is_empty() && page != Page::Findings {
        sentence = format!("{} (press 4 to list them).", sentence.trim_end_matches('.'));
    }
    if let Some(step) = model.loss().broken_since().filter(|_| !sentence.contains("the loss is not finite")) {
        sentence = format!("The loss is NaN since step {step}. {sentence}");
    }
    if !model.is_read() {
        sentence = format!("{:.0}% of the files; so far: {sentence}", 100.0 * model.read);
    }
    let mut rows = vec![(word, sentence, theme.severity(verdict.severity))];
    if let Some(first) = model.report.ranked().first() {
        rows.push(("cause", first.cause.clone(), theme.strong()));
        if let Some(remedy) = first.remedies.first() {
            rows.push(("try", format!("{}: {}", remedy.change, remedy.why), theme.strong()));
        }
    }
    rows
}

/// Rows of the verdict of a run in a table.
pub(super) fn summary_rows(run: &RunSummary, theme: Theme) -> Vec<Row> {
    let (word, style) = word_of(run, theme);
    let more = [("cause", &run.cause), ("try", &run.change)].into_iter().filter(|(_, text)| !text.is_empty());
    let more = more.map(|(label, text)| (label, text.clone(), theme.strong()));
    std::iter::once((word, run.verdict.clone(), style)).chain(more).collect()
}

/// Word for the verdict of a run in a table, and its style.
pub(super) fn word_of(run: &RunSummary, theme: Theme) -> (&'static str, Style) {
    let severity = if run.has_problem { Some(Severity::Warning) } else { run.severity };
    let word = match run.severity {
        _ if !run.is_read => return ("reading", theme.faint()),
        _ if run.has_problem => "NO DATA",
        Some(severity) => of_severity(severity),
        None => "OK",
    };
    (word, theme.severity(severity))
}

fn of_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "NOTE",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
        Severity::Fatal => "FATAL",
    }
}

/// Draws the verdict above a page in at most `most` lines. Returns their number.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &RunModel, (page, most): (Page, u16), theme: Theme) -> u16 {
    let more = if page == Page::Findings { "…" } else { "… press 4" };
    draw_rows(buffer, area, rows(model, page, theme), (most, more), theme)
}

/// Draws rows in at most `most` lines. A text without room ends in `more`. Returns the number of lines.
pub(super) fn draw_rows(
    buffer: &mut Buffer,
    area: Rect,
    mut rows: Vec<Row>,
    (most, more): (u16, &str),
    theme: Theme,
) -> u16 {
    let mut row = 0;
    rows.truncate(usize::from(most));
    let width = area.width.saturating_sub(LABELS + 1);
    let texts: Vec<String> = rows.iter().map(|(_, sentence, _)| printable::line(sentence).into_owned()).collect();
    let mut rooms: Vec<usize> = texts.iter().map(|text| text::wrapped(text, width).len()).collect();
    // The longest text gives way, of equals the last one.
    while rooms.iter().sum::<usize>() > usize::from(most) {
        let Some(longest) = rooms.iter_mut().max() else { break };
        *longest -= 1;
    }
    for (index, (text, (label, _, style))) in texts.iter().zip(rows).enumerate() {
        let lines = text::wrapped_in(text, width, rooms[index], more);
        text::put(buffer, area, row, 0, &format!(" {label} "), style);
        for line in lines {
            text::put(buffer, area, row, LABELS, &line, if index == 0 { theme.strong() } else { Style::new() });
            row += 1;
        }
    }
    row
}

/// The latest validation loss, with its step if the training loss was finite only until later.
fn validation(model: &RunModel) -> String {
    let series = &model.report.course.validation_loss;
    let latest = text::latest(series, text::figure);
    match (model.loss().broken_since(), series.last_step()) {
        (Some(since), Some(step)) if step < since && !series.is_broken() => format!("{latest} (step {step})"),
        _ => latest,
    }
}

/// The most important numbers in one line.
pub(super) fn draw_figures(buffer: &mut Buffer, area: Rect, model: &RunModel, theme: Theme) {
    let course = &model.report.course;
    let total = model.total_steps.map(|total| format!(" of {}", text::thousands(total))).unwrap_or_default();
    let first = |one: &Series, other: &Series, figure| match one.buckets() {
        [] => text::latest(other, figure),
        _ => text::latest(one, figure),
    };
    let mut figures = vec![
        ("step", format!("{}{total}", text::thousands(model.steps()))),
        ("loss", text::latest(model.loss(), text::figure)),
        ("val", validation(model)),
        ("accuracy", first(&course.validation_accuracy, &course.train_accuracy, text::share)),
        ("norm", text::latest(&course.total_norm, text::figure)),
        ("lr", text::latest(&course.learning_rate, text::figure)),
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
