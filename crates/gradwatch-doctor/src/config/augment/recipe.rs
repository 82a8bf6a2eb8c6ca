//! Published combinations of augmentations.

use super::super::{Interpolation, names::named_enum};
use super::{Augment, AutoPolicy, Automatic, EraseFill, Mixing, RandomErasing};

named_enum! {
    /// A published recipe.
    pub enum Recipe {
        /// torchvision's first ImageNet weights.
        Torchvision = "torchvision",
        /// torchvision's ImageNet weights of 2021: TrivialAugment, erasing, mixtures, four repeats. Published with a
        /// side of 176 in training.
        TorchvisionV2 = "torchvision-v2",
        /// Wightman et al. 2021, procedure A1. Published with binary cross-entropy and label smoothing 0.1.
        TimmA1 = "timm-a1",
        /// Procedure A2. Published with binary cross-entropy.
        TimmA2 = "timm-a2",
        /// Procedure A3. Published with binary cross-entropy, and a side of 160 in training.
        TimmA3 = "timm-a3",
        /// Touvron et al. 2021. Published with label smoothing 0.1.
        Deit = "deit",
    }
}

impl Recipe {
    /// Its values of `[data.augment]`.
    pub fn augment(self) -> Augment {
        let base = Augment { recipe: Some(self), random_resized_crop: true, hflip: 0.5, ..Augment::OFF };
        let mixing = |mixup: f64, cutmix: f64| Mixing { mixup, cutmix, ..Mixing::OFF };
        let timm = |magnitude: f64| Automatic { magnitude, ..Automatic::of_policy(AutoPolicy::TimmRandAugment) };
        match self {
            Self::Torchvision => base,
            Self::TorchvisionV2 => Augment {
                repeats: 4,
                auto: Automatic::of_policy(AutoPolicy::TrivialAugmentWide),
                random_erasing: RandomErasing { probability: 0.1, ..RandomErasing::OFF },
                mixing: mixing(0.2, 1.0),
                ..base
            },
            Self::TimmA1 => Augment { repeats: 3, auto: timm(7.0), mixing: mixing(0.2, 1.0), ..base },
            Self::TimmA2 => Augment { repeats: 3, auto: timm(7.0), mixing: mixing(0.1, 1.0), ..base },
            Self::TimmA3 => Augment { auto: timm(6.0), mixing: mixing(0.1, 1.0), ..base },
            Self::Deit => Augment {
                repeats: 3,
                auto: timm(9.0),
                random_erasing: RandomErasing {
                    probability: 0.25,
                    scale: [0.02, 1.0 / 3.0],
                    ratio: [0.3, 1.0 / 0.3],
                    fill: EraseFill::Pixel,
                    count: 1,
                },
                mixing: mixing(0.8, 1.0),
                ..base
            },
        }
    }

    /// Its value of `data.interpolation`.
    pub fn interpolation(self) -> Interpolation {
        match self {
            Self::Torchvision | Self::TorchvisionV2 => Interpolation::Bilinear,
            Self::TimmA1 | Self::TimmA2 | Self::TimmA3 | Self::Deit => Interpolation::Bicubic,
        }
    }

    /// Its value of `data.crop_fraction`.
    pub fn crop_fraction(self) -> f64 {
        match self {
            Self::Torchvision | Self::Deit => 0.875,
            // 224 of 232 pixels.
            Self::TorchvisionV2 => 0.965,
            Self::TimmA1 | Self::TimmA2 | Self::TimmA3 => 0.95,
        }
    }
}
