//! Draws the frames of docs/watch.md as text and SVG.
//!
//! `cargo run -p gradwatch-doctor --example watch_frames -- docs/watch`

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};

use gradwatch_doctor::watch::{Colors, ViewState, text};
use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

#[path = "../tests/demo/mod.rs"]
mod demo;

use demo::{ASCII, Kind, SIZES, ascii, model, rendered};

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = env::args_os().nth(1).ok_or("want the folder of the frames, docs/watch")?.into();
    fs::create_dir_all(&folder)?;
    let runs = tempfile::tempdir()?;
    for kind in Kind::ALL {
        let model = model(kind, runs.path());
        for size in SIZES {
            let name = format!("{}-{}x{}", kind.name(), size[0], size[1]);
            let plain = rendered(&model, &ViewState::default(), size, Colors::None);
            fs::write(folder.join(format!("{name}.txt")), text(&plain))?;
            let colored = rendered(&model, &ViewState::default(), size, Colors::True);
            fs::write(folder.join(format!("{name}.svg")), svg(&colored))?;
        }
    }
    let (kind, size, name) = ASCII;
    let model = model(kind, tempfile::tempdir()?.path());
    fs::write(folder.join(name), text(&ascii(&model, &ViewState::default(), size)))?;
    Ok(())
}

/// Width and height of a character, and distance of the baseline from its top, in drawing units.
const CELL: [u32; 2] = [8, 17];
const BASELINE: u32 = 13;
const INK: [u8; 3] = [0xd8, 0xd8, 0xd8];
const PAPER: [u8; 3] = [0x16, 0x16, 0x1a];

/// Look of a character: ink, paper, bold, dim.
type Look = ([u8; 3], [u8; 3], bool, bool);

fn look(cell: &Cell) -> Look {
    let color = |color: Color, other: [u8; 3]| match color {
        Color::Rgb(red, green, blue) => [red, green, blue],
        Color::White => [255; 3],
        Color::Black => [0; 3],
        _ => other,
    };
    let (ink, paper) = (color(cell.fg, INK), color(cell.bg, PAPER));
    let has = |modifier| cell.modifier.contains(modifier);
    let (ink, paper) = if has(Modifier::REVERSED) { (paper, ink) } else { (ink, paper) };
    (ink, paper, has(Modifier::BOLD), has(Modifier::DIM))
}

/// A frame as SVG: a rectangle and a text for each sequence of characters that look the same.
fn svg(buffer: &Buffer) -> String {
    let [width, height] = [u32::from(buffer.area.width) * CELL[0], u32::from(buffer.area.height) * CELL[1]];
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans Mono, \
         Menlo, Consolas, monospace\" font-size=\"13.2\" fill=\"{}\" xml:space=\"preserve\">\n<rect width=\"{width}\" \
         height=\"{height}\" fill=\"{}\"/>\n",
        hex(INK),
        hex(PAPER)
    );
    for (row, cells) in buffer.content.chunks(usize::from(buffer.area.width)).enumerate() {
        let mut column = 0;
        for group in cells.chunk_by(|one, other| look(one) == look(other)) {
            draw(&mut out, group, column, row as u32);
            column += group.len() as u32;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, group: &[Cell], column: u32, row: u32) {
    let (ink, paper, is_bold, is_dim) = look(&group[0]);
    let (x, y, width) = (column * CELL[0], row * CELL[1], group.len() as u32 * CELL[0]);
    // Writing to a String cannot fail.
    if paper != PAPER {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{}\" fill=\"{}\"/>",
            CELL[1],
            hex(paper)
        );
    }
    let text: String = group.iter().map(Cell::symbol).collect();
    let before = text.len() - text.trim_start().len();
    // Spaces at the ends, and several in a row, would be lost.
    let text = text.trim().replace(' ', "\u{a0}");
    if text.is_empty() {
        return;
    }
    let (x, count) = (x + before as u32 * CELL[0], text.chars().count() as u32);
    let weight = if is_bold { " font-weight=\"bold\"" } else { "" };
    let faint = if is_dim { " opacity=\".6\"" } else { "" };
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let length = if count > 3 { format!(" textLength=\"{}\"", count * CELL[0]) } else { String::new() };
    let ink = if ink == INK { String::new() } else { format!(" fill=\"{}\"", hex(ink)) };
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{}\"{length}{ink}{weight}{faint}>{text}</text>", y + BASELINE);
}

fn hex([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}
