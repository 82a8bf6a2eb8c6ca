//! Sequences of changes that were learned or are drawn at random, as in torchvision and timm.

use super::super::ImageShape;
use super::super::random::Stream;
use super::learned_policies::{CIFAR10, IMAGENET};
use super::op::{Canvas, Op};
use crate::config::{AutoPolicy, Automatic};

/// Number of magnitudes of torchvision's `RandAugment` and `TrivialAugmentWide`.
const BINS: usize = 31;
/// Number of magnitudes of `AutoAugment` and `AugMix`.
const FEW_BINS: usize = 10;
/// Largest number of changes in a chain of `AugMix`, and the number of its chains.
const CHAIN: u64 = 3;
const CHAINS: usize = 3;

/// Applies the changes that the policy draws.
pub(super) fn apply(image: &mut Vec<u8>, shape: ImageShape, options: &Automatic, canvas: &Canvas, stream: &mut Stream) {
    match options.policy {
        AutoPolicy::None => {}
        AutoPolicy::RandAugment => {
            let space = Space::rand_augment(shape);
            for _ in 0..options.num_ops {
                let kind = *stream.choose(&WIDE);
                space.op(kind, options.magnitude as usize, stream).apply(image, shape, canvas, stream);
            }
        }
        AutoPolicy::TrivialAugmentWide => {
            let kind = *stream.choose(&WIDE);
            let bin = stream.below(BINS as u64) as usize;
            Space::trivial().op(kind, bin, stream).apply(image, shape, canvas, stream);
        }
        AutoPolicy::AutoAugmentImagenet => learned(&IMAGENET, image, shape, canvas, stream),
        AutoPolicy::AutoAugmentCifar10 => learned(&CIFAR10, image, shape, canvas, stream),
        AutoPolicy::AugMix => mixed_chains(image, shape, options, canvas, stream),
        AutoPolicy::TimmRandAugment => {
            for _ in 0..options.num_ops {
                let kind = *stream.choose(&TIMM);
                if stream.chance(0.5) {
                    let level = (options.magnitude + options.magnitude_std * stream.normal()).clamp(0.0, 10.0);
                    timm(kind, level / 10.0, shape, stream).apply(image, shape, canvas, stream);
                }
            }
        }
    }
}

/// Kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    SolarizeAdd,
    AutoContrast,
    Equalize,
    Invert,
}

use Kind::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Identity, Invert, Posterize, Rotate, Sharpness, ShearX,
    ShearY, Solarize, SolarizeAdd, TranslateX, TranslateY,
};

/// Changes of torchvision's `RandAugment` and `TrivialAugmentWide`.
const WIDE: [Kind; 14] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
];
/// Changes of `AugMix`.
const MIXED: [Kind; 13] = [
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Brightness,
    Color,
    Contrast,
    Sharpness,
];
/// Changes of timm's `RandAugment`.
const TIMM: [Kind; 15] = [
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
];

/// The largest magnitudes of a policy of torchvision, in equal bins.
struct Space {
    bins: usize,
    shear: f32,
    /// Horizontal and vertical, in pixels.
    translate: [f32; 2],
    degrees: f32,
    /// Largest change of a factor of colors.
    color: f32,
    /// Bits that the weakest posterization keeps, and bits that the strongest one keeps less.
    bits: [u32; 2],
}

impl Space {
    fn rand_augment(shape: ImageShape) -> Self {
        let translate = [shape.width, shape.height].map(|side| (150.0 / 331.0 * side as f64) as f32);
        Self { bins: BINS, shear: 0.3, translate, degrees: 30.0, color: 0.9, bits: [8, 4] }
    }

    fn trivial() -> Self {
        Self { bins: BINS, shear: 0.99, translate: [32.0; 2], degrees: 135.0, color: 0.99, bits: [8, 6] }
    }

    fn auto_augment(shape: ImageShape) -> Self {
        Self { bins: FEW_BINS, ..Self::rand_augment(shape) }
    }

    fn aug_mix(shape: ImageShape) -> Self {
        let translate = [shape.width, shape.height].map(|side| side as f32 / 3.0);
        Self { bins: FEW_BINS, translate, bits: [4, 4], ..Self::rand_augment(shape) }
    }

    /// The change of a kind at one of the magnitudes, in a random direction if it has two.
    fn op(&self, kind: Kind, bin: usize, stream: &mut Stream) -> Op {
        let is_signed =
            !matches!(kind, Identity | Posterize | Solarize | SolarizeAdd | AutoContrast | Equalize | Invert);
        let is_negative = is_signed && stream.chance(0.5);
        self.op_with_sign(kind, bin, is_negative)
    }

