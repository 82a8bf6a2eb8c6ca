//! Colors and text attributes, readable with any color vision and without colors.

use std::env;

use ratatui::style::{Color, Modifier, Style};

use crate::{diagnosis::Severity, picture::color, watch::RunState};

/// Colors of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colors {
    /// None: only bold, dim, and reversed text.
    #[default]
    None,
    /// 256 colors.
    Indexed,
    /// 24 bits.
    True,
}

/// Okabe and Ito's colors, which any color vision tells apart, on dark and light backgrounds.
const SKY: [u8; 3] = [86, 180, 233];
const ORANGE: [u8; 3] = [230, 159, 0];
const GREEN: [u8; 3] = [0, 158, 115];
const VERMILION: [u8; 3] = [213, 94, 0];
const PURPLE: [u8; 3] = [204, 121, 167];
const BLUE: [u8; 3] = [0, 114, 178];

/// Styles of all parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Theme {
    colors: Colors,
    is_ascii: bool,
}

impl Theme {
    /// Uses these colors.
    pub fn new(colors: Colors) -> Self {
        Self { colors, is_ascii: false }
    }

    /// Uses only ASCII, or also box drawings and braille patterns.
    pub fn with_ascii(self, is_ascii: bool) -> Self {
        Self { is_ascii, ..self }
    }

    /// Whether the frames are ASCII.
    pub fn is_ascii(self) -> bool {
        self.is_ascii
    }

    /// Chooses the colors by the variables NO_COLOR, TERM, and COLORTERM, and the characters by the locale.
    pub fn of_environment() -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        Self::new(colors_of(&variable("NO_COLOR"), &variable("TERM"), &variable("COLORTERM"))).with_locale()
    }

    /// Uses only ASCII if the variables LC_ALL, LC_CTYPE, and LANG name a locale without UTF-8, or if TERM is the Linux
    /// console, whose font has no braille patterns.
    pub fn with_locale(self) -> Self {
        let variable = |name| env::var_os(name).unwrap_or_default().to_string_lossy().into_owned();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(variable);
        self.with_ascii(lacks_unicode(&locale, &variable("TERM")))
    }

    /// Whether there are colors.
    pub fn has_colors(self) -> bool {
        self.colors != Colors::None
    }

    fn color(self, [red, green, blue]: [u8; 3]) -> Color {
        match self.colors {
            Colors::None => Color::Reset,
            Colors::True => Color::Rgb(red, green, blue),
            Colors::Indexed => {
                // 16 to 231: a cube of 6 levels, of which the first is 0 and the others are 55 + 40 n.
                let level = |value: u8| if value < 48 { 0 } else { (value.saturating_sub(35) / 40).clamp(1, 5) };
                Color::Indexed(16 + 36 * level(red) + 6 * level(green) + level(blue))
            }
        }
    }

    fn foreground(self, color: [u8; 3]) -> Style {
        Style::new().fg(self.color(color))
    }

    /// Curve of training values.
    pub(super) fn train(self) -> Style {
        self.foreground(SKY)
    }

    /// Curve of validation values.
    pub(super) fn validation(self) -> Style {
        self.foreground(ORANGE)
    }

    /// Curve of the run with this number among several.
    pub(super) fn run(self, number: usize) -> Style {
        self.foreground([SKY, ORANGE, GREEN, PURPLE, VERMILION, BLUE][number % 6])
    }

    /// Frames, axes, and secondary text.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Titles and names.
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The selected row, and the header.
    pub(super) fn reversed(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Word for a severity; `None` is healthy.
    pub(super) fn severity(self, severity: Option<Severity>) -> Style {
        let color = match severity {
            None => GREEN,
            Some(Severity::Info) => SKY,
            Some(Severity::Warning) => ORANGE,
            Some(Severity::Critical | Severity::Fatal) => VERMILION,
        };
        let style = self.foreground(color).add_modifier(Modifier::BOLD);
        if severity >= Some(Severity::Critical) { style.add_modifier(Modifier::REVERSED) } else { style }
    }

    /// Word for the state of a run.
    pub(super) fn state(self, state: RunState) -> Style {
        match state {
            RunState::Training => self.foreground(GREEN).add_modifier(Modifier::BOLD),
            RunState::Stalled => self.foreground(VERMILION).add_modifier(Modifier::BOLD),
            RunState::Stopped => self.foreground(ORANGE),
            RunState::Finished | RunState::Silent => Style::new(),
        }
    }

    /// Cell of a heat map at a fraction of the way from the lowest to the highest value: its character and style. The
    /// character alone tells the value.
    pub(super) fn heat(self, fraction: f64) -> (char, Style) {
        const RAMP: [char; 10] = ['.', ':', '-', '=', '+', '*', 'o', '#', '%', '@'];
        let fraction = fraction.clamp(0.0, 1.0);
        let index = (fraction * RAMP.len() as f64) as usize;
        let ink = if fraction < 0.6 { Color::White } else { Color::Black };
        let style = match self.colors {
            Colors::None => Style::new(),
            _ => Style::new().bg(self.color(color::at(fraction))).fg(ink),
        };
        (RAMP[index.min(RAMP.len() - 1)], style)
    }

    /// Cell with a value that is not finite.
    pub(super) fn not_finite(self) -> (char, Style) {
        ('!', self.foreground([255, 0, 255]).add_modifier(Modifier::BOLD | Modifier::REVERSED))
    }
}

