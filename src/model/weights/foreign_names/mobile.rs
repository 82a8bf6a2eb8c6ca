//! timm's names of the mobile networks: MobileNetV2, MobileNetV3, and EfficientNet, which share one class in timm.

use std::collections::BTreeMap;

use super::number;

/// The network family, detected by names that are unique to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    MobileNetV2,
    MobileNetV3,
    EfficientNet,
}

/// The optional layers of a block, which determine the indices of the others.
#[derive(Debug, Default)]
struct Block {
    has_expansion: bool,
    has_squeeze: bool,
    /// Whether it is MobileNetV3's last convolution before global average pooling, which is a block in timm.
    is_convolution: bool,
}

/// The structure of the network, according to the names in a file.
#[derive(Debug)]
pub(super) struct Mobile {
    family: Family,
    /// Blocks by stage and index in the stage. In gradwatch's names, only EfficientNet has stages.
    blocks: BTreeMap<[usize; 2], Block>,
}

/// timm's epsilon of batch normalization, except for weights from TensorFlow.
const EPSILON: f64 = 1e-5;
/// torchvision's epsilon in MobileNetV3, and in EfficientNet B5 and larger.
const LARGE_EPSILON: f64 = 1e-3;
/// Number of blocks in the second stage of B5; B4 has one less.
const BLOCKS_OF_B5: usize = 5;

impl Mobile {
    /// Detects the network from its names; `None` if it is a different one.
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n str>) -> Option<Self> {
        let (mut has_stem, mut has_bias) = (false, false);
        let mut blocks = BTreeMap::<_, Block>::new();
        for name in names {
            let segments: Vec<&str> = name.split('.').collect();
            has_stem |= segments == ["conv_stem", "weight"];
            has_bias |= segments == ["conv_head", "bias"];
            if let ["blocks", stage, place, layer, _, ..] = segments[..]
                && let (Some(stage), Some(place)) = (number(stage), number(place))
            {
                let block = blocks.entry([stage, place]).or_default();
                block.has_expansion |= layer == "conv_pwl";
                block.has_squeeze |= layer == "se";
                block.is_convolution |= layer == "conv";
            }
        }
        let family = match blocks.values().any(|block| block.has_squeeze) {
            // The last convolution of MobileNetV3 comes after global average pooling and has no normalization.
            _ if has_bias => Family::MobileNetV3,
            true => Family::EfficientNet,
            false => Family::MobileNetV2,
        };
        (has_stem && !blocks.is_empty()).then_some(Self { family, blocks })
    }

    /// The epsilons of timm and torchvision, if they differ.
    pub(super) fn epsilons(&self) -> Option<[f64; 2]> {
        let is_large = match self.family {
            Family::MobileNetV2 => false,
            Family::MobileNetV3 => true,
            Family::EfficientNet => self.blocks.contains_key(&[1, BLOCKS_OF_B5 - 1]),
        };
        is_large.then_some([EPSILON, LARGE_EPSILON])
    }

    /// Translates a name to gradwatch's.
    pub(super) fn rename(&self, segments: &[&str]) -> Option<String> {
        let is_v3 = self.family == Family::MobileNetV3;
        Some(match segments {
            ["conv_stem", leaf] => format!("features.0.0.{leaf}"),
            ["bn1", leaf] => format!("features.0.1.{leaf}"),
            ["conv_head", leaf] if is_v3 => format!("classifier.0.{leaf}"),
            ["conv_head", leaf] => format!("features.{}.0.{leaf}", self.last()?),
            ["bn2", leaf] if !is_v3 => format!("features.{}.1.{leaf}", self.last()?),
            ["classifier", leaf] => format!("classifier.{}.{leaf}", if is_v3 { 3 } else { 1 }),
            ["blocks", stage, place, inside @ ..] => self.rename_in_block([number(stage)?, number(place)?], inside)?,
            _ => return None,
        })
    }

    /// Index of the last convolution in the features: after all blocks, or after all stages.
    fn last(&self) -> Option<usize> {
        let [stage, _] = self.blocks.last_key_value()?.0;
        Some(if self.family == Family::EfficientNet { stage + 2 } else { self.blocks.len() + 1 })
    }

    fn rename_in_block(&self, at: [usize; 2], inside: &[&str]) -> Option<String> {
        let block = self.blocks.get(&at)?;
        let place = self.blocks.range(..at).count() + 1;
        let path = match self.family {
            Family::MobileNetV2 => format!("features.{place}.conv"),
            Family::MobileNetV3 => format!("features.{place}.block"),
            Family::EfficientNet => format!("features.{}.{}.block", at[0] + 1, at[1]),
        };
        let depthwise = usize::from(block.has_expansion);
        let last = depthwise + 1 + usize::from(block.has_squeeze);
        // Without an expansion, the pointwise convolution is the last one.
        let (layer, leaf, is_norm) = match (block.has_expansion, inside) {
            (_, ["conv", leaf]) => return Some(format!("features.{place}.0.{leaf}")),
            (_, ["bn1", leaf]) if block.is_convolution => return Some(format!("features.{place}.1.{leaf}")),
            (_, ["se", "conv_reduce", leaf]) => return Some(format!("{path}.{}.fc1.{leaf}", depthwise + 1)),
            (_, ["se", "conv_expand", leaf]) => return Some(format!("{path}.{}.fc2.{leaf}", depthwise + 1)),
            (true, ["conv_pw", leaf]) => (0, leaf, false),
            (true, ["bn1", leaf]) => (0, leaf, true),
            (_, ["conv_dw", leaf]) => (depthwise, leaf, false),
            (true, ["bn2", leaf]) | (false, ["bn1", leaf]) => (depthwise, leaf, true),
            (true, ["conv_pwl", leaf]) | (false, ["conv_pw", leaf]) => (last, leaf, false),
            (true, ["bn3", leaf]) | (false, ["bn2", leaf]) => (last, leaf, true),
            _ => return None,
        };
        let is_flat = self.family == Family::MobileNetV2 && layer == last;
        Some(if is_flat {
            format!("{path}.{}.{leaf}", layer + usize::from(is_norm))
        } else {
            format!("{path}.{layer}.{}.{leaf}", usize::from(is_norm))
        })
    }
}
