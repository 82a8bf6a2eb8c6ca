//! Models against the records of `golden/model.py` and `golden/families.py`: the same weights, generated from the same
//! numbers.

use gradwatch::{
    config::{Initialization, InitializationMethod, ModelConfig},
    data::ImageShape,
    model::{self, Network, Parameter, Pass},
};
use serde_json::Value;
use tch::{Device, Kind, Reduction, Tensor};

use super::{compare::error, lock::exclusive};

pub(crate) const CLASSES: usize = 10;
const IMAGES: u64 = 1 << 20;

/// Relative. The observed error, for any instruction set and number of threads, is the rounding in the JSON: 5e-11.
pub(crate) const TOLERANCE: f64 = 1e-9;

/// Relative to the norm of all gradients. Gradients that are 0 in exact arithmetic, such as the shift of a batch norm
/// before a 1x1 convolution and the next batch norm, consist of rounding and differ by machine and threads; observed:
/// 4e-17. All other gradients exceed 1e-6.
const ZERO: f64 = 1e-12;

pub(crate) fn build(config: &ModelConfig, shape: &[i64]) -> Network {
    let side = |dim: usize| usize::try_from(shape[dim]).unwrap();
    let input = ImageShape { channels: side(1), height: side(2), width: side(3) };
    model::build(config, input, CLASSES, Device::Cpu).unwrap()
}

/// `uniform` of `model.py`.
pub(crate) fn uniform(tensor: u64, element: u64) -> f64 {
    let mut z = (tensor << 32).wrapping_add(element).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 * (0.5_f64).powi(53) - 0.5
}

pub(crate) fn tensor_of(shape: &[i64], value: impl Fn(u64) -> f64) -> Tensor {
    let count = shape.iter().product::<i64>() as u64;
    Tensor::from_slice(&(0..count).map(value).collect::<Vec<_>>()).reshape(shape)
}

/// `values` of `model.py`.
pub(crate) fn weights(tensor: u64, name: &str, shape: &[i64]) -> Tensor {
    let (scale, shift) = match name {
        _ if shape.len() > 1 => ((24.0 / shape[1..].iter().product::<i64>() as f64).sqrt(), 0.0),
        name if name.ends_with("weight") || name.ends_with("running_var") => (0.4, 1.0),
        _ => (0.2, 0.0),
    };
    tensor_of(shape, |element| shift + scale * uniform(tensor, element))
}

/// `fill` of `model.py`.
pub(crate) fn fill(network: &Network) {
    for (index, Parameter { name, tensor, .. }) in (0..).zip(&network.parameters) {
        if tensor.kind() != Kind::Int64 {
            // The layers share the tensor, so they switch to float64 with it.
            tensor.shallow_clone().set_data(&weights(index, name.as_str(), &tensor.size()));
        }
    }
}

/// Images of `model.py`.
pub(crate) fn images(shape: &[i64]) -> Tensor {
    tensor_of(shape, |element| 2.0 * uniform(IMAGES, element))
}

pub(crate) fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().flatten(0, -1).to_kind(Kind::Double)).unwrap()
}

/// One training pass, its gradients, and an evaluation with the statistics of that pass, all in float64.
///
/// A single gradient value is the end of a long sum in which large terms cancel: its error is relative to the
/// gradient's norm. Takes the lock: a new model draws its weights, and two VGGs at once need 4 GB.
pub(crate) fn assert_equals_golden(golden: &Value, case: &str, config: &ModelConfig) {
    let _alone = exclusive();
    let golden = &golden["cases"][case];
    let shape: Vec<i64> = floats(&golden["images"]).into_iter().map(|side| side as i64).collect();
    let network = build(config, &shape);
    fill(&network);
    let images = images(&shape);
    let labels = Tensor::arange(shape[0], (Kind::Int64, Device::Cpu));
    let logits = network.forward(&images, &Pass::training()).unwrap();
    let loss = logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0);
    loss.backward();
    let close = |what: &str, off: f64| assert!(off <= TOLERANCE, "{case}: {what} is off by {off:e}");
    close("logits", error(&values(&logits), &floats(&golden["logits"])));
    close("loss", error(&values(&loss), &[golden["loss"].as_f64().unwrap()]));
    let total = golden["total_norm"].as_f64().unwrap();
    let listed = golden["grads"].as_object().unwrap();
    assert!(listed.len() >= 7, "{case} lists {} gradients", listed.len());
    for (name, want) in listed {
        let grad = network.parameters.get(name).unwrap_or_else(|| panic!("{case} has no {name}")).tensor.grad();
        let want = floats(want);
        let norm = grad.norm().double_value(&[]);
        if want[0] <= ZERO * total {
            assert!(norm <= ZERO * total, "{case}: {name} has a gradient of norm {norm:e}, want 0");
            continue;
        }
        close(name, error(&[norm], &want[..1]));
        let first = values(&grad.flatten(0, -1).narrow(0, 0, 3.min(grad.numel() as i64)));
        for (got, value) in first.iter().zip(&want[1..]) {
            close(name, (got - value).abs() / want[0]);
        }
    }
    let squares = |parameter: &Parameter| parameter.tensor.grad().square().sum(Kind::Double);
    let square: f64 = network.parameters.trainable().map(|parameter| squares(parameter).double_value(&[])).sum();
    close("total norm", error(&[square.sqrt()], &[total]));
    let evaluated = tch::no_grad(|| network.forward(&images, &Pass::evaluation()).unwrap());
    close("evaluation", error(&values(&evaluated), &floats(&golden["evaluated"])));
}

/// Names and shapes of a model with a thousand classes, one per line; constant weights, because their initialization is
/// not under test.
pub(crate) fn state(config: &ModelConfig) -> Vec<String> {
    let input = ImageShape { channels: 3, height: 224, width: 224 };
    let initialization = Initialization { method: InitializationMethod::Constant, ..config.initialization.clone() };
    let network = model::build(&ModelConfig { initialization, ..config.clone() }, input, 1000, Device::Cpu).unwrap();
    let line = |row: &model::SummaryRow| {
        let sides: Vec<_> = row.shape.iter().map(i64::to_string).collect();
        format!("{} {}", row.name, sides.join("x")).trim_end().to_owned()
    };
    network.summary().rows.iter().map(line).collect()
}
