//! Tests with files written by torch.save and safetensors, and their expected contents, from `tests/golden/weights.py`.

use std::{collections::HashSet, fs, path::PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::{Format, LoadReport, WeightsError, load_into};
use crate::{
    config::{Architecture, ModelConfig, Normalization},
    data::ImageShape,
    model::{Network, Pass, build, fixture},
};

/// All files whose tensors match the network.
const FILES: [&str; 12] = [
    "bfloat16.pth",
    "checkpoint.pth",
    "compiled.pth",
    "double.pth",
    "half.pth",
    "half.safetensors",
    "legacy.pth",
    "seven_classes.pth",
    "strided.pth",
    "strided_legacy.pth",
    "zip.pth",
    "zip_protocol4.pth",
];

pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights").join(name)
}

fn expected() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/weights.json")).unwrap()
}

/// The network in `weights.py`, for images with this number of channels.
pub(super) fn net(channels: usize) -> Network {
    let config = ModelConfig {
        width: Some(2),
        depth: Some(1),
        normalization: Normalization::Batch,
        ..fixture::config(Architecture::Cnn)
    };
    build(&config, ImageShape { channels, height: 4, width: 4 }, 4, Device::Cpu).unwrap()
}

pub(super) fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).contiguous().view(-1)).unwrap()
}

/// The values of a tensor in a file, converted to the model's type.
pub(super) fn wanted(file: &Value, name: &str) -> Vec<f64> {
    let numbers = file[name]["values"].as_array().unwrap();
    numbers.iter().map(|number| f64::from(number.as_f64().unwrap() as f32)).collect()
}

fn load(name: &str) -> (Network, LoadReport) {
    let network = net(3);
    let report = load_into(&network, &path(name), true).unwrap();
    (network, report)
}

#[test]
fn every_tensor_of_every_format_type_and_stride_is_torchs() {
    let expected = expected();
    assert_eq!(expected["files"].as_object().unwrap().len(), FILES.len());
    for name in FILES {
        let (file, (network, report)) = (&expected["files"][name], load(name));
        let is_head = |name: &str| name.starts_with("classifier.");
        let of_another_head = name == "seven_classes.pth";
        for parameter in &network.parameters {
            let own = parameter.name.as_str();
            if !(of_another_head && is_head(own)) {
                assert_eq!(values(&parameter.tensor), wanted(file, own), "{own} of {name}");
            }
            assert_eq!(parameter.tensor.requires_grad(), parameter.is_trainable);
        }
        assert_eq!(network.parameters.len(), 8);
        assert_eq!(report.loaded, [if of_another_head { 6 } else { 8 }, 8], "{name}");
        assert_eq!(report.head.is_some(), of_another_head);
        assert!(report.non_finite.is_empty() && report.missing.is_empty() && report.summed.is_none());
    }
}

