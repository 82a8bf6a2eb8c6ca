//! The models against PyTorch and torchvision: `golden/model.py` made `golden/model.json` and says how.

use std::sync::Mutex;

use gradwatch::{
    config::{Activation, Architecture, Fan, Initialization, InitializationMethod, ModelConfig, Normalization},
    data::ImageShape,
    model::{self, Network, Parameter, Pass},
};
use serde_json::Value;
use tch::{Device, Kind, Reduction, Tensor};

const CLASSES: usize = 10;
const IMAGES: u64 = 1 << 20;

/// Relative. What is seen, whatever the instruction set and the number of threads, is the rounding in the JSON: 5e-11.
const TOLERANCE: f64 = 1e-9;

/// libtorch's generator is one for the process, and two VGGs at once need 4 GB.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/model.json")).unwrap()
}

/// What the cases of `model.py` start from.
fn plain(name: Architecture) -> ModelConfig {
    let is_resnet = name.name().starts_with("resnet");
    ModelConfig {
        name,
        path: None,
        activation: Activation::Relu,
        normalization: if is_resnet { Normalization::Batch } else { Normalization::None },
        groups: 8,
        dropout: 0.0,
        residual: is_resnet,
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

fn mlp() -> ModelConfig {
    ModelConfig { width: Some(32), depth: Some(5), ..plain(Architecture::Mlp) }
}

fn cnn() -> ModelConfig {
    ModelConfig { width: Some(8), ..plain(Architecture::Cnn) }
}

fn build(config: &ModelConfig, shape: &[i64]) -> Network {
    let side = |dim: usize| usize::try_from(shape[dim]).unwrap();
    let input = ImageShape { channels: side(1), height: side(2), width: side(3) };
    model::build(config, input, CLASSES, Device::Cpu).unwrap()
}

/// `uniform` of `model.py`.
fn uniform(tensor: u64, element: u64) -> f64 {
    let mut z = (tensor << 32).wrapping_add(element).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 * (0.5_f64).powi(53) - 0.5
}

fn tensor_of(shape: &[i64], value: impl Fn(u64) -> f64) -> Tensor {
    let count = shape.iter().product::<i64>() as u64;
    Tensor::from_slice(&(0..count).map(value).collect::<Vec<_>>()).reshape(shape)
}

/// `fill` of `model.py`.
fn fill(network: &Network) {
    for (index, Parameter { name, tensor, .. }) in (0..).zip(&network.parameters) {
        if tensor.kind() == Kind::Int64 {
            continue;
        }
        let shape = tensor.size();
        let (scale, shift) = match name.as_str() {
            _ if shape.len() > 1 => ((24.0 / shape[1..].iter().product::<i64>() as f64).sqrt(), 0.0),
            name if name.ends_with("weight") || name.ends_with("running_var") => (0.4, 1.0),
            _ => (0.2, 0.0),
        };
        let values = tensor_of(&shape, |element| shift + scale * uniform(index, element));
        // The layers share the tensor, so they turn to float64 with it.
        tensor.shallow_clone().set_data(&values);
    }
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().flatten(0, -1).to_kind(Kind::Double)).unwrap()
}

/// The largest error over the largest value that was wanted.
fn error(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |a: f64, b| a.max(b.abs()));
    let off = largest(&mut got.iter().zip(want).map(|(got, want)| got - want));
    off / largest(&mut want.iter().copied()).max(f64::MIN_POSITIVE)
}

