//! The `[data.augment.auto]` table: sequences of changes that were learned or are drawn at random.

use serde::Serialize;
use toml::{Table, Value};

use super::super::{names::named_enum, range::Numbers, reader::Section};

named_enum! {
    /// A policy that draws changes of an image.
    pub enum AutoPolicy {
        /// No changes.
        None = "none",
        /// torchvision's `RandAugment`. Cubuk et al. 2020.
        RandAugment = "randaugment",
        /// torchvision's `TrivialAugmentWide`: one change of a random magnitude. Müller and Hutter 2021.
        TrivialAugmentWide = "trivialaugment_wide",
        /// torchvision's `AutoAugment`, the policy learned on ImageNet. Cubuk et al. 2019.
        AutoAugmentImagenet = "autoaugment_imagenet",
        /// The policy learned on CIFAR-10.
        AutoAugmentCifar10 = "autoaugment_cifar10",
        /// torchvision's `AugMix`: a mixture of three chains of changes. Hendrycks et al. 2020.
        AugMix = "augmix",
        /// timm's `RandAugment` with increasing magnitudes, `rand-m9-mstd0.5-inc1` by its defaults.
        TimmRandAugment = "timm_randaugment",
    }
}

named_enum! {
    /// Interpolation of a rotated, sheared, or moved image.
    pub enum Sampling {
        /// The nearest pixel, torchvision's default.
        Nearest = "nearest",
        /// Linear in both directions.
        Bilinear = "bilinear",
        /// Cubic in both directions.
        Bicubic = "bicubic",
        /// Bilinear or bicubic, drawn for each change, as in timm.
        Random = "random",
    }
}

/// The `[data.augment.auto]` table, validated. A string is short for a table with only `policy`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Automatic {
    /// The policy.
    pub policy: AutoPolicy,
    /// Number of changes per image of both `randaugment` policies.
    pub num_ops: usize,
    /// Strength of the changes: from 0 to 30 in `randaugment`, from 0 to 10 in `timm_randaugment`, and the largest of
    /// `augmix`, its severity, from 1 to 10.
    pub magnitude: f64,
    /// Standard deviation of the magnitude of `timm_randaugment`.
    pub magnitude_std: f64,
    /// Interpolation of moved images.
    pub interpolation: Sampling,
}

const MAGNITUDE: Numbers = Numbers::between(1e-6, 30.0).or_zero();

impl Automatic {
    /// No changes.
    pub const OFF: Self = Self {
        policy: AutoPolicy::None,
        num_ops: 2,
        magnitude: 9.0,
        magnitude_std: 0.0,
        interpolation: Sampling::Nearest,
    };

    /// The defaults of a policy, those of its library.
    pub fn of_policy(policy: AutoPolicy) -> Self {
        let off = Self { policy, ..Self::OFF };
        match policy {
            AutoPolicy::AugMix => Self { magnitude: 3.0, interpolation: Sampling::Bilinear, ..off },
            AutoPolicy::TimmRandAugment => Self { magnitude_std: 0.5, interpolation: Sampling::Random, ..off },
            _ => off,
        }
    }

    pub(super) fn read(parent: &mut Section<'_>, default: Self) -> Self {
        let short = |value: &Value| value.is_str().then(|| Table::from_iter([("policy".to_owned(), value.clone())]));
        let mut table = parent.section_or("auto", short);
        let policy = table.choice("policy", default.policy);
        let default = if policy == default.policy { default } else { Self::of_policy(policy) };
        let config = Self {
            policy,
            num_ops: table.count("num_ops", default.num_ops, 1..=100),
            magnitude: table.number("magnitude", default.magnitude, &MAGNITUDE),
            magnitude_std: table.number("magnitude_std", default.magnitude_std, &MAGNITUDE),
            interpolation: table.choice("interpolation", default.interpolation),
        };
        let is_whole = config.magnitude.fract() == 0.0;
        let want = match policy {
            AutoPolicy::RandAugment if !is_whole => Some("an integer from 0 to 30 with randaugment"),
            AutoPolicy::AugMix if !is_whole || !(1.0..=10.0).contains(&config.magnitude) => {
                Some("an integer from 1 to 10 with augmix")
            }
            AutoPolicy::TimmRandAugment if config.magnitude > 10.0 => Some("at most 10 with timm_randaugment"),
            _ => None,
        };
        if let Some(want) = want {
            table.problem("magnitude", format!("got {}, want {want}", config.magnitude));
        }
        table.finish();
        config
    }
}
