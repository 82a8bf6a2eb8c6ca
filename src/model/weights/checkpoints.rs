//! Tests with training checkpoints that contain everything scripts save in addition to weights, from
//! `tests/golden/checkpoints.py`.

use std::{fs, path::PathBuf};

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::{
    LoadReport, WeightsError,
    golden::{net, values, wanted},
    load_into, load_state_dict,
};
use crate::{disk::TensorFile, model::Network};

/// Files of all protocols and both formats, with the weights of `zip.pth`.
const WHOLE: [&str; 7] = ["objects_1", "objects_2", "objects_4", "objects_5", "legacy_1", "legacy_2", "subclass"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(format!("{name}.pth"))
}

fn expected() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/weights.json")).unwrap()
}

/// Asserts that the model has the weights of `file` in `weights.json`.
fn assert_weights(network: &Network, file: &str, what: &str) {
    for parameter in &network.parameters {
        let name = parameter.name.as_str();
        assert_eq!(values(&parameter.tensor), wanted(&expected()["files"][file], name), "{name} of {what}");
    }
}

/// Returns the message after the file name.
fn message(error: &WeightsError) -> String {
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message.split_once(".pth: ").unwrap().1.to_owned()
}

#[test]
fn whatever_lies_beside_the_weights_in_whatever_protocol_they_are_loaded() {
    for name in WHOLE {
        let network = net(3);
        let report = load_into(&network, &path(name), true).unwrap();
        assert_weights(&network, "zip.pth", name);
        assert_eq!((report.loaded, report.remarks()), ([8, 8], Vec::<String>::new()), "{name}");
        assert_eq!((report.key, &*report.prefix), (None, ""), "{name}");
    }
}

#[test]
fn of_several_state_dicts_the_weights_themselves_are_taken_or_the_one_that_is_named() {
    let load = |key: Option<&str>| -> (Network, LoadReport) {
        let network = net(3);
        let report = load_state_dict(&network, &path("several"), key, true).unwrap();
        (network, report)
    };
    for (key, file, prefix) in [
        (None, "checkpoint.pth", "module."),
        (Some("state_dict"), "checkpoint.pth", "module."),
        (Some("state_dict.module"), "checkpoint.pth", ""),
        (Some("state_dict_ema"), "strided.pth", "module."),
        (Some("ema.module"), "compiled.pth", ""),
        (Some("nets.0"), "double.pth", ""),
        (Some("optimizer.exp_avg"), "half.pth", ""),
    ] {
        let (network, report) = load(key);
        assert_weights(&network, file, &format!("{key:?}"));
        assert_eq!((&*report.prefix, report.loaded), (prefix, [8, 8]), "{key:?}");
    }
    let line = load(None).1.to_string();
    let told = "(PyTorch's zip format; the state dict state_dict; model.weights_key can select another one: \
                state_dict_ema, ema.module, nets.0; prefix module. removed from the names)";
    assert!(line.ends_with(told), "{line}");
    for key in ["model", "ema", "state_dict.layers.7", "epoch", "nets.1", "optimizer.state"] {
        let error = load_state_dict(&net(3), &path("several"), Some(key), true).unwrap_err();
        assert!(matches!(error, WeightsError::NoKey { .. }));
        let want = format!("got {key}, want one of state_dict_ema, state_dict, ema.module, nets.0");
        assert_eq!(message(&error), want);
    }
    let error = load_state_dict(&net(3), &super::golden::path("zip.pth"), Some("ema"), true).unwrap_err();
    assert_eq!(message(&error), "got ema, want no key: the file is a single state dict");
}

#[test]
fn a_weight_that_cannot_be_read_is_an_error_by_the_name_of_what_it_is() {
    let network = net(3);
    let before = values(&network.parameters.get("classifier.bias").unwrap().tensor);
    let error = load_into(&network, &path("not_built"), true).unwrap_err();
    let want = "different classifier.bias (got an object of torch._utils._rebuild_qtensor, which is not loaded, want \
                Float [4])";
    assert!(message(&error).contains(want), "{error}");
    let report = load_into(&network, &path("not_built"), false).unwrap();
    assert_eq!(report.loaded, [7, 8]);
    assert!(report.remarks()[0].contains(want.strip_prefix("different ").unwrap()), "{:?}", report.remarks());
    assert_eq!(values(&network.parameters.get("classifier.bias").unwrap().tensor), before);
}

/// Writes the weights of a new network to a safetensors file under other names. Returns the file and the network.
fn renamed(rename: impl Fn(&str) -> Vec<String>, more: &[&str]) -> (tempfile::TempDir, PathBuf, Network) {
    let network = net(3);
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for parameter in &network.parameters {
        for (index, name) in rename(parameter.name.as_str()).into_iter().enumerate() {
            // Copies differ from the first one.
            let tensor = parameter.tensor.detach_copy() + index as i64;
            tensors.push((name, tensor.to_kind(parameter.tensor.kind())));
        }
    }
    tensors.extend(more.iter().map(|name| ((*name).to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)))));
    let mut file = TensorFile::default();
    file.fill(&tensors).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    fs::write(&path, file.bytes().unwrap()).unwrap();
    (folder, path, network)
}

fn assert_same(network: &Network, want: &Network) {
    for (got, want) in network.parameters.iter().zip(&want.parameters) {
        assert_eq!(values(&got.tensor), values(&want.tensor), "{}", got.name);
    }
}