/// One training pass, its gradients, and an evaluation with the statistics that the pass left, all in float64.
///
/// A single gradient value is the end of a long sum in which large terms cancel: its error is taken relative to the
/// gradient's norm.
fn assert_equals_torch(case: &str, config: &ModelConfig) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let golden = &golden()["cases"][case];
    let shape: Vec<i64> = floats(&golden["images"]).into_iter().map(|side| side as i64).collect();
    let network = build(config, &shape);
    fill(&network);
    let images = tensor_of(&shape, |element| 2.0 * uniform(IMAGES, element));
    let labels = Tensor::arange(shape[0], (Kind::Int64, Device::Cpu));
    let logits = network.forward(&images, &Pass::training()).unwrap();
    let loss = logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0);
    loss.backward();
    let close = |what: &str, off: f64| assert!(off <= TOLERANCE, "{case}: {what} is off by {off:e}");
    close("logits", error(&values(&logits), &floats(&golden["logits"])));
    close("loss", error(&values(&loss), &[golden["loss"].as_f64().unwrap()]));
    let listed = golden["grads"].as_object().unwrap();
    assert!(listed.len() >= 7, "{case} lists {} gradients", listed.len());
    for (name, want) in listed {
        let grad = network.parameters.get(name).unwrap_or_else(|| panic!("{case} has no {name}")).tensor.grad();
        let want = floats(want);
        let norm = grad.norm().double_value(&[]);
        close(name, error(&[norm], &want[..1]));
        let first = values(&grad.flatten(0, -1).narrow(0, 0, 3));
        for (got, value) in first.iter().zip(&want[1..]) {
            close(name, (got - value).abs() / want[0]);
        }
    }
    let squares = |parameter: &Parameter| parameter.tensor.grad().square().sum(Kind::Double);
    let total: f64 = network.parameters.trainable().map(|parameter| squares(parameter).double_value(&[])).sum();
    close("total norm", error(&[total.sqrt()], &[golden["total_norm"].as_f64().unwrap()]));
    let evaluated = tch::no_grad(|| network.forward(&images, &Pass::evaluation()).unwrap());
    close("evaluation", error(&values(&evaluated), &floats(&golden["evaluated"])));
}

#[test]
fn an_mlp_is_torchs() {
    assert_equals_torch("mlp", &mlp());
    let normalization = Normalization::Layer;
    assert_equals_torch("mlp_layer_tanh", &ModelConfig { normalization, activation: Activation::Tanh, ..mlp() });
}

#[test]
fn an_mlp_with_shortcuts_and_batch_normalization_is_torchs() {
    let (normalization, activation) = (Normalization::Batch, Activation::Gelu);
    let config = ModelConfig { normalization, activation, residual: true, ..mlp() };
    assert_equals_torch("mlp_residual_batch_gelu", &config);
}

#[test]
fn a_lenet_is_torchs() {
    assert_equals_torch("lenet5", &plain(Architecture::Lenet5));
}

#[test]
fn a_cnn_is_torchs() {
    assert_equals_torch("cnn", &cnn());
    let config = ModelConfig { normalization: Normalization::Batch, residual: true, ..cnn() };
    assert_equals_torch("cnn_residual_batch", &config);
}

#[test]
fn vggs_are_torchvisions() {
    assert_equals_torch("vgg11", &plain(Architecture::Vgg11));
    let config = ModelConfig { normalization: Normalization::Batch, ..plain(Architecture::Vgg11) };
    assert_equals_torch("vgg11_batch", &config);
}

#[test]
fn cifar_resnets_are_torchs() {
    assert_equals_torch("resnet8", &plain(Architecture::Resnet8));
    assert_equals_torch("resnet20", &plain(Architecture::Resnet20));
}

#[test]
fn variants_of_cifar_resnets_are_torchs() {
    let resnet20 = || plain(Architecture::Resnet20);
    let (normalization, activation) = (Normalization::Group, Activation::Gelu);
    assert_equals_torch("resnet20_group_gelu", &ModelConfig { normalization, activation, ..resnet20() });
    assert_equals_torch("resnet20_plain", &ModelConfig { residual: false, ..resnet20() });
    let config = ModelConfig { normalization: Normalization::None, ..plain(Architecture::Resnet8) };
    assert_equals_torch("resnet8_without_norm", &config);
}

#[test]
fn imagenet_resnets_are_torchvisions() {
    assert_equals_torch("resnet18", &plain(Architecture::Resnet18));
    let config = ModelConfig { normalization: Normalization::Group, ..plain(Architecture::Resnet18) };
    assert_equals_torch("resnet18_group", &config);
    assert_equals_torch("resnet50", &plain(Architecture::Resnet50));
}