#[test]
fn the_logits_are_those_of_the_net_in_torch() {
    let (network, _) = load("zip.pth");
    let images: Vec<f32> = (0..96).map(|index| (index * 37 % 128) as f32 / 128.0 - 0.5).collect();
    let images = Tensor::from_slice(&images).reshape([2, 3, 4, 4]);
    let logits = values(&network.forward(&images, &Pass::evaluation()).unwrap());
    let want: Vec<f64> = expected()["logits"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(logits.len(), want.len());
    for (got, want) in logits.iter().zip(&want) {
        assert!((got - want).abs() < 1e-5, "{got} {want}");
    }
}

#[test]
fn the_report_says_what_was_done() {
    let line = |name: &str| load(name).1.to_string();
    let told = |name: &str| line(name).split_once(" (").unwrap().1.to_owned();
    assert!(line("zip.pth").contains("zip.pth: 8 of 8 tensors loaded (PyTorch's zip format)"));
    assert_eq!(told("half.safetensors"), "safetensors; float16 converted to float32)");
    assert_eq!(told("bfloat16.pth"), "PyTorch's format from before 1.6; bfloat16 converted to float32)");
    assert_eq!(told("double.pth"), "PyTorch's zip format; float64 converted to float32)");
    assert_eq!(told("checkpoint.pth"), "PyTorch's zip format; prefix module. removed from the names)");
    assert_eq!(told("compiled.pth"), "PyTorch's format from before 1.6; prefix _orig_mod. removed from the names)");
    let seven = load("seven_classes.pth").1;
    assert_eq!(
        seven.remarks(),
        ["classifier keeps its random initialization: it has 7 classes in the file and 4 in the model"]
    );
    let bytes = fs::read(path("zip.pth")).unwrap();
    assert_eq!(load("zip.pth").1.digest, blake3::hash(&bytes).to_hex().as_str());
}

#[test]
fn a_first_filter_of_three_channels_is_summed_for_images_of_one() {
    let network = net(1);
    let report = load_into(&network, &path("half.pth"), true).unwrap();
    assert_eq!(report.remarks(), ["layers.0.conv.weight is summed over its 3 channels for single-channel images"]);
    let filter = wanted(&expected()["files"]["half.pth"], "layers.0.conv.weight");
    let got = values(&network.parameters.get("layers.0.conv.weight").unwrap().tensor);
    for (index, got) in got.iter().enumerate() {
        let (output, place) = (index / 9, index % 9);
        let want: f64 = (0..3).map(|channel| filter[output * 27 + channel * 9 + place]).sum();
        // Three float16 values below 4, added in float32.
        assert!((got - want).abs() < 1e-6, "{index}: {got} {want}");
    }
    assert_eq!(got.len(), 18);
}

#[test]
fn what_does_not_fit_is_an_error_by_name_and_is_left_out_where_that_is_asked_for() {
    let config = ModelConfig { width: Some(2), depth: Some(1), residual: true, ..fixture::config(Architecture::Cnn) };
    let other = build(&config, ImageShape { channels: 3, height: 4, width: 4 }, 4, Device::Cpu).unwrap();
    let before = values(&other.parameters.get("classifier.weight").unwrap().tensor);
    let error = load_into(&other, &path("zip.pth"), true).unwrap_err();
    assert!(matches!(error, WeightsError::Mismatch { .. }));
    let message = error.to_string();
    let want = "zip.pth: the weights belong to another model: missing layers.0.conv.bias; unexpected \
                layers.0.norm.weight, \
                layers.0.norm.bias, layers.0.norm.running_mean, layers.0.norm.running_var and 1 more; different none; check";
    assert!(message.contains(want) && message.contains("model.weights_strict = false"), "{message}");
    assert_eq!(values(&other.parameters.get("classifier.weight").unwrap().tensor), before);
    let report = load_into(&other, &path("zip.pth"), false).unwrap();
    assert_eq!(report.loaded, [3, 4]);
    assert_eq!(report.remarks().len(), 2);
    assert!(report.remarks()[0].starts_with("not in the file, keeps its random initialization: layers.0.conv.bias"));
    // If nothing fits, a non-strict load fails too.
    let mlp = fixture::network(&fixture::config(Architecture::Mlp));
    assert!(matches!(load_into(&mlp, &path("zip.pth"), false), Err(WeightsError::Mismatch { .. })));
}

#[test]
fn numbers_that_are_not_finite_in_the_models_type_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.safetensors");
    let network = net(3);
    let tensors: Vec<(String, Tensor)> = network
        .parameters
        .iter()
        .map(|parameter| (parameter.name.to_string(), parameter.tensor.detach().to_kind(Kind::Double)))
        .map(|(name, tensor)| match &*name {
            "classifier.bias" => (name, tensor.fill(1e300)),
            "layers.0.norm.num_batches_tracked" => (name, tensor.to_kind(Kind::Int)),
            _ => (name, tensor),
        })
        .collect();
    let mut bytes = crate::disk::TensorFile::default();
    bytes.fill(&tensors).unwrap();
    fs::write(&file, bytes.bytes().unwrap()).unwrap();
    let report = load_into(&network, &file, true).unwrap();
    assert_eq!(report.remarks(), ["with non-finite values: classifier.bias"]);
}

/// Loads a damaged file. If it loads, its tensors have the shapes of the model. In a zip archive, whose entries have
/// checksums, their values equal those of the undamaged file.
fn survives(name: &str, bytes: &[u8], folder: &std::path::Path) {
    if let Ok(format) = Format::of(bytes)
        && let Ok(contents) = format.read(bytes)
        && let Ok(chosen) = contents.choose(&HashSet::new())
    {
        for (name, stored) in &chosen.dict.tensors {
            let numel: i64 = stored.size.iter().product();
            if numel < 1000 {
                assert_eq!(stored.read().unwrap().size(), stored.size, "{name}");
            }
        }
    }
    let (file, network) = (folder.join("file"), net(3));
    fs::write(&file, bytes).unwrap();
    match load_into(&network, &file, true) {
        Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
        Ok(_) => {
            let whole = load(name).0;
            for (got, want) in network.parameters.iter().zip(&whole.parameters) {
                assert_eq!((got.tensor.size(), got.tensor.kind()), (want.tensor.size(), want.tensor.kind()));
                if bytes.starts_with(b"PK") && name != "seven_classes.pth" {
                    assert_eq!(values(&got.tensor), values(&want.tensor), "{} of {name}", got.name);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn damaged_files_are_refused_or_load_as_they_should(
        file in 0..FILES.len(),
        cut in proptest::option::weighted(0.3, 0.0..1.0f64),
        flips in proptest::collection::vec((0.0..1.0f64, 1..=255u8), 0..4),
    ) {
        let name = FILES[file];
        let mut bytes = fs::read(path(name)).unwrap();
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        for (at, flip) in flips {
            let at = (at * bytes.len() as f64) as usize;
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= flip);
        }
        survives(name, &bytes, tempfile::tempdir().unwrap().path());
    }
}
