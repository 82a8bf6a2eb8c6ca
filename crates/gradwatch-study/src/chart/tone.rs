//! Colors, dashes, and markers of lines, for light and dark pages.

use std::fmt::Write;

/// A color on a light page and on a dark page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tone {
    /// CSS class.
    pub class: &'static str,
    /// Color on white, also the fallback of programs that know no media queries.
    pub light: &'static str,
    dark: &'static str,
}

pub(super) const PAPER: Tone = Tone { class: "paper", light: "#ffffff", dark: "#1b1d21" };
pub(super) const INK: Tone = Tone { class: "ink", light: "#1d1f23", dark: "#e9e9ec" };
pub(super) const MUTED: Tone = Tone { class: "muted", light: "#5a5f68", dark: "#a3a8b1" };
pub(super) const RULE: Tone = Tone { class: "rule", light: "#e2e2dd", dark: "#31343b" };
/// Heat map cells without a finite value.
pub(super) const EMPTY: Tone = Tone { class: "empty-cell", light: "#d9d9d4", dark: "#3a3d44" };

/// The colors of Okabe and Ito, darkest on white first; yellow, which is hardly visible on white, last. On a dark page,
/// blue and vermillion are lighter, and black is white.
const LINES: [Tone; 8] = [
    Tone { class: "tone-blue", light: "#0072b2", dark: "#4aa8e0" },
    Tone { class: "tone-vermillion", light: "#d55e00", dark: "#f0813a" },
    Tone { class: "tone-green", light: "#009e73", dark: "#2fc79b" },
    Tone { class: "tone-purple", light: "#cc79a7", dark: "#dc93bb" },
    Tone { class: "tone-orange", light: "#e69f00", dark: "#e69f00" },
    Tone { class: "tone-sky", light: "#56b4e9", dark: "#8fd0f5" },
    Tone { class: "tone-black", light: "#000000", dark: "#ffffff" },
    Tone { class: "tone-yellow", light: "#b8a800", dark: "#f0e442" },
];

/// Look of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub tone: Tone,
    /// `stroke-dasharray`.
    pub dash: &'static str,
    pub marker: Marker,
}

impl Style {
    /// `fill-opacity` of a bar, which has no dash: lighter each time the colors repeat.
    pub(super) fn opacity(self) -> &'static str {
        match DASHES.iter().position(|dash| *dash == self.dash) {
            Some(0) | None => "0.85",
            Some(1) => "0.5",
            Some(_) => "0.25",
        }
    }
}

/// Shape of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    TriangleDown,
}

const MARKERS: [Marker; 5] = [Marker::Circle, Marker::Square, Marker::Triangle, Marker::Diamond, Marker::TriangleDown];
const DASHES: [&str; 3] = ["none", "7 4", "2 3"];

/// Style of the line with this index. All 40 combinations of color and marker differ; after 8 lines, the dash changes.
pub(super) fn style(index: usize) -> Style {
    Style {
        tone: LINES[index % LINES.len()],
        dash: DASHES[index / LINES.len() % DASHES.len()],
        marker: MARKERS[index % MARKERS.len()],
    }
}

impl Marker {
    /// SVG path around the point, about 8 pixels wide.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Circle => "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
            Self::Square => "M-3.3-3.3h6.6v6.6h-6.6z",
            Self::Triangle => "M0-4.4L4.2 3.1h-8.4z",
            Self::Diamond => "M0-4.8L4.8 0L0 4.8L-4.8 0z",
            Self::TriangleDown => "M0 4.4L4.2-3.1h-8.4z",
        }
    }
}

/// Style sheet that changes the colors on a dark page.
pub(crate) fn dark_style() -> String {
    let mut rules = String::new();
    for tone in LINES.iter().chain([&PAPER, &INK, &MUTED, &RULE, &EMPTY]) {
        // Writing to a String cannot fail.
        let _ = write!(rules, ".{}{{color:{}}}", tone.class, tone.dark);
    }
    format!("@media (prefers-color-scheme:dark){{{rules}}}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn forty_lines_look_different() {
        let looks: HashSet<_> = (0..40).map(|index| (style(index).tone.class, style(index).marker.path())).collect();
        assert_eq!(looks.len(), 40);
        assert_eq!((style(0).dash, style(8).dash, style(0).tone), ("none", "7 4", style(8).tone));
        let bars: HashSet<_> = (0..24).map(|index| (style(index).tone.class, style(index).opacity())).collect();
        assert_eq!(bars.len(), 24);
    }

    #[test]
    fn the_colors_are_those_of_okabe_and_ito() {
        // Their palette has black and seven colors. Yellow is darkened, to be seen on white.
        let palette = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
        assert_eq!(LINES.map(|tone| tone.light)[..7], palette);
        assert!(dark_style().contains(".tone-black{color:#ffffff}"));
    }
}
