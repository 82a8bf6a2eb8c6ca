//! Random rotation, translation, zoom, and shear.

use serde::Serialize;

use super::super::{
    range::{Numbers, SHARE},
    reader::Section,
};
use super::Sampling;

const DEGREES: Numbers = Numbers::between(1e-6, 180.0).or_zero();
const SHEAR: Numbers = Numbers::between(1e-6, 89.0).or_zero();
const ZOOM: Numbers = Numbers::between(0.01, 100.0);

/// The `[data.augment.affine]` table, validated: torchvision's `RandomAffine`, and its `RandomRotation` if only
/// `degrees` is set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RandomAffine {
    /// Largest rotation in degrees, in either direction.
    pub degrees: f64,
    /// Largest translation, as a fraction of the width and of the height.
    pub translate: [f64; 2],
    /// Smallest and largest zoom.
    pub scale: [f64; 2],
    /// Largest horizontal shear in degrees, in either direction.
    pub shear: f64,
    /// Interpolation.
    pub interpolation: Sampling,
}

impl RandomAffine {
    /// No change.
    pub const OFF: Self =
        Self { degrees: 0.0, translate: [0.0; 2], scale: [1.0; 2], shear: 0.0, interpolation: Sampling::Nearest };

    /// Whether it changes any image.
    pub fn is_on(&self) -> bool {
        Self { interpolation: Sampling::Nearest, ..*self } != Self::OFF
    }

    pub(super) fn read(mut table: Section<'_>, default: Self) -> Self {
        let are_shares = |pair: &[f64; 2]| pair.iter().all(|share| SHARE.has(share));
        let config = Self {
            degrees: table.number("degrees", default.degrees, &DEGREES),
            translate: table.get(
                "translate",
                default.translate,
                are_shares,
                "[horizontal, vertical], each from 0 to 1",
            ),
            scale: table.interval("scale", default.scale, &ZOOM),
            shear: table.number("shear", default.shear, &SHEAR),
            interpolation: table.choice("interpolation", default.interpolation),
        };
        table.finish();
        config
    }
}