#[test]
fn whatever_stands_before_the_names_goes_and_what_stands_beside_them_is_told() {
    for prefix in
        ["module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "student.encoder.", "my.own_net."]
    {
        let (_folder, path, want) =
            renamed(|name| vec![format!("{prefix}{name}")], &["criterion.weight", "n_averaged"]);
        let network = net(3);
        let report = load_into(&network, &path, true).unwrap();
        assert_same(&network, &want);
        assert_eq!((&*report.prefix, report.loaded), (prefix, [8, 8]));
        let told = format!("not under the prefix {prefix}, skipped: criterion.weight, n_averaged");
        assert_eq!(report.remarks(), [told]);
    }
    let (_folder, path, want) = renamed(|name| vec![name.to_owned()], &["criterion.weight", "n_averaged"]);
    let network = net(3);
    let report = load_into(&network, &path, true).unwrap();
    assert_same(&network, &want);
    assert_eq!(report.remarks(), ["not in the model, skipped: criterion.weight, n_averaged"]);
}

#[test]
fn more_layers_than_the_model_has_are_another_model() {
    for more in ["layers.1.conv.weight", "classifier.scale"] {
        for prefix in ["", "module."] {
            let more = format!("{prefix}{more}");
            let (_folder, path, _) = renamed(|name| vec![format!("{prefix}{name}")], &[&more]);
            let error = load_into(&net(3), &path, true).unwrap_err();
            let want = format!("unexpected {};", more.trim_start_matches(prefix));
            assert!(message(&error).contains(&want), "{error}");
            assert_eq!(load_into(&net(3), &path, false).unwrap().loaded, [8, 8]);
        }
    }
}

#[test]
fn whatever_stands_in_place_of_a_weight_is_told() {
    // Like an OrderedDict: {"classifier.bias": VALUE, "a": a tensor}, where the model expects a tensor.
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89NtR";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    for (value, want) in [
        (&b"K\x01"[..], "a number"),
        (b"]", "a list"),
        (b"}", "a dict"),
        (b"N", "an object that is not a tensor"),
        (b"cargparse\nNamespace\n)\x81", "an object of argparse.Namespace, which is not loaded"),
        (b"cproject\nNet\n", "project.Net itself"),
    ] {
        let name = b"X\x0f\0\0\0classifier.bias";
        let pickle = [&b"\x80\x02}("[..], name, value, b"X\x01\0\0\0a", tensor, b"u."].concat();
        fs::write(&path, super::hostile::zip(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 8])])).unwrap();
        let error = load_into(&net(3), &path, true).unwrap_err();
        let want = format!("different classifier.bias (got {want}, want Float [4])");
        assert!(message(&error).contains(&want), "{error}");
    }
}

#[test]
fn of_two_nets_in_one_state_dict_the_student_is_taken_or_the_one_that_is_named() {
    let both = |name: &str| vec![format!("student.{name}"), format!("teacher.module.{name}")];
    let (_folder, path, want) = renamed(both, &[]);
    let network = net(3);
    let report = load_into(&network, &path, true).unwrap();
    assert_same(&network, &want);
    assert_eq!((&*report.prefix, report.outside.len()), ("student.", 8));
    for key in ["teacher", "teacher.module"] {
        let report = load_state_dict(&network, &path, Some(key), true).unwrap();
        assert_eq!((report.loaded, report.key.as_deref()), ([8, 8], Some(key)));
        let (got, want) = (network.parameters.get("classifier.bias"), want.parameters.get("classifier.bias"));
        let want: Vec<f64> = values(&(&want.unwrap().tensor + 1));
        assert_eq!(values(&got.unwrap().tensor), want);
    }
}

#[test]
fn an_error_recommends_nothing_that_is_set_or_does_not_help() {
    let other = crate::model::fixture::network(&crate::model::fixture::config(crate::config::Architecture::Mlp));
    let told = |is_strict: bool| message(&load_into(&other, &path("several"), is_strict).unwrap_err());
    for is_strict in [true, false] {
        let message = told(is_strict);
        assert!(!message.contains("weights_strict"), "nothing fits: {message}");
        let want = "check model.name and the other keys of [model], or select another state dict with \
                    model.weights_key: state_dict_ema, \
                    ema.module, nets.0";
        assert!(message.ends_with(want), "{message}");
    }
}

#[test]
fn pipes_devices_and_folders_are_errors_and_no_wait() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, want) in [
        (&*pipe, "cannot read the weights: it is a pipe, not a regular file; check the path"),
        (
            std::path::Path::new("/dev/zero"),
            "cannot read the weights: it is a device, not a regular file; check the path",
        ),
        (folder.path(), "cannot read the weights: it is a folder, not a regular file; check the path"),
    ] {
        let message = load_into(&net(3), path, true).unwrap_err().to_string();
        assert!(message.ends_with(want), "{message}");
        assert!(super::load(&net(3).parameters, path).unwrap_err().to_string().ends_with(want));
    }
}

#[test]
fn damaged_checkpoints_are_refused_or_load_with_the_shapes_of_the_model() {
    let files = WHOLE.map(|name| fs::read(path(name)).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.pth");
    let flips = proptest::collection::vec((0.0..1.0f64, 1..=255u8), 1..6);
    let result = TestRunner::new(ProptestConfig::with_cases(400)).run(&(0..files.len(), flips), |(index, flips)| {
        let mut bytes = files[index].clone();
        for (at, flip) in flips {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] ^= flip;
        }
        fs::write(&file, &bytes).unwrap();
        let (network, whole) = (net(3), net(3));
        match load_into(&network, &file, false) {
            Err(error) => prop_assert_eq!(error.to_string().lines().count(), 1),
            Ok(_) => {
                for (got, want) in network.parameters.iter().zip(&whole.parameters) {
                    prop_assert_eq!((got.tensor.size(), got.tensor.kind()), (want.tensor.size(), want.tensor.kind()));
                }
            }
        }
        Ok(())
    });
    result.unwrap();
}
