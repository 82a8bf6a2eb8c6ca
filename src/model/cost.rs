//! Cost of a model: parameters and multiplications per layer, computed without its weights and without multiplying.
//!
//! ```
//! use gradwatch::{config::{Architecture, ModelConfig}, data::ImageShape, model};
//!
//! let config = ModelConfig::as_published(Architecture::MobilenetV2);
//! let cost = model::cost(&config, ImageShape { channels: 3, height: 224, width: 224 }, 1000)?;
//! // Sandler et al. 2018, table 4: 3.4 M and 300 M.
//! assert_eq!((cost.parameters, cost.macs), (3_504_872, 300_774_272));
//! # Ok::<(), gradwatch::model::ModelError>(())
//! ```

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::{
    ModelError, Parameters, Pass,
    architectures::Plan,
    cost_counter::{LayerCost, count},
    parameter::Builder,
};
use crate::{
    config::{Initialization, InitializationMethod, ModelConfig},
    data::ImageShape,
};

/// Cost of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Number of trainable parameters.
    pub parameters: usize,
    /// Multiply-accumulate operations of convolutions, linear layers, and attention for one image. One of them is two
    /// FLOPs.
    pub macs: u64,
    /// Costs per layer, in the order of the forward pass, followed by layers that have parameters but no
    /// multiplications.
    pub layers: Vec<LayerCost>,
}

/// Computes the cost of a model without building it: weights take no memory, and zeros replace the outputs of layers.
/// Does not support TorchScript files.
pub fn cost(config: &ModelConfig, input: ImageShape, classes: usize) -> Result<Cost, ModelError> {
    let constant = Initialization { method: InitializationMethod::Constant, ..config.initialization.clone() };
    let config = ModelConfig { initialization: constant, ..config.clone() };
    let plan = Plan::new(&config, input, classes)?;
    let builder = Builder::of_shapes(&config);
    let model = plan.build(&builder.root())?;
    let parameters = builder.finish();
    let [channels, height, width] = input.sizes();
    let image = Tensor::f_zeros([1, channels, height, width], (Kind::Float, Device::Cpu))?;
    let (passed, seen) = count(|| tch::no_grad(|| model.forward(&image, &Pass::evaluation())));
    let _logits = passed?;
    Ok(Cost {
        parameters: parameters.trainable_count(),
        macs: seen.iter().map(|layer| layer.macs).sum(),
        layers: with_parameters(seen, &parameters),
    })
}

/// Adds the parameters to each layer. Parameters of layers without multiplications are appended at the end.
fn with_parameters(mut layers: Vec<LayerCost>, parameters: &Parameters) -> Vec<LayerCost> {
    for parameter in parameters.trainable() {
        let layer = parameter.name.layer();
        let found = layers.iter().position(|seen| seen.name == layer);
        let place = found.unwrap_or_else(|| {
            layers.push(LayerCost { name: layer.to_owned(), output: Vec::new(), parameters: 0, macs: 0 });
            layers.len() - 1
        });
        layers[place].parameters += parameter.tensor.numel();
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Architecture,
        model::{self, fixture},
    };

    const SMALL: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

    #[test]
    fn a_lenet_s_layers_are_counted_by_hand() {
        let cost = cost(&fixture::config(Architecture::Lenet5), SMALL, 10).unwrap();
        let macs: Vec<u64> = cost.layers.iter().map(|layer| layer.macs).collect();
        // 6 filters of 3x5x5 at 28x28, 16 of 6x5x5 at 10x10, and 400 x 120, 120 x 84, 84 x 10.
        assert_eq!(macs, [6 * 75 * 784, 16 * 150 * 100, 400 * 120, 120 * 84, 840]);
        assert_eq!((cost.layers[1].output.as_slice(), cost.layers[1].parameters), ([16, 10, 10].as_slice(), 2416));
        assert_eq!(cost.macs, macs.iter().sum::<u64>());
    }

    #[test]
    fn it_is_that_of_the_network_that_is_built_for_every_family() {
        for name in fixture::drawn() {
            let config = fixture::thin(name);
            let cost = cost(&config, SMALL, 10).unwrap();
            let network = model::build(&config, SMALL, 10, Device::Cpu).unwrap();
            assert_eq!(cost.parameters, network.parameters.trainable_count(), "{name}");
            assert_eq!(cost.layers.iter().map(|layer| layer.parameters).sum::<usize>(), cost.parameters, "{name}");
            assert!(
                cost.layers.iter().any(|layer| layer.name == network.model.head() && layer.output == [10]),
                "{name}"
            );
        }
    }

    #[test]
    fn multiplications_are_those_that_torchvision_publishes() {
        // From the weights' meta["_ops"], in billions with three decimals.
        for (name, want) in [
            (Architecture::Resnet18, 1.814),
            (Architecture::Resnet50, 4.089),
            (Architecture::Vgg16, 15.47),
            (Architecture::MobilenetV2, 0.301),
            (Architecture::MobilenetV3Large, 0.217),
            (Architecture::EfficientnetB0, 0.386),
            (Architecture::Densenet121, 2.834),
            (Architecture::ConvnextTiny, 4.456),
            (Architecture::VitBase, 17.564),
        ] {
            let input = ImageShape { channels: 3, height: 224, width: 224 };
            let got = cost(&ModelConfig::as_published(name), input, 1000).unwrap().macs as f64 / 1e9;
            assert!((got - want).abs() < 0.0055 * want, "{name}: got {got}, torchvision has {want}");
        }
    }
}
