//! Small configs and networks for the tests of this module.

use tch::{Device, Kind, Tensor};

use super::{Network, build};
use crate::config::{Activation, Architecture, Fan, Initialization, InitializationMethod, ModelConfig, Normalization};
use crate::data::ImageShape;

/// The side of [`images`].
const SIDE: usize = 32;

/// ReLU, no normalization, no dropout, no residual, torch's initialization.
pub fn config(name: Architecture) -> ModelConfig {
    ModelConfig {
        name,
        path: None,
        activation: Activation::Relu,
        normalization: Normalization::None,
        groups: 4,
        dropout: 0.0,
        residual: false,
        width: None,
        depth: None,
        initialization: Initialization {
            method: InitializationMethod::Default,
            gain: None,
            fan: Fan::FanIn,
            mean: 0.0,
            std: 0.01,
            value: 0.0,
        },
    }
}

/// The architectures that are ours.
pub fn drawn() -> impl Iterator<Item = Architecture> {
    Architecture::ALL.iter().copied().filter(|name| *name != Architecture::Torchscript)
}

/// A network with ten classes for [`images`].
pub fn network(config: &ModelConfig) -> Network {
    build(config, ImageShape { channels: 3, height: SIDE, width: SIDE }, 10, Device::Cpu).unwrap()
}

/// Normal noise `[count, 3, 32, 32]`.
pub fn images(count: i64) -> Tensor {
    Tensor::randn([count, 3, SIDE as i64, SIDE as i64], (Kind::Float, Device::Cpu))
}
