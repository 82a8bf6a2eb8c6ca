//! The `[data.augment]` table: random augmentation of training images.

use serde::Serialize;

use super::{
    range::{AREA_SHARE, ASPECT_RATIO, SHARE},
    reader::Section,
};

/// Random augmentation of training images. With everything off, images are unchanged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Augment {
    /// Zero padding in pixels on each side before a crop back to the original size; 0 is off.
    pub random_crop: usize,
    /// Whether to crop a random area and aspect ratio and resize it to the original size.
    pub random_resized_crop: bool,
    /// Smallest and largest fraction of the area that `random_resized_crop` keeps.
    pub scale: [f64; 2],
    /// Smallest and largest aspect ratio (width / height) of `random_resized_crop`.
    pub ratio: [f64; 2],
    /// Probability of a vertical flip.
    pub hflip: f64,
    /// Probability of an upside-down flip.
    pub vflip: f64,
    /// Side in pixels of a random square that is set to the mean; 0 is off.
    pub cutout: usize,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            random_crop: 0,
            random_resized_crop: false,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            hflip: 0.0,
            vflip: 0.0,
            cutout: 0,
        }
    }
}

impl Augment {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            random_crop: table.count("random_crop", default.random_crop, 0..=1024),
            random_resized_crop: table.any("random_resized_crop", default.random_resized_crop),
            scale: table.interval("scale", default.scale, &AREA_SHARE),
            ratio: table.interval("ratio", default.ratio, &ASPECT_RATIO),
            hflip: table.number("hflip", default.hflip, &SHARE),
            vflip: table.number("vflip", default.vflip, &SHARE),
            cutout: table.count("cutout", default.cutout, 0..=8192),
        };
        if config.random_crop > 0 && config.random_resized_crop {
            table.problem("random_crop", "both random_crop and random_resized_crop are on; want only one");
        }
        table.finish();
        config
    }
}
