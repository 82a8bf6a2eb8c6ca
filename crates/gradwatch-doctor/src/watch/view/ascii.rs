//! Frames in ASCII, for terminals without Unicode.

use ratatui::buffer::Buffer;

/// Replaces every character that is not ASCII: lines of charts and frames by similar characters, unknown ones by `?`.
pub(super) fn replace(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let Some(first) = cell.symbol().chars().next().filter(|_| !cell.symbol().is_ascii()) else { continue };
        cell.set_char(match first {
            '─' => '-',
            '│' => '|',
            '┌' | '┐' | '└' | '┘' => '+',
            '·' | '–' => '-',
            '■' => '#',
            '…' => '~',
            '°' => ' ',
            '\u{2800}'..='\u{28ff}' => line((first as u32 - 0x2800) as u8),
            _ => '?',
        });
    }
}

/// A character that looks like the dots of a braille pattern: its place and its slope. Unicode numbers the dots of the
/// left column 1, 2, 3, 7, from top to bottom, and those of the right one 4, 5, 6, 8; dot n is bit n - 1.
fn line(dots: u8) -> char {
    const LEFT: [u8; 4] = [0x01, 0x02, 0x04, 0x40];
    const RIGHT: [u8; 4] = [0x08, 0x10, 0x20, 0x80];
    let rows = |column: [u8; 4]| (0..4).filter(move |row| dots & column[*row] != 0);
    let middle = |column: [u8; 4]| {
        let count = rows(column).count();
        (count > 0).then(|| rows(column).sum::<usize>() as f64 / count as f64)
    };
    let all: Vec<usize> = rows(LEFT).chain(rows(RIGHT)).collect();
    let (Some(first), Some(last)) = (all.iter().min(), all.iter().max()) else { return ' ' };
    match (middle(LEFT), middle(RIGHT)) {
        (Some(left), Some(right)) if left - right >= 1.5 => '/',
        (Some(left), Some(right)) if right - left >= 1.5 => '\\',
        _ if last - first >= 2 => '|',
        _ => match (first + last) as f64 / 2.0 {
            0.0 => '\'',
            3.0 => '_',
            row if row < 2.5 => '-',
            _ => '.',
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_keep_their_place_and_slope() {
        // Both columns in the first, the second, and the last row; a full column; rising and falling diagonals.
        let lines = [0x09, 0x12, 0xc0, 0x47, 0x40 | 0x04 | 0x08, 0x01 | 0x20 | 0x80, 0x00].map(line);
        assert_eq!(lines, ['\'', '-', '_', '|', '/', '\\', ' ']);
        // Rows 3 and 4 of one column.
        assert_eq!(line(0x44), '.');
    }

    #[test]
    fn every_character_of_a_frame_is_ascii() {
        let mut buffer = Buffer::with_lines(["┌─ é · 猫 ─┐", "│⣿ 5 °C …■│"]);
        replace(&mut buffer);
        assert_eq!(crate::watch::text(&buffer), "+- ? - ?  -+\n|| 5  C ~#|\n");
    }
}
