//! Text in a part of the screen, and numbers for people.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::Line,
    widgets::{Block, BorderType, Widget},
};

use super::Theme;
use crate::{number::short, report::Series};

/// Writes text into a row of an area, cut at its right end. Returns the column after it.
pub(super) fn put(buffer: &mut Buffer, area: Rect, row: u16, column: u16, text: &str, style: Style) -> u16 {
    if row >= area.height || column >= area.width {
        return column;
    }
    let room = usize::from(area.width - column);
    // Nothing of the style below, such as that of a frame, stays.
    let style = Style::reset().patch(style);
    let (x, _) = buffer.set_stringn(area.x + column, area.y + row, text, room, style);
    x - area.x
}

/// Writes a line of several styles into a row of an area.
pub(super) fn put_line(buffer: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    let mut column = 0;
    for span in &line.spans {
        column = put(buffer, area, row, column, &span.content, span.style);
    }
}

/// Draws a frame with a title, and returns the area inside.
pub(super) fn frame(buffer: &mut Buffer, area: Rect, title: &str, theme: Theme) -> Rect {
    let title = Line::styled(format!(" {title} "), theme.strong());
    let block = Block::bordered().border_type(BorderType::Plain).border_style(theme.faint()).title(title);
    let inner = block.inner(area);
    block.render(area, buffer);
    inner
}

/// Breaks a text into lines of at most `width` columns.
pub(super) fn wrapped(text: &str, width: u16) -> Vec<String> {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    textwrap::wrap(&words, usize::from(width.max(1))).into_iter().map(|line| line.into_owned()).collect()
}

/// Breaks a text into at most `most` lines; the last one ends in `more`, such as `…`, if there are more.
pub(super) fn wrapped_in(text: &str, width: u16, most: usize, more: &str) -> Vec<String> {
    let mut lines = wrapped(text, width);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = ended(last, usize::from(width), more);
        }
    }
    lines
}

/// The text if it fits into `width` columns; otherwise its start and `more`, such as `…`.
pub(super) fn cut(text: &str, width: u16, more: &str) -> String {
    let width = usize::from(width);
    if Line::raw(text).width() <= width { text.to_owned() } else { ended(text, width, more) }
}

/// As much of a text as fits into `width` columns before `more`, up to the end of a word if there is one.
fn ended(text: &str, width: usize, more: &str) -> String {
    let room = width.saturating_sub(Line::raw(more).width());
    let mut start = String::new();
    for character in text.chars() {
        start.push(character);
        if Line::raw(start.as_str()).width() > room {
            start.pop();
            start.truncate(start.rfind(' ').unwrap_or(start.len()));
            break;
        }
    }
    start + more
}

/// A duration: `4 s`, `12 min`, `3 h 20 min`, `5 d`.
pub(super) fn duration(secs: f64) -> String {
    let secs = secs.max(0.0);
    match secs {
        secs if secs < 99.5 => format!("{secs:.0} s"),
        secs if secs < 99.5 * 60.0 => format!("{:.0} min", secs / 60.0),
        secs if secs < 48.0 * 3600.0 => {
            let minutes = (secs / 60.0).round() as u64;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
        secs if secs < 1e10 => format!("{:.0} d", secs / 86400.0),
        _ => "inf".into(),
    }
}

/// A count with thousands apart: `12,345`.
pub(super) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with about four digits; `-` for NaN.
pub(super) fn figure(value: f64) -> String {
    if value.is_nan() { "-".into() } else { short(value) }
}

/// The latest value of a series, if there is one, and NaN if the latest values are not finite.
pub(super) fn latest(series: &Series, figure: fn(f64) -> String) -> String {
    if series.is_broken() { "NaN".into() } else { figure(series.last()) }
}

/// A share in percent; `-` for NaN.
pub(super) fn share(value: f64) -> String {
    if value.is_nan() { "-".into() } else { format!("{:.1}%", 100.0 * value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_counts_are_short() {
        let texts = [0.0, 99.0, 100.0, 5900.0, 7200.0, 200_000.0, 3e5, f64::INFINITY].map(duration);
        assert_eq!(texts, ["0 s", "99 s", "2 min", "98 min", "2 h 00 min", "2 d", "3 d", "inf"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([figure(f64::NAN), share(f64::NAN), share(0.1234)], ["-", "-", "12.3%"]);
    }

    #[test]
    fn a_loss_that_is_no_longer_finite_is_nan_and_not_its_last_number() {
        let mut series = Series::default();
        assert_eq!(latest(&series, figure), "-");
        series.add(0, 2.5);
        assert_eq!(latest(&series, figure), "2.5");
        series.add(1, f64::INFINITY);
        assert_eq!(latest(&series, figure), "NaN");
    }

    #[test]
    fn long_text_is_broken_at_words_and_cut() {
        assert_eq!(wrapped("one two\n three", 7), ["one two", "three"]);
        assert_eq!(wrapped_in("one two three four", 7, 2, "…"), ["one two", "three…"]);
        assert_eq!(wrapped_in("one two three four", 13, 1, "… press 4"), ["one… press 4"]);
        let cuts = [("one two", 7), ("one two", 6), ("onetwo", 4), ("猫猫猫", 4)];
        assert_eq!(cuts.map(|(text, width)| cut(text, width, "…")), ["one two", "one…", "one…", "猫…"]);
    }

    #[test]
    fn nothing_is_written_outside_of_an_area() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 2));
        let area = Rect::new(1, 0, 3, 1);
        assert_eq!(put(&mut buffer, area, 0, 1, "abcdef", Style::new()), 3);
        put(&mut buffer, area, 1, 0, "x", Style::new());
        put(&mut buffer, area, 0, 3, "x", Style::new());
        assert_eq!(buffer, Buffer::with_lines(["  ab  ", "      "]));
    }
}
