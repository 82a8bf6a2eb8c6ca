//! Random changes of colors and sharpness.

use serde::Serialize;

use super::super::{
    range::{Numbers, SHARE},
    reader::Section,
};

/// Largest change of a factor.
const STRENGTH: Numbers = Numbers::between(1e-6, 100.0).or_zero();
const HUE: Numbers = Numbers::between(1e-6, 0.5).or_zero();
const SIGMA: Numbers = Numbers::between(1e-3, 1000.0);
const BYTE: Numbers = Numbers::between(1e-6, 256.0).or_zero();

/// The `[data.augment.color_jitter]` table, validated: torchvision's `ColorJitter`. The changes come in random order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ColorJitter {
    /// Probability of any change.
    pub probability: f64,
    /// The factor is drawn from 1 - brightness to 1 + brightness, and not below 0.
    pub brightness: f64,
    /// The same for the contrast.
    pub contrast: f64,
    /// The same for the saturation.
    pub saturation: f64,
    /// Largest turn of the hue, as a fraction of the circle.
    pub hue: f64,
}

impl ColorJitter {
    /// No change.
    pub const OFF: Self = Self { probability: 1.0, brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 };

    /// Whether it changes any image.
    pub fn is_on(&self) -> bool {
        self.probability > 0.0 && [self.brightness, self.contrast, self.saturation, self.hue].iter().any(|x| *x > 0.0)
    }

    pub(super) fn read(mut table: Section<'_>, default: Self) -> Self {
        let config = Self {
            probability: table.number("probability", default.probability, &SHARE),
            brightness: table.number("brightness", default.brightness, &STRENGTH),
            contrast: table.number("contrast", default.contrast, &STRENGTH),
            saturation: table.number("saturation", default.saturation, &STRENGTH),
            hue: table.number("hue", default.hue, &HUE),
        };
        table.finish();
        config
    }
}

/// The `[data.augment.gaussian_blur]` table, validated: torchvision's `GaussianBlur`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GaussianBlur {
    /// Probability of a blur; 0 is off.
    pub probability: f64,
    /// Side of the kernel in pixels, odd.
    pub kernel_size: usize,
    /// Smallest and largest standard deviation in pixels.
    pub sigma: [f64; 2],
}

impl GaussianBlur {
    /// No blur.
    pub const OFF: Self = Self { probability: 0.0, kernel_size: 23, sigma: [0.1, 2.0] };

    pub(super) fn read(mut table: Section<'_>, default: Self) -> Self {
        let is_odd = |size: &usize| size % 2 == 1 && *size <= 255;
        let config = Self {
            probability: table.number("probability", default.probability, &SHARE),
            kernel_size: table.get("kernel_size", default.kernel_size, is_odd, "an odd integer from 1 to 255"),
            sigma: table.interval("sigma", default.sigma, &SIGMA),
        };
        table.finish();
        config
    }
}

/// The `[data.augment.solarize]` table, validated: torchvision's `RandomSolarize`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Solarize {
    /// Probability; 0 is off.
    pub probability: f64,
    /// Bytes from this value on are inverted.
    pub threshold: f64,
}

impl Solarize {
    /// No inversion.
    pub const OFF: Self = Self { probability: 0.0, threshold: 128.0 };

    pub(super) fn read(mut table: Section<'_>, default: Self) -> Self {
        let config = Self {
            probability: table.number("probability", default.probability, &SHARE),
            threshold: table.number("threshold", default.threshold, &BYTE),
        };
        table.finish();
        config
    }
}
