//! Mixtures of two images and their labels.

use serde::Serialize;

use super::super::{
    names::named_enum,
    range::{Numbers, SHARE},
    reader::Section,
};

const ALPHA: Numbers = Numbers::between(1e-3, 1000.0).or_zero();

named_enum! {
    /// What shares the draws of a mixture.
    pub enum MixMode {
        /// All images of a micro-batch.
        Batch = "batch",
        /// Each image has its own.
        Image = "image",
    }
}

/// The `[data.augment.mixing]` table, validated: timm's `Mixup`, which is torchvision's `MixUp` and `CutMix` with a
/// switch between them. Each image is mixed with the one at the same place from the end of the micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mixing {
    /// Both parameters of the beta distribution of mixup's weights; 0 is off. Zhang et al. 2018.
    pub mixup: f64,
    /// Both parameters of the beta distribution of CutMix's areas; 0 is off. Yun et al. 2019.
    pub cutmix: f64,
    /// Probability of a mixture.
    pub probability: f64,
    /// Probability of CutMix instead of mixup if both are on.
    pub switch_probability: f64,
    /// What shares the draws.
    pub mode: MixMode,
}

impl Mixing {
    /// No mixtures.
    pub const OFF: Self =
        Self { mixup: 0.0, cutmix: 0.0, probability: 1.0, switch_probability: 0.5, mode: MixMode::Batch };

    /// Whether it changes any image.
    pub fn is_on(&self) -> bool {
        self.probability > 0.0 && (self.mixup > 0.0 || self.cutmix > 0.0)
    }

    pub(super) fn read(mut table: Section<'_>, default: Self) -> Self {
        let config = Self {
            mixup: table.number("mixup", default.mixup, &ALPHA),
            cutmix: table.number("cutmix", default.cutmix, &ALPHA),
            probability: table.number("probability", default.probability, &SHARE),
            switch_probability: table.number("switch_probability", default.switch_probability, &SHARE),
            mode: table.choice("mode", default.mode),
        };
        table.finish();
        config
    }
}
