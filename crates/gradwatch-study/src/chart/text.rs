//! Text in charts: its width, shortening, and removal of control characters.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef};
use gradwatch_doctor::{picture::axis::shorten, printable};
use maud::{Markup, html};

use super::tone::Tone;

/// Size of ticks and legends, in pixels per em.
pub(super) const SMALL: f64 = 12.5;
/// Size of the marks of missing values.
pub(super) const MARK: f64 = 11.5;
/// Size of axis labels and panel names.
pub(super) const LABEL: f64 = 13.5;
/// Size of the title.
pub(super) const TITLE: f64 = 17.0;

/// A proportional font without serifs. Browsers use the font of their system instead, so widths have some room.
static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT)
        .expect("the font is a constant that a test measures with")
});
/// Width of DejaVu Sans, the widest of the common fonts of systems, relative to [`FONT`].
const ROOM: f64 = 1.18;
/// Width of a character that the font does not have, in em.
const WIDEST: f64 = 1.0;

/// Width of a text, in pixels.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let em = f64::from(FONT.units_per_em().unwrap_or(1000.0));
    let advance = |character: char| match FONT.glyph_id(character) {
        ab_glyph::GlyphId(0) => WIDEST,
        glyph => f64::from(FONT.h_advance_unscaled(glyph)) / em,
    };
    ROOM * size * text.chars().map(advance).sum::<f64>()
}

/// Shortens a text to a width by cutting out its middle.
pub(super) fn fit(text: &str, size: f64, most: f64) -> String {
    let text = plain(text);
    let mut count = text.chars().count();
    let mut short = shorten(&text, count);
    while count > 1 && width(&short, size) > most {
        count -= 1;
        short = shorten(&text, count);
    }
    short
}

/// Joins words to lines that fit into a width. A word that is too long has a line of its own.
pub(super) fn lines(words: &[&str], separator: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if width(&format!("{line}{separator}{word}"), size) <= most => {
                line.push_str(separator);
                line.push_str(word);
            }
            _ => lines.push((*word).to_owned()),
        }
    }
    lines
}

/// A text in lines that fit into a width, broken between words.
pub(super) fn wrapped(text: &str, size: f64, most: f64) -> Vec<String> {
    let text = plain(text);
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    lines(&words, " ", size, most)
}

/// A text without control characters, which XML forbids, and without changes of direction.
pub(crate) fn plain(text: &str) -> String {
    let printed = printable::line(text);
    // XML forbids these two although they are not controls.
    printed.chars().filter(|character| !matches!(character, '\u{fffe}' | '\u{ffff}')).collect()
}

/// Position of a text relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// Draws a text whose vertical middle is at `y`.
pub(super) fn text([x, y]: [f64; 2], size: f64, anchor: Anchor, tone: Tone, content: &str) -> Markup {
    html! {
        text class=(tone.class) color=(tone.light) fill="currentColor" x=(px(x)) y=(px(y + 0.35 * size))
            font-size=(px(size)) text-anchor=(anchor.name()) { (content) }
    }
}

/// Draws a text turned by `degrees` around its anchor point.
pub(super) fn turned([x, y]: [f64; 2], degrees: f64, size: f64, anchor: Anchor, tone: Tone, content: &str) -> Markup {
    html! {
        text class=(tone.class) color=(tone.light) fill="currentColor" y=(px(0.35 * size)) font-size=(px(size))
            text-anchor=(anchor.name()) transform={ "translate(" (px(x)) " " (px(y)) ") rotate(" (px(degrees)) ")" } {
                (content)
            }
    }
}

/// A coordinate with one decimal.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".into(),
        Some(whole) => whole.into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_have_one_decimal_at_most() {
        assert_eq!([0.0, -0.04, 12.0, 12.34, -3.5, 99.96].map(px), ["0", "0", "12", "12.3", "-3.5", "100"]);
    }

    #[test]
    fn a_text_is_shortened_in_its_middle_until_it_fits() {
        let name = "kaiming_normal with fan_out and a learning rate of 0.05";
        let short = fit(name, SMALL, 120.0);
        assert!(width(&short, SMALL) <= 120.0 && width(&short, SMALL) > 100.0, "{short}");
        assert!(short.starts_with("kaiming") && short.ends_with("0.05") && short.contains('…'), "{short}");
        assert_eq!(fit("relu", SMALL, 120.0), "relu");
        assert_eq!(fit("relu", SMALL, 0.0), "…");
    }

    #[test]
    fn words_are_joined_to_lines_that_fit() {
        let most = width("one two", SMALL);
        assert_eq!(lines(&["one", "two", "three", "4"], " ", SMALL, most), ["one two", "three 4"]);
        assert_eq!(lines(&["one", "two"], " ", SMALL, 1.0), ["one", "two"]);
        assert!(lines(&[], " ", SMALL, 1.0).is_empty());
    }

    #[test]
    fn a_text_has_no_character_that_xml_forbids() {
        assert_eq!(plain("a\u{0}b\u{1b}\u{fffe}\n"), "a\\u0000b\\u001b\\u000a");
    }

    #[test]
    fn the_font_has_the_characters_of_labels() {
        for character in "AZaz09.,=±−×–…µ()_%".chars() {
            assert_ne!(FONT.glyph_id(character), ab_glyph::GlyphId(0), "{character}");
        }
        // Twice the text is twice as wide.
        assert!((width("abab", 10.0) - 2.0 * width("ab", 10.0)).abs() < 1e-9);
    }
}
