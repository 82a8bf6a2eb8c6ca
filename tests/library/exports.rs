//! Every family exported as a TorchScript file, read back by gradwatch and by PyTorch.

use std::{path::Path, process::Command};

use gradwatch::{
    config::ModelConfig,
    data::{Framing, Preprocessing},
    inference::{Probabilities, TrainedModel, WeightsOf},
    libtorch::host_copy,
    model::{self, Pass},
};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::harness::{MEMBERS, exclusive, limit};

const SIDE: i64 = 64;
const CLASSES: usize = 10;

fn images(count: i64) -> Tensor {
    Tensor::randn([count, 3, SIDE, SIDE], (Kind::Float, Device::Cpu))
}

/// A model whose running statistics differ from their initial values.
fn trained(config: ModelConfig) -> TrainedModel {
    let side = SIDE as usize;
    let (mean, std) = (vec![0.5; 3], vec![0.25; 3]);
    let framing = Framing { crop_fraction: 0.875, ..Framing::default() };
    let preprocessing = Preprocessing { channels: 3, height: side, width: side, mean, std, framing };
    let network = model::build(&config, preprocessing.shape(), CLASSES, Device::Cpu).unwrap();
    let _ = network.forward(&images(8), &Pass::training()).unwrap();
    let classes = (0..CLASSES).map(|class| format!("class {class}")).collect();
    TrainedModel { network, config, classes, probabilities: Probabilities::Softmax, preprocessing, device: Device::Cpu }
}

fn logits(model: &TrainedModel, images: &Tensor) -> Vec<f64> {
    let logits = tch::no_grad(|| model.network.forward(images, &Pass::evaluation())).unwrap();
    assert_eq!(logits.size(), [images.size()[0], CLASSES as i64]);
    host_copy(&logits).unwrap()
}

#[test]
fn every_family_is_a_torchscript_file_with_its_names_that_answers_alike_for_any_batch() {
    let _alone = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.pt");
    for (name, width) in MEMBERS {
        let model = trained(ModelConfig { width: Some(width), ..ModelConfig::as_published(name) });
        model.export_torchscript(&path).unwrap();
        let read = TrainedModel::open(&path, &WeightsOf::Best, Device::Cpu).unwrap();
        assert_eq!((&read.classes, &read.preprocessing), (&model.classes, &model.preprocessing), "{name}");
        let names = |model: &TrainedModel| {
            let parameters = model.network.parameters.iter();
            let mut names: Vec<_> = parameters.map(|one| (one.name.to_string(), one.is_trainable)).collect();
            names.sort();
            names
        };
        assert_eq!(names(&read), names(&model), "{name}");
        for images in [1, 5].map(images) {
            assert_eq!(logits(&read, &images), logits(&model, &images), "{name}");
        }
    }
}

#[test]
#[ignore = "needs PyTorch: make test-peers"]
fn pytorch_loads_both_files_and_answers_alike() {
    let _alone = exclusive();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["mobilenet_v2", "resnet18", "convnext_tiny", "densenet121", "efficientnet_b0"] {
        let model = trained(ModelConfig::as_published(name.parse().unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let [script, weights, expected] =
            ["net.pt", "net.safetensors", "expected.json"].map(|file| folder.path().join(file));
        model.export_torchscript(&script).unwrap();
        model.export_safetensors(&weights).unwrap();
        let pixels = 3 * 3 * SIDE * SIDE;
        let images = Tensor::linspace(-1, 1, pixels, (Kind::Float, Device::Cpu)).reshape([3, 3, SIDE, SIDE]);
        let json = json!({ "net": name, "classes": CLASSES, "image_size": SIDE, "logits": logits(&model, &images) });
        std::fs::write(&expected, json.to_string()).unwrap();
        let mut python = Command::new(root.join(".deps/peers/bin/python"));
        let python = python.arg(root.join("tests/peers/load_export.py")).args([&script, &weights, &expected]);
        let output = limit::output(python);
        println!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
