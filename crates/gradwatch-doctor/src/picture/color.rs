//! Colors of values.

/// Red, green, blue.
pub(crate) type Color = [u8; 3];

/// Color of text and frames.
pub(super) const INK: Color = [34, 34, 34];
/// Color of grid lines behind bars.
pub(super) const GRID: Color = [222, 222, 222];
/// Colors of bars and the fitted line: Okabe and Ito's blue and vermilion, distinguishable with any color vision.
pub(super) const BAR: Color = [0, 114, 178];
pub(super) const FIT: Color = [213, 94, 0];
/// Color of a line behind another one: a light shade of `BAR`.
pub(super) const FAINT: Color = [158, 202, 225];
/// Color of NaN.
pub(super) const UNKNOWN: Color = [200, 200, 200];
/// Color of infinity, far from every color of the map.
pub(super) const NOT_FINITE: Color = [255, 0, 255];
/// Color of negative infinity.
pub(super) const ZERO: Color = [0, 0, 0];

/// Color at a fraction of the way from the lowest to the highest value: viridis, with evenly increasing lightness.
pub(crate) fn at(fraction: f64) -> Color {
    let color = colorous::VIRIDIS.eval_continuous(fraction);
    [color.r, color.g, color.b]
}

/// Color of a non-finite value.
pub(super) fn of_non_finite(value: f64) -> Color {
    if value == f64::INFINITY {
        NOT_FINITE
    } else if value == f64::NEG_INFINITY {
        ZERO
    } else {
        UNKNOWN
    }
}

/// Legend entries for the special colors that appear.
pub(super) fn legend(values: &[f64]) -> Vec<(Color, &'static str)> {
    let mut entries = Vec::new();
    if values.iter().any(|value| value.is_nan()) {
        entries.push((UNKNOWN, "no value"));
    }
    if values.contains(&f64::NEG_INFINITY) {
        entries.push((ZERO, "zero"));
    }
    if values.contains(&f64::INFINITY) {
        entries.push((NOT_FINITE, "not finite"));
    }
    entries
}

/// Color at `[row, column]` of an image of channels x height x width: three channels are RGB, otherwise the first is
/// gray.
pub(super) fn pixel_of(pixels: &[u8], [channels, height, width]: [usize; 3], [row, column]: [usize; 2]) -> Color {
    let value = |channel: usize| pixels[(channel * height + row) * width + column];
    if channels == 3 { [0, 1, 2].map(value) } else { [value(0); 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_runs_from_viridis_purple_to_yellow() {
        // First and last entry of matplotlib's table.
        assert_eq!((at(0.0), at(1.0)), ([68, 1, 84], [253, 231, 37]));
        assert_eq!((at(-1.0), at(2.0)), (at(0.0), at(1.0)));
    }

    #[test]
    fn the_map_gets_lighter_at_every_step() {
        let lightness =
            |[red, green, blue]: Color| 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
        assert!((0..20).all(|step| {
            let fraction = f64::from(step) / 20.0;
            lightness(at(fraction)) < lightness(at(fraction + 0.05))
        }));
    }

    #[test]
    fn the_legend_names_only_what_there_is() {
        assert_eq!(legend(&[1.0]), []);
        assert_eq!(legend(&[1.0, f64::INFINITY, f64::NAN]), [(UNKNOWN, "no value"), (NOT_FINITE, "not finite")]);
        assert_eq!(legend(&[f64::NEG_INFINITY]), [(ZERO, "zero")]);
    }
}
