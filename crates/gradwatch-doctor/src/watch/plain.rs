//! A frame as text.

use std::fmt::Write;

use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
    text::Span,
};

/// Lines of a frame, without spaces at their ends and without empty lines at the end.
pub fn text(buffer: &Buffer) -> String {
    let mut lines: Vec<String> = rows(buffer).map(|row| row.map(Cell::symbol).collect::<String>()).collect();
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines[..end].iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Lines of a frame with colors and attributes as escape sequences (ECMA-48, SGR).
pub(super) fn ansi(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in rows(buffer) {
        let mut before = String::new();
        for cell in row {
            let style = style_of(cell);
            if style != before {
                // Writing to a String cannot fail.
                let _ = write!(text, "\x1b[0{style}m");
                before = style;
            }
            text.push_str(cell.symbol());
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

/// Cells row by row, without those that a wide character before them covers.
fn rows(buffer: &Buffer) -> impl Iterator<Item = impl Iterator<Item = &Cell>> {
    let width = usize::from(buffer.area.width).max(1);
    buffer.content.chunks(width).map(|row| {
        let mut covered = 0;
        row.iter().filter(move |cell| {
            if covered > 0 {
                covered -= 1;
                return false;
            }
            covered = Span::raw(cell.symbol()).width().saturating_sub(1);
            true
        })
    })
}

fn style_of(cell: &Cell) -> String {
    let mut style = String::new();
    for (modifier, code) in [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::REVERSED, 7)] {
        if cell.modifier.contains(modifier) {
            let _ = write!(style, ";{code}");
        }
    }
    for (color, base) in [(cell.fg, 30), (cell.bg, 40)] {
        let _ = match color {
            Color::Rgb(red, green, blue) => write!(style, ";{};2;{red};{green};{blue}", base + 8),
            Color::Indexed(index) => write!(style, ";{};5;{index}", base + 8),
            Color::Black => write!(style, ";{base}"),
            Color::White => write!(style, ";{}", base + 67),
            _ => Ok(()),
        };
    }
    style
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn text_has_no_spaces_at_its_ends_and_wide_characters_count_once() {
        let mut buffer = Buffer::with_lines(["ab    ", "      ", " 猫 c  ", "      "]);
        assert_eq!(text(&buffer), "ab\n\n 猫 c\n");
        buffer.set_string(0, 0, "a", Style::new().add_modifier(Modifier::BOLD).fg(Color::Indexed(74)));
        let first = ansi(&buffer);
        assert!(first.starts_with("\x1b[0;1;38;5;74ma\x1b[0mb     \x1b[0m\n"), "{first:?}");
        assert_eq!(text(&Buffer::default()), "");
    }
}
