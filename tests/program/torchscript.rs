//! Models from TorchScript files: `golden/torchscript.py` generates them, and `golden/torchscript.json` from PyTorch's
//! results.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use gradwatch::{
    config::Config,
    data::ImageShape,
    gradient::ProfileSource,
    inspect::{Verdict, inspect},
    model::{self, Network, Pass},
};
use serde_json::Value;
use tch::{Device, Reduction, Tensor};

use crate::harness::{
    Workplace,
    checkpoints::{assert_same, begin, resume},
    exclusive,
};

const MODEL: i32 = 5;
const CHECKPOINT: i32 = 10;
const INPUT: ImageShape = ImageShape { channels: 1, height: 8, width: 8 };
const CLASSES: usize = 4;
/// Relative to the largest number of a tensor: sums in float32 depend on their order.
const TOLERANCE: f64 = 1e-5;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("torchscript_{name}.pt"))
}

/// An experiment on the file `net.pt` that uses every feature with state between steps.
fn toml(more: &str) -> String {
    format!(
        "run = {{ max_epochs = 2, threads = 1 }}\n\
         data = {{ source = \"synthetic\", samples = 300, classes = 4, image_size = 8, channels = 1, batch_size = 32 }}\n\
         model = {{ name = \"torchscript\", path = \"net.pt\" }}\n\
         optimizer = {{ learning_rate = 0.05, momentum = 0.9 }}\n\
         monitor = {{ first_steps = 1, parameters_every_steps = 2 }}\n\
         checkpoint = {{ every_steps = 2, keep_last = 3 }}\n{more}"
    )
}

fn workplace(name: &str, more: &str) -> Workplace {
    let workplace = Workplace::new(&toml(more));
    fs::copy(golden(name), workplace.path().join("net.pt")).unwrap();
    workplace
}

fn config(name: &str) -> Config {
    let path = format!("model.path=\"{}\"", golden(name).display());
    Config::parse_with(&toml(""), "test", &[path]).unwrap()
}

fn load(name: &str) -> Network {
    model::build(&config(name).model, INPUT, CLASSES, Device::Cpu).unwrap()
}

/// `images` of `torchscript.py`.
fn images(count: i64) -> Tensor {
    let values: Vec<f32> = (0..count * 64).map(|element| (element * 37 % 128) as f32 / 128.0 - 0.5).collect();
    Tensor::from_slice(&values).reshape([count, 1, 8, 8])
}

fn assert_equals(tensor: &Tensor, want: &Value, what: &str) {
    let got = Vec::<f64>::try_from(tensor.detach().flatten(0, -1).to_kind(tch::Kind::Double)).unwrap();
    let want: Vec<f64> = want.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0f64, |largest, number| largest.max(number.abs()));
    let off = got.iter().zip(&want).fold(0.0f64, |off, (got, want)| off.max((got - want).abs()));
    // A bias before a normalization has no gradient except rounding.
    assert!(off <= TOLERANCE * largest.max(1e-3), "{what}: {off} of {largest}");
}

#[test]
fn names_logits_gradients_and_running_statistics_are_pytorchs() {
    let _alone = exclusive();
    let expected: Value = serde_json::from_str(include_str!("../golden/torchscript.json")).unwrap();
    for name in ["cnn", "traced"] {
        let (network, want) = (load(name), &expected[name]);
        let names: Vec<&str> = network.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let golden: Vec<&str> = want["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        // The weight shared with `again`.
        let own: Vec<&str> = golden.into_iter().filter(|name| *name != "tied.weight").collect();
        assert_eq!(names, own);
        let logits = network.forward(&images(3), &Pass::evaluation()).unwrap();
        assert_equals(&logits, &want["logits"], name);
        let labels = Tensor::from_slice(&[1i64, 3, 0]);
        logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0).backward();
        for parameter in network.parameters.trainable() {
            let name = parameter.name.as_str();
            assert_equals(&parameter.tensor.grad(), &want["grads"][name], name);
        }
        let _ = network.forward(&images(3), &Pass::training()).unwrap();
        let buffers = want["buffers"].as_object().unwrap();
        assert_eq!(buffers.is_empty(), name == "traced");
        for (name, values) in buffers {
            assert_equals(&network.parameters.get(name).unwrap().tensor, values, name);
        }
    }
}

