//! What colour a value has.

/// Red, green, blue.
pub(crate) type Colour = [u8; 3];

/// Text and frames.
pub(super) const INK: Colour = [34, 34, 34];
/// Lines behind bars.
pub(super) const GRID: Colour = [222, 222, 222];
/// Bars, and the line through them: the blue and the vermilion of Okabe and Ito, told apart with any colour vision.
pub(super) const BAR: Colour = [0, 114, 178];
pub(super) const FIT: Colour = [213, 94, 0];
/// NaN.
pub(super) const UNKNOWN: Colour = [200, 200, 200];
/// Infinity. Far from every colour of the map.
pub(super) const NOT_FINITE: Colour = [255, 0, 255];
/// Minus infinity.
pub(super) const ZERO: Colour = [0, 0, 0];

/// The colour at a fraction of the way from the lowest to the highest value: viridis, whose lightness rises evenly.
pub(crate) fn at(fraction: f64) -> Colour {
    let colour = colorous::VIRIDIS.eval_continuous(fraction);
    [colour.r, colour.g, colour.b]
}

/// The colour of a value that is not a number to be placed between others.
pub(super) fn of_non_finite(value: f64) -> Colour {
    if value == f64::INFINITY {
        NOT_FINITE
    } else if value == f64::NEG_INFINITY {
        ZERO
    } else {
        UNKNOWN
    }
}

/// What the colours outside the map mean, as far as there are such values.
pub(super) fn legend(values: &[f64]) -> Vec<(Colour, &'static str)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_runs_from_viridis_purple_to_yellow() {
        // The first and the last entry of matplotlib's table.
        assert_eq!((at(0.0), at(1.0)), ([68, 1, 84], [253, 231, 37]));
        assert_eq!((at(-1.0), at(2.0)), (at(0.0), at(1.0)));
    }

    #[test]
    fn the_map_gets_lighter_at_every_step() {
        let lightness =
            |[red, green, blue]: Colour| 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
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
