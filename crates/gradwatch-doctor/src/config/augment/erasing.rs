//! Random erasing.

use serde::Serialize;

use super::super::{
    names::named_enum,
    range::{AREA_SHARE, ASPECT_RATIO, SHARE},
    reader::Section,
};

named_enum! {
    /// Content of an erased rectangle, after normalization.
    pub enum EraseFill {
        /// 0, which is the mean of normalized images.
        Zero = "zero",
        /// One normal random number per channel, as with timm's mode `rand`.
        Channel = "channel",
        /// One normal random number per pixel and channel, as with torchvision's value `random` and timm's mode
        /// `pixel`.
        Pixel = "pixel",
    }
}

/// The `[data.augment.random_erasing]` table, validated: `RandomErasing` of torchvision and timm. Zhong et al. 2020.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RandomErasing {
    /// Probability; 0 is off.
    pub probability: f64,
    /// Smallest and largest fraction of the image's area, for all rectangles together.
    pub scale: [f64; 2],
    /// Smallest and largest aspect ratio (height / width).
    pub ratio: [f64; 2],
    /// Content of the rectangles.
    pub fill: EraseFill,
    /// Number of rectangles.
    pub count: usize,
}

impl RandomErasing {
    /// Nothing is erased.
    pub const OFF: Self =
        Self { probability: 0.0, scale: [0.02, 0.33], ratio: [0.3, 3.3], fill: EraseFill::Zero, count: 1 };

    pub(super) fn read(mut table: Section<'_>, default: Self) -> Self {
        let config = Self {
            probability: table.number("probability", default.probability, &SHARE),
            scale: table.interval("scale", default.scale, &AREA_SHARE),
            ratio: table.interval("ratio", default.ratio, &ASPECT_RATIO),
            fill: table.choice("fill", default.fill),
            count: table.count("count", default.count, 1..=100),
        };
        table.finish();
        config
    }
}