#[test]
fn each_pass_is_in_its_own_mode_and_loading_leaves_no_trace() {
    let _alone = exclusive();
    let network = load("cnn");
    let tracked = || network.parameters.get("stem.1.num_batches_tracked").unwrap().tensor.int64_value(&[]);
    assert_eq!(tracked(), 0);
    let logits = |pass: &Pass<'_>| network.forward(&images(8), pass).unwrap();
    assert_ne!(logits(&Pass::training()), logits(&Pass::training()), "dropout draws anew");
    assert_eq!(tracked(), 2);
    assert_eq!(logits(&Pass::evaluation()), logits(&Pass::evaluation()));
    assert_eq!(tracked(), 2);
    assert_eq!((network.model.head(), load("traced").model.head()), ("head", "layers.5"));
    let draw = |load: &dyn Fn()| {
        tch::manual_seed(1);
        load();
        Tensor::randn([4], (tch::Kind::Float, Device::Cpu))
    };
    assert_eq!(draw(&|| ()), draw(&|| drop(load("cnn"))));
}

#[test]
fn a_resumed_run_is_the_one_that_was_never_stopped() {
    for more in [
        "clipping = { mode = \"agc\" }\nema = { decay = 0.5 }\n",
        "run.precision = \"bf16\"\nclipping = { mode = \"norm\" }\n",
    ] {
        let toml = match more.strip_prefix("run.precision = \"bf16\"\n") {
            Some(rest) => toml(rest).replace("threads = 1", "threads = 1, precision = \"bf16\""),
            None => toml(more),
        };
        let workplace = Workplace::new(&toml);
        fs::copy(golden("cnn"), workplace.path().join("net.pt")).unwrap();
        let whole = workplace.train("whole", &[]);
        let cut = begin(&workplace, "cut", 5);
        let outcome = resume(&workplace, "cut", &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_same(&cut, &whole, more);
        let log = fs::read_to_string(whole.join("train.log")).unwrap();
        assert!(log.contains("hooks on 15 parameters; frozen: none"), "{log}");
        let best = Tensor::read_safetensors(whole.join("weights/best.safetensors")).unwrap();
        let best: BTreeMap<String, Tensor> = best.into_iter().collect();
        let network = {
            let _alone = exclusive();
            load("cnn")
        };
        assert_eq!(best.len(), network.parameters.len());
        for parameter in &network.parameters {
            let name = parameter.name.as_str();
            // A buffer that no pass writes, and a bias that a normalization cancels.
            if !["scale", "block.0.bias"].contains(&name) {
                assert_ne!(best[name], parameter.tensor, "{name} was trained, or counted");
            }
        }
    }
}

#[test]
fn a_run_goes_on_with_its_file_wherever_that_lies_and_with_no_other() {
    let workplace = workplace("traced", "");
    let _ = begin(&workplace, "run", 3);
    let file = workplace.path().join("net.pt");
    fs::rename(&file, workplace.path().join("moved.pt")).unwrap();
    let gone = resume(&workplace, "run", &[]);
    assert_eq!(gone.code, Some(MODEL), "{gone:#?}");
    assert!(gone.stderr.contains("net.pt: No such file") && gone.stderr.contains("a resumed run needs"), "{gone:#?}");
    fs::copy(golden("logistic"), &file).unwrap();
    let other = resume(&workplace, "run", &[]);
    assert_eq!(other.code, Some(CHECKPOINT), "{other:#?}");
    assert!(other.stderr.contains("the run started with another file (got BLAKE3 "), "{other:#?}");
    let moved = resume(&workplace, "run", &["--set", "model.path=moved.pt"]);
    assert_eq!(moved.code, Some(0), "{moved:#?}");
}

#[test]
fn ten_logistic_layers_are_found_to_vanish_before_and_while_they_train() {
    let seen = {
        let _alone = exclusive();
        inspect(config("logistic"), 2).unwrap()
    };
    assert_eq!(seen.source, ProfileSource::BiasGradients);
    // Ten of them and the one that outputs the logits.
    assert_eq!(seen.layers.len(), 11);
    let slope = seen.slope.unwrap().log2_per_layer;
    // A sigmoid's derivative is at most 1/4, and Xavier's weights preserve the rest.
    assert!((slope - 0.235f64.log2()).abs() < 0.3, "{slope}");
    assert_eq!(seen.layers[3].verdict, Verdict::Shrinks);
    assert!(seen.expected_slope.is_none() && seen.layers[3].expected_factor.is_none());

    let workplace = workplace("logistic", "");
    let outcome = workplace.call(&["inspect", "small.toml", "--try"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let text = outcome.stdout;
    assert!(text.starts_with("vanishing (critical): "), "{text}");
    assert!(text.contains("grad rms  RMS of bias gradients, as a proxy"), "{text}");
    assert!(!text.contains("NaN") && !text.contains("model."), "{text}");
    assert!(text.lines().any(|line| line.starts_with("tried     nothing")), "{text}");

    let run = workplace.train("run", &["run.max_steps=1"]);
    let findings = fs::read_to_string(run.join("findings.jsonl")).unwrap();
    assert!(findings.lines().any(|line| line.contains("\"vanishing\"") && line.contains("\"critical\"")), "{findings}");
}

#[test]
fn an_inspection_of_a_healthy_net_finds_nothing() {
    let _alone = exclusive();
    let seen = inspect(config("cnn"), 2).unwrap();
    let layers: Vec<&str> = seen.layers.iter().map(|layer| &*layer.seen.layer).collect();
    // Not block.0: a normalization cancels its bias.
    assert_eq!(layers, ["stem.1", "block.1", "hidden", "again", "tied", "head"]);
    assert!(seen.layers.iter().all(|layer| layer.verdict == Verdict::Ok), "{seen:#?}");
    assert_eq!(seen.findings, []);
}

#[test]
fn check_shows_the_file_and_its_tensors() {
    let workplace = workplace("cnn", "");
    let outcome = workplace.call(&["check", "small.toml"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    for line in ["path = \"net.pt\"", "stem.1.running_mean", "again.weight"] {
        assert!(outcome.stdout.contains(line), "{line}: {outcome:#?}");
    }
    assert!(!outcome.stdout.contains("activation"), "{outcome:#?}");
}

/// Checks that `check` rejects `net.pt` in one line with this text.
fn refuses(workplace: &Workplace, settings: &[&str], want: &str) {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["check", "small.toml"].into_iter().chain(settings).collect();
    let outcome = workplace.call(&arguments);
    assert_eq!(outcome.code, Some(MODEL), "{want}: {outcome:#?}");
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome:#?}");
    assert!(outcome.stderr.contains(&format!("model.path: net.pt: {want}")), "{want}: {outcome:#?}");
}

/// The same archive in a future version of the format: changes its record `version` and the checksums.
fn of_newer_torch(whole: &[u8]) -> Vec<u8> {
    let (was, is) = (b"3\n", b"99");
    let name = b"/version";
    let at = |bytes: &[u8]| {
        whole.windows(bytes.len()).enumerate().filter(|(_, seen)| *seen == bytes).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let mut newer = whole.to_vec();
    for place in at(&crc32fast::hash(was).to_le_bytes()) {
        newer[place..place + 4].copy_from_slice(&crc32fast::hash(is).to_le_bytes());
    }
    // After the name, an extra field pads the content to a multiple of 64 bytes.
    let header = at(name)[0] + name.len();
    let content = header + whole[header..].windows(2).position(|bytes| bytes == was).unwrap();
    newer[content..content + 2].copy_from_slice(is);
    newer
}

#[test]
fn what_is_no_model_for_the_data_is_refused_in_one_line() {
    let workplace = workplace("cnn", "");
    let file = workplace.path().join("net.pt");
    let whole = fs::read(&file).unwrap();
    let as_file = |bytes: &[u8], want: &str| {
        fs::write(&file, bytes).unwrap();
        refuses(&workplace, &[], want);
    };
    refuses(
        &workplace,
        &["data.channels=3"],
        "got no logits for images of 3 x 8 x 8 (Given groups=1, weight of size [4, 1, 3, 3]",
    );
    refuses(&workplace, &["data.classes=5"], "got logits of shape [2, 4], want [2, 5], images and classes");
    as_file(b"\n<!DOCTYPE html>\n<html>Sign in</html>", "got an HTML page");
    as_file(b"", "got an empty file");
    as_file(b"torch", "got a file that is not a zip archive");
    for bytes in [100, whole.len() / 2, whole.len() - 1] {
        as_file(&whole[..bytes], &format!("got an archive that is truncated after {bytes} bytes"));
    }
    for (name, want) in [
        ("state_dict", "got weights without a program"),
        ("frozen", "got a module without trainable parameters"),
        ("pair", "got no logits for images of 1 x 8 x 8 (its forward returns a Tuple and no Tensor)"),
        ("traced_training", "got a trace from training mode"),
    ] {
        as_file(&fs::read(golden(name)).unwrap(), want);
    }
    as_file(&of_newer_torch(&whole), "got the format of a later torch version, want a TorchScript file of torch 2.13");
    fs::remove_file(&file).unwrap();
    refuses(&workplace, &[], "No such file");
    fs::create_dir(&file).unwrap();
    refuses(&workplace, &[], "it is a folder, not a regular file");
}

#[test]
fn a_trace_whose_running_statistics_stay_is_told_and_trains() {
    let workplace = workplace("traced_evaluation", "");
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "run", "--set", "run.max_steps=2"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains("batch normalization keeps the running statistics of the file"), "{outcome:#?}");
}

#[test]
fn batches_of_one_image_are_refused_where_the_file_normalizes_over_them() {
    let workplace = workplace("cnn", "");
    let settings = ["--set", "data.batch_size=1"];
    // The feature maps of the stem have a variance even in a single image.
    assert_eq!(workplace.call(&[&["check", "small.toml"], &settings[..]].concat()).code, Some(0));
}