    fn op_with_sign(&self, kind: Kind, bin: usize, is_negative: bool) -> Op {
        let sign = if is_negative { -1.0 } else { 1.0 };
        let bin = bin.min(self.bins - 1);
        let signed = |most: f32| sign * f64::from(linspace(0.0, most, self.bins, bin));
        // Whole pixels, truncated.
        let pixels = |most: f32| signed(most).trunc();
        match kind {
            Identity => Op::Identity,
            ShearX => Op::ShearX(signed(self.shear)),
            ShearY => Op::ShearY(signed(self.shear)),
            TranslateX => Op::TranslateX(pixels(self.translate[0])),
            TranslateY => Op::TranslateY(pixels(self.translate[1])),
            Rotate => Op::Rotate(signed(self.degrees)),
            Brightness => Op::Brightness(1.0 + signed(self.color)),
            Color => Op::Saturation(1.0 + signed(self.color)),
            Contrast => Op::Contrast(1.0 + signed(self.color)),
            Sharpness => Op::Sharpness(1.0 + signed(self.color)),
            Posterize => {
                let [most, fewer] = self.bits;
                let per_bit = (self.bins - 1) as f32 / fewer as f32;
                Op::Posterize(most - (bin as f32 / per_bit).round_ties_even() as u32)
            }
            Solarize => Op::Solarize(f64::from(linspace(255.0, 0.0, self.bins, bin))),
            SolarizeAdd => Op::SolarizeAdd(0),
            AutoContrast => Op::AutoContrast,
            Equalize => Op::Equalize,
            Invert => Op::Invert,
        }
    }
}

/// `torch.linspace(from, to, count)[place]`.
fn linspace(from: f32, to: f32, count: usize, place: usize) -> f32 {
    // torch rounds the step, and then multiplies and adds with one rounding.
    let step = f64::from((to - from) / (count - 1) as f32);
    let value = match place < count / 2 {
        true => f64::from(from) + step * place as f64,
        false => f64::from(to) - step * (count - 1 - place) as f64,
    };
    value as f32
}

/// A change of timm's `RandAugment` with increasing magnitudes, at a level from 0 to 1.
fn timm(kind: Kind, level: f64, shape: ImageShape, stream: &mut Stream) -> Op {
    let mut either = |value: f64| if stream.chance(0.5) { -value } else { value };
    match kind {
        Identity => Op::Identity,
        ShearX => Op::ShearX(either(0.3 * level)),
        ShearY => Op::ShearY(either(0.3 * level)),
        TranslateX => Op::TranslateX(either(0.45 * level) * shape.width as f64),
        TranslateY => Op::TranslateY(either(0.45 * level) * shape.height as f64),
        Rotate => Op::Rotate(either(30.0 * level)),
        Brightness => Op::Brightness((1.0 + either(0.9 * level)).max(0.1)),
        Color => Op::Saturation((1.0 + either(0.9 * level)).max(0.1)),
        Contrast => Op::Contrast((1.0 + either(0.9 * level)).max(0.1)),
        Sharpness => Op::Sharpness((1.0 + either(0.9 * level)).max(0.1)),
        Posterize => Op::Posterize(4 - (4.0 * level) as u32),
        Solarize => Op::Solarize(f64::from(256 - (256.0 * level) as u32)),
        SolarizeAdd => Op::SolarizeAdd((110.0 * level) as u8),
        AutoContrast => Op::AutoContrast,
        Equalize => Op::Equalize,
        Invert => Op::Invert,
    }
}

/// A change of a learned policy: kind, probability, and magnitude.
pub(super) type Step = (Kind, f64, usize);

fn learned(policy: &[[Step; 2]], image: &mut Vec<u8>, shape: ImageShape, canvas: &Canvas, stream: &mut Stream) {
    let space = Space::auto_augment(shape);
    for &(kind, probability, bin) in stream.choose(policy) {
        // Drawn in any case, so that the draws of the second change do not depend on the first.
        let (is_drawn, is_negative) = (stream.chance(probability), stream.chance(0.5));
        if is_drawn {
            space.op_with_sign(kind, bin, is_negative).apply(image, shape, canvas, stream);
        }
    }
}