/// Whether the first of these locales that is set has no UTF-8. Containers often set none of them, and nearly all
/// terminals have UTF-8.
fn lacks_unicode(locales: &[String; 3], term: &str) -> bool {
    let locale = locales.iter().find(|locale| !locale.is_empty()).map(|locale| locale.to_ascii_lowercase());
    term == "linux" || locale.is_some_and(|locale| !locale.contains("utf-8") && !locale.contains("utf8"))
}

/// Colors for the values of NO_COLOR, TERM, and COLORTERM.
fn colors_of(no_color: &str, term: &str, color_term: &str) -> Colors {
    match (no_color, term, color_term) {
        ("", "" | "dumb", _) => Colors::None,
        ("", _, "truecolor" | "24bit") => Colors::True,
        ("", _, _) => Colors::Indexed,
        _ => Colors::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_choose_the_colors() {
        assert_eq!(colors_of("1", "xterm-256color", "truecolor"), Colors::None);
        assert_eq!(colors_of("", "dumb", "truecolor"), Colors::None);
        assert_eq!(colors_of("", "xterm-256color", ""), Colors::Indexed);
        assert_eq!(colors_of("", "xterm", "truecolor"), Colors::True);
    }

    #[test]
    fn the_first_locale_that_is_set_chooses_the_characters() {
        let lacks = |locales: [&str; 3]| lacks_unicode(&locales.map(str::to_owned), "xterm-256color");
        assert!(!lacks(["", "", ""]) && !lacks(["", "", "en_US.UTF-8"]) && !lacks(["C.utf8", "C", "C"]));
        assert!(lacks(["", "", "C"]) && lacks(["", "de_DE@euro", "C.UTF-8"]) && lacks(["POSIX", "", "C.UTF-8"]));
        assert!(lacks_unicode(&Default::default(), "linux"));
    }

    #[test]
    fn indexed_colors_are_near_and_characters_tell_the_value_without_colors() {
        // 86, 180, and 233 are nearest to 95, 175, and 215: levels 1, 3, and 4.
        assert_eq!(Theme::new(Colors::Indexed).train().fg, Some(Color::Indexed(16 + 36 + 18 + 4)));
        let ramp: String = (0..10).map(|tenth| Theme::default().heat(f64::from(tenth) / 9.0).0).collect();
        assert_eq!(ramp, ".:-=+*o#%@");
        assert_eq!(Theme::default().heat(0.5).1, Style::new());
    }
}
