//! The models against PyTorch and torchvision: `golden/model.py` generates and documents `golden/model.json`.

use gradwatch::{
    config::{Activation, Architecture, ModelConfig, Normalization},
    model::{self, Network, Parameter, Pass},
};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::harness::{
    error, exclusive,
    golden_model::{CLASSES, assert_equals_golden, build, floats, state, values},
    limit,
};

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/model.json")).unwrap()
}

fn plain(name: Architecture) -> ModelConfig {
    ModelConfig::as_published(name)
}

fn assert_equals_torch(case: &str, config: &ModelConfig) {
    assert_equals_golden(&golden(), case, config);
}

fn mlp() -> ModelConfig {
    ModelConfig { width: Some(32), depth: Some(5), ..plain(Architecture::Mlp) }
}

fn cnn() -> ModelConfig {
    ModelConfig { width: Some(8), ..plain(Architecture::Cnn) }
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
    let _alone = exclusive();
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
    let _alone = exclusive();
    let vgg16 = ModelConfig { normalization: Normalization::Batch, ..plain(Architecture::Vgg16) };
    let cases = [
        ("vgg11", plain(Architecture::Vgg11)),
        ("vgg16_batch", vgg16),
        ("resnet18", plain(Architecture::Resnet18)),
        ("resnet50", plain(Architecture::Resnet50)),
    ];
    for (case, config) in cases {
        let got = state(&config);
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
    let _alone = exclusive();
    const SIDE: i64 = 64;
    let folder = tempfile::tempdir().unwrap();
    let (weights, expected) = (folder.path().join("model.safetensors"), folder.path().join("expected.json"));
    tch::manual_seed(3);
    let network = resnet18(SIDE);
    // Moves the running statistics away from their initial values.
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
    let output = limit::output(python.arg(root.join("tests/peers/load_weights.py")).args([&weights, &expected]));
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