fn mixed_chains(image: &mut [u8], shape: ImageShape, options: &Automatic, canvas: &Canvas, stream: &mut Stream) {
    let space = Space::aug_mix(shape);
    // A Dirichlet distribution with parameters 1 is uniform, and its first of two weights too.
    let share = stream.uniform(0.0, 1.0) as f32;
    let weights = stream.simplex::<CHAINS>();
    let mut mixture: Vec<f32> = image.iter().map(|&value| (1.0 - share) * f32::from(value)).collect();
    for weight in weights {
        let mut chain = image.to_vec();
        for _ in 0..=stream.below(CHAIN) {
            let kind = *stream.choose(&MIXED);
            let bin = stream.below(options.magnitude as u64) as usize;
            space.op(kind, bin, stream).apply(&mut chain, shape, canvas, stream);
        }
        for (sum, value) in mixture.iter_mut().zip(chain) {
            *sum += share * weight as f32 * f32::from(value);
        }
    }
    // torchvision truncates.
    image.iter_mut().zip(mixture).for_each(|(value, mixture)| *value = mixture as u8);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::super::super::golden;
    use super::super::super::random::Purpose;
    use super::*;
    use crate::config::Sampling;

    /// The shape of the golden images.
    const SHAPE: ImageShape = ImageShape { channels: 3, height: 35, width: 45 };

    /// Name of a kind in torchvision.
    fn name(kind: Kind) -> String {
        format!("{kind:?}")
    }

    fn magnitudes() -> BTreeMap<String, Value> {
        let text = std::fs::read_to_string(golden::folder().join("magnitudes.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The number that torchvision passes to a change: factors of colors are 1 plus it.
    fn magnitude(op: Op) -> f64 {
        match op {
            Op::ShearX(by) | Op::ShearY(by) | Op::TranslateX(by) | Op::TranslateY(by) | Op::Rotate(by) => by,
            Op::Brightness(by) | Op::Saturation(by) | Op::Contrast(by) | Op::Sharpness(by) => by - 1.0,
            Op::Posterize(bits) => f64::from(bits),
            Op::Solarize(threshold) => threshold,
            Op::SolarizeAdd(add) => f64::from(add),
            Op::Identity | Op::AutoContrast | Op::Equalize | Op::Invert => 0.0,
        }
    }

    #[test]
    fn changes_have_the_magnitudes_of_torchvision() {
        let golden = magnitudes();
        let spaces = [
            ("randaugment", &WIDE[..], Space::rand_augment(SHAPE)),
            ("trivialaugment_wide", &WIDE, Space::trivial()),
            (
                "autoaugment",
                &[ShearX, TranslateX, TranslateY, Color, Posterize, Solarize, Invert],
                Space::auto_augment(SHAPE),
            ),
            ("augmix", &MIXED, Space::aug_mix(SHAPE)),
        ];
        for (policy, kinds, space) in spaces {
            let is_whole_policy = policy != "autoaugment";
            assert!(!is_whole_policy || golden[policy].as_object().unwrap().len() == kinds.len(), "{policy}");
            for &kind in kinds {
                let values = golden[policy][name(kind)].as_array().unwrap();
                for (bin, want) in values.iter().enumerate() {
                    // Translations are whole pixels, truncated.
                    let is_whole = matches!(kind, TranslateX | TranslateY);
                    let want = want.as_f64().unwrap();
                    let want = if is_whole { want.trunc() } else { want };
                    for (sign, is_negative) in [(1.0, false), (-1.0, true)] {
                        let got = magnitude(space.op_with_sign(kind, bin, is_negative));
                        let want = if matches!(kind, Posterize | Solarize) { want } else { sign * want };
                        assert!((got - want).abs() < 1e-5, "{policy} {kind:?} {bin}: {got} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn learned_policies_are_those_of_torchvision() {
        let golden = magnitudes();
        for (name_of, policy) in [("imagenet", &IMAGENET), ("cifar10", &CIFAR10)] {
            let step = |(kind, probability, bin): &Step, value: &Value| {
                let bin_of = value[2].as_u64().unwrap_or(0) as usize;
                (name(*kind).as_str(), *probability, *bin)
                    == (value[0].as_str().unwrap(), value[1].as_f64().unwrap(), bin_of)
            };
            let list = golden["learned"][name_of].as_array().unwrap();
            assert_eq!(list.len(), policy.len());
            for (pair, value) in policy.iter().zip(list) {
                assert!(step(&pair[0], &value[0]) && step(&pair[1], &value[1]), "{name_of}: {pair:?} {value}");
            }
        }
    }

    #[test]
    fn changes_of_timm_have_its_magnitudes() {
        let golden = magnitudes();
        let mut stream = Stream::new(1, Purpose::Augmentation, 0, 0);
        for (kind, name) in
            [(Posterize, "PosterizeIncreasing"), (Solarize, "SolarizeIncreasing"), (SolarizeAdd, "SolarizeAdd")]
        {
            for (quarter, want) in golden["timm"][name].as_array().unwrap().iter().enumerate() {
                let got = magnitude(timm(kind, quarter as f64 / 40.0, SHAPE, &mut stream));
                assert_eq!(Some(got), want.as_f64(), "{name} {quarter}");
            }
        }
    }

    #[test]
    fn every_policy_draws_the_same_for_the_same_stream_and_most_kinds_over_many() {
        let image: Vec<u8> = (0..SHAPE.values()).map(|place| (place * 31 % 256) as u8).collect();
        let canvas = Canvas { sampling: Sampling::Random, fill: vec![128; 3] };
        for policy in AutoPolicy::ALL {
            let changed = |index| {
                let (mut image, mut stream) = (image.clone(), Stream::new(1, Purpose::Augmentation, 0, index));
                apply(&mut image, SHAPE, &Automatic::of_policy(*policy), &canvas, &mut stream);
                image
            };
            let kinds: std::collections::BTreeSet<Vec<u8>> = (0..60).map(changed).collect();
            assert_eq!(changed(7), changed(7));
            let least = if *policy == AutoPolicy::None { 1 } else { 20 };
            assert!(kinds.len() >= least, "{policy}: {}", kinds.len());
        }
    }
}