#[test]
fn a_seed_gives_the_weights_that_torchs_own_layers_draw_from_it() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (case, config, shape) in [("mlp", mlp(), [1, 1, 8, 8]), ("lenet5", plain(Architecture::Lenet5), [1, 1, 28, 28])]
    {
        tch::manual_seed(7);
        let network = build(&config, &shape);
        let golden = &golden()["seeded"][case];
        assert_eq!(network.parameters.len(), golden.as_object().unwrap().len());
        for Parameter { name, tensor, .. } in &network.parameters {
            let flat = tensor.flatten(0, -1);
            let last = flat.narrow(0, flat.size()[0] - 3, 3);
            // The draws are the same; scaling them may or may not be fused into one rounding.
            let off = error(&values(&last), &floats(&golden[name.as_str()]));
            assert!(off < 1e-6, "{case}: {name} is off by {off:e}");
        }
    }
}

#[test]
fn names_shapes_and_order_are_those_of_torchvisions_state_dicts() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let vgg16 = ModelConfig { normalization: Normalization::Batch, ..plain(Architecture::Vgg16) };
    let cases = [
        ("vgg11", plain(Architecture::Vgg11)),
        ("vgg16_batch", vgg16),
        ("resnet18", plain(Architecture::Resnet18)),
        ("resnet50", plain(Architecture::Resnet50)),
    ];
    for (case, config) in cases {
        let input = ImageShape { channels: 3, height: 224, width: 224 };
        // Constant weights: the drawing of 138 million numbers is not what is tested.
        let initialization = Initialization { method: InitializationMethod::Constant, ..config.initialization.clone() };
        let network = model::build(&ModelConfig { initialization, ..config }, input, 1000, Device::Cpu).unwrap();
        let got: Vec<String> = network
            .summary()
            .rows
            .iter()
            .map(|row| {
                let sides: Vec<_> = row.shape.iter().map(i64::to_string).collect();
                format!("{} {}", row.name, sides.join("x")).trim_end().to_owned()
            })
            .collect();
        let golden = &golden()["state_dicts"][case];
        let want: Vec<&str> = golden.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        assert_eq!(got, want, "{case}");
    }
}

fn resnet18(side: i64) -> Network {
    build(&plain(Architecture::Resnet18), &[1, 3, side, side])
}

#[test]
#[ignore = "needs PyTorch: make test-peers"]
fn torchvision_loads_a_file_of_weights_and_answers_alike() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    const SIDE: i64 = 64;
    let folder = tempfile::tempdir().unwrap();
    let (weights, expected) = (folder.path().join("model.safetensors"), folder.path().join("expected.json"));
    tch::manual_seed(3);
    let network = resnet18(SIDE);
    // Moves the running statistics away from where they begin.
    let _ = network.forward(&Tensor::randn([4, 3, SIDE, SIDE], (Kind::Float, Device::Cpu)), &Pass::training()).unwrap();
    model::weights::save(&network.parameters, &weights).unwrap();
    let pixels = 2 * 3 * SIDE * SIDE;
    let images = Tensor::linspace(-1, 1, pixels, (Kind::Float, Device::Cpu)).reshape([2, 3, SIDE, SIDE]);
    let logits = tch::no_grad(|| network.forward(&images, &Pass::evaluation()).unwrap());
    let logits: Vec<Vec<f64>> =
        (0..2).map(|image| Vec::try_from(logits.get(image).to_kind(Kind::Double)).unwrap()).collect();
    let json = serde_json::json!({ "classes": CLASSES, "image_size": SIDE, "logits": logits });
    std::fs::write(&expected, json.to_string()).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = std::process::Command::new(root.join(".deps/peers/bin/python"));
    let output = python.arg(root.join("tests/peers/load_weights.py")).args([&weights, &expected]).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
