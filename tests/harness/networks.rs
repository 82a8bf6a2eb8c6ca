//! Small networks and images for the tests of initializations.

use gradwatch::{
    config::Config,
    data::ImageShape,
    model::{self, Network, Parameter, Pass},
};
use tch::{Device, Kind, Tensor};

pub(crate) const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

pub(crate) fn config(model: &str) -> Config {
    let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel = {{ {model} }}");
    Config::parse(&toml, "test").unwrap()
}

/// A network for gray images of this size, initialized with seed 7.
pub(crate) fn network(model: &str, side: usize) -> Network {
    tch::manual_seed(7);
    let input = ImageShape { channels: 1, height: side, width: side };
    model::build(&config(model).model, input, 10, Device::Cpu).unwrap()
}

/// Images whose pixels have different means.
pub(crate) fn images(count: i64, side: i64) -> Tensor {
    Tensor::randn([count, 1, side, side], FLOAT)
        + Tensor::linspace(-1, 2, side * side, FLOAT).reshape([1, 1, side, side])
}

pub(crate) fn param(network: &Network, name: &str) -> Tensor {
    network.parameters.get(name).unwrap_or_else(|| panic!("no {name}")).tensor.detach()
}

pub(crate) fn logits(network: &Network, images: &Tensor) -> Tensor {
    tch::no_grad(|| network.forward(images, &Pass::evaluation()).unwrap())
}

/// Every value of a network's state: parameters and buffers.
pub(crate) fn bits(network: &Network) -> Vec<Vec<f32>> {
    let values = |parameter: &Parameter| {
        Vec::try_from(parameter.tensor.detach().to_kind(Kind::Float).flatten(0, -1).reshape([-1])).unwrap()
    };
    network.parameters.iter().map(values).collect()
}

pub(crate) fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

pub(crate) fn std(tensor: &Tensor) -> f64 {
    tensor.square().mean(Kind::Double).double_value(&[]).sqrt()
}
