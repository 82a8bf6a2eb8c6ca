//! Small configs and networks for the tests of this module.

use tch::{Device, Kind, Tensor};

use super::{Network, build};
use crate::config::{Activation, Architecture, ModelConfig, Normalization};
use crate::data::ImageShape;

/// Side length of [`images`].
const SIDE: usize = 32;

/// ReLU, no normalization, no dropout, no residual, torch's initialization.
pub(super) fn config(name: Architecture) -> ModelConfig {
    let (activation, normalization) = (Activation::Relu, Normalization::None);
    ModelConfig { activation, normalization, groups: 4, residual: false, ..ModelConfig::as_published(name) }
}

/// One or two architectures of each published family that has blocks of its own.
pub(super) const FAMILIES: [Architecture; 13] = [
    Architecture::MobilenetV2,
    Architecture::MobilenetV3Small,
    Architecture::EfficientnetB0,
    Architecture::Densenet121,
    Architecture::ConvnextTiny,
    Architecture::VitTiny,
    Architecture::DeitTiny,
    Architecture::NfnetF0,
    Architecture::DmNfnetF0,
    Architecture::NasnetMobile,
    Architecture::NasnetCifar,
    Architecture::BinaryResnet20,
    Architecture::BinaryResnet18,
];

/// The published model with minimum width, so that all architectures run in seconds.
pub(super) fn thin(name: Architecture) -> ModelConfig {
    let own = name.defaults();
    let width = if name.name().contains("nfnet") { 16 } else { 4 };
    let (activation, normalization) = (own.activation, own.normalization);
    ModelConfig { width: Some(width), activation, normalization, residual: has_shortcuts(name), ..config(name) }
}

/// Whether `model.residual` can be true.
pub(super) fn has_shortcuts(name: Architecture) -> bool {
    name != Architecture::Lenet5 && !["densenet", "nasnet"].iter().any(|family| name.name().starts_with(family))
}

/// The architectures defined in gradwatch.
pub(super) fn drawn() -> impl Iterator<Item = Architecture> {
    Architecture::ALL.iter().copied().filter(|name| *name != Architecture::Torchscript)
}

/// Shape of [`images`].
pub(super) const SHAPE: ImageShape = ImageShape { channels: 3, height: SIDE, width: SIDE };

/// A network with ten classes for [`images`].
pub(super) fn network(config: &ModelConfig) -> Network {
    build(config, SHAPE, 10, Device::Cpu).unwrap()
}

/// Normal noise `[count, 3, 32, 32]`.
pub(super) fn images(count: i64) -> Tensor {
    Tensor::randn([count, 3, SIDE as i64, SIDE as i64], (Kind::Float, Device::Cpu))
}
