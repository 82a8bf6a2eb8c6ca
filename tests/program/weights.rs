//! Runs that start from existing weights, and the schedule of their frozen parameters: `golden/weights.py` generates
//! the files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use gradwatch::{
    config::Config,
    data::ImageShape,
    model::{self, Pass, weights},
};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::harness::{
    Workplace,
    checkpoints::{assert_same, begin, checkpoints, resume},
    exclusive, last_weights, limit,
};

const CONFIG: i32 = 3;
const MODEL: i32 = 5;
const CHECKPOINT: i32 = 10;

/// An experiment on the net of the golden files, 10 steps per epoch, that starts from `net.pth`.
const TOML: &str = "run = { max_epochs = 3, threads = 1 }\n\
    data = { source = \"synthetic\", samples = 334, classes = 4, image_size = 8, channels = 3, batch_size = 32 }\n\
    model = { name = \"cnn\", width = 2, depth = 1, normalization = \"batch\", weights = \"net.pth\" }\n\
    optimizer = { learning_rate = 0.05, momentum = 0.9, dampening = 0.1 }\n\
    clipping = { mode = \"autoclip\" }\n\
    ema = { decay = 0.5 }\n\
    monitor = { first_steps = 1, parameters_every_steps = 2 }\n\
    checkpoint = { every_steps = 2, keep_last = 3 }\n";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn workplace(toml: &str, file: &str) -> Workplace {
    let workplace = Workplace::new(toml);
    fs::copy(golden("weights").join(file), workplace.path().join("net.pth")).unwrap();
    workplace
}

fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

/// The weights of the oldest remaining checkpoint.
fn oldest(run: &Path) -> BTreeMap<String, Tensor> {
    tensors(&checkpoints(run)[0].join("model.safetensors"))
}

fn host(run: &Path) -> Value {
    let newest = checkpoints(run).pop().unwrap();
    serde_json::from_str(&fs::read_to_string(newest.join("host.json")).unwrap()).unwrap()
}

#[test]
fn a_run_starts_from_the_file_and_its_digest_is_on_record() {
    let workplace = workplace(TOML, "zip.pth");
    let run = workplace.train("run", &["optimizer.learning_rate=0.0", "run.max_steps=2", "ema.decay=0"]);
    let expected: Value = serde_json::from_str(include_str!("../golden/weights.json")).unwrap();
    for (name, tensor) in oldest(&run).into_iter().filter(|(name, _)| !name.contains("norm.")) {
        let got = Vec::<f64>::try_from(tensor.to_kind(Kind::Double).view(-1)).unwrap();
        let want = expected["files"]["zip.pth"][&name]["values"].as_array().unwrap();
        assert_eq!(got, want.iter().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>(), "{name}");
    }
    let digest = blake3::hash(&fs::read(golden("weights/zip.pth")).unwrap()).to_hex().to_string();
    assert_eq!(host(&run)["weights"], digest);
    let log = fs::read_to_string(run.join("train.log")).unwrap();
    assert!(log.contains("model.weights: net.pth: 8 of 8 tensors loaded (PyTorch's zip format)"), "{log}");
    let drawn = workplace.train("drawn", &["run.max_steps=2", "model={name=\"cnn\", width=2, depth=1}"]);
    assert_eq!(host(&drawn)["weights"], Value::Null);
}

#[test]
fn a_key_takes_one_of_several_state_dicts_and_the_log_says_which() {
    let workplace = Workplace::new(TOML);
    fs::copy(golden("checkpoints/several.pth"), workplace.path().join("net.pth")).unwrap();
    let expected: Value = serde_json::from_str(include_str!("../golden/weights.json")).unwrap();
    let still = ["optimizer.learning_rate=0.0", "run.max_steps=2", "ema.decay=0"];
    for (key, file, told) in [
        (
            None,
            "checkpoint.pth",
            "the state dict state_dict; model.weights_key can select another one: state_dict_ema, ema.module, nets.0;",
        ),
        (
            Some("ema.module"),
            "compiled.pth",
            "the state dict ema.module; model.weights_key can select another one: state_dict_ema, state_dict, nets.0)",
        ),
    ] {
        let setting = key.map(|key| format!("model.weights_key={key}"));
        let settings: Vec<&str> = still.into_iter().chain(setting.as_deref()).collect();
        let run = workplace.train(file.trim_end_matches(".pth"), &settings);
        for (name, tensor) in oldest(&run).into_iter().filter(|(name, _)| !name.contains("norm.")) {
            let got = Vec::<f64>::try_from(tensor.to_kind(Kind::Double).view(-1)).unwrap();
            let want = expected["files"][file][&name]["values"].as_array().unwrap();
            assert_eq!(got, want.iter().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>(), "{name}");
        }
        let log = fs::read_to_string(run.join("train.log")).unwrap();
        assert!(log.contains(told), "{log}");
    }
    let refuses = |settings: &[&str], code: i32, want: &str| {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let outcome = workplace.call(&["check", "small.toml"].into_iter().chain(settings).collect::<Vec<_>>());
        assert_eq!(outcome.code, Some(code), "{outcome:#?}");
        assert!(outcome.stderr.contains(want), "{outcome:#?}");
    };
    let want = "model.weights_key: net.pth: got model_ema, want one of state_dict_ema, state_dict, ema.module, nets.0";
    refuses(&["model.weights_key=model_ema"], MODEL, want);
    let alone = "model={name=\"cnn\", width=2, depth=1, weights_key=\"ema\"}";
    refuses(
        &[alone],
        CONFIG,
        "model.weights_key: got a key without model.weights, want the weights file that has this key; remove the key",
    );
}

#[test]
fn a_resumed_run_is_the_one_that_was_never_stopped_and_asks_for_no_file() {
    let workplace = workplace(TOML, "half.pth");
    let whole = workplace.train("whole", &[]);
    let cut = begin(&workplace, "cut", 13);
    fs::remove_file(workplace.path().join("net.pth")).unwrap();
    let outcome = resume(&workplace, "cut", &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(!outcome.stderr.contains("tensors loaded"), "{outcome:#?}");
    assert_same(&cut, &whole, "weights");
    assert_eq!(host(&cut)["weights"], host(&whole)["weights"]);
    // The run started from those weights only.
    let other = resume(&workplace, "cut", &["--set", "model.weights=other.pth", "--set", "run.max_epochs=4"]);
    assert_eq!(other.code, Some(CHECKPOINT), "{other:#?}");
    assert!(other.stderr.contains("model.weights = \"other.pth\" (was \"net.pth\")"), "{other:#?}");
}

#[test]
fn the_head_alone_is_trained_first_and_then_all_and_any_resumption_is_exact() {
    let optimizer = "optimizer = { learning_rate = 0.05, momentum = 0.9, dampening = 0.1, head_only_epochs = 2 }";
    let toml = TOML.replace("optimizer = { learning_rate = 0.05, momentum = 0.9, dampening = 0.1 }", optimizer);
    let workplace = workplace(&toml, "seven_classes.pth");
    let start = oldest(&workplace.train("start", &["run.max_steps=2", "optimizer.learning_rate=0.0"]));
    // Steps 0 to 19 train only the head. A kill may come before the last checkpoint is complete.
    let weights = |name: &str, steps: u64| {
        let run = begin(&workplace, name, steps);
        let weights = tensors(&checkpoints(&run).pop().unwrap().join("model.safetensors"));
        (run, weights)
    };
    let (in_head, head) = weights("head", 19);
    let (in_all, all) = weights("all", 27);
    for (name, before) in start.iter().filter(|(name, _)| !name.contains("running_") && !name.contains("tracked")) {
        let is_of_head = name.starts_with("classifier.");
        assert_eq!(head[name] != *before, is_of_head, "{name} while the head is trained");
        assert_ne!(all[name], head[name], "{name} once all is");
    }
    let whole = workplace.train("whole", &[]);
    let at_border = begin(&workplace, "border", 20);
    for run in [in_head, in_all, at_border] {
        let outcome = workplace.call(&["resume", &run.strip_prefix(workplace.path()).unwrap().display().to_string()]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_same(&run, &whole, &run.display().to_string());
    }
    let log = fs::read_to_string(whole.join("train.log")).unwrap();
    assert!(
        log.contains("classifier keeps its random initialization: it has 7 classes in the file and 4 in the model"),
        "{log}"
    );
    assert!(log.contains("hooks on 2 parameters; frozen: layers.0.conv.weight, layers.0.norm.weight,"), "{log}");
    assert!(log.contains("after 2 epochs, training 3 more parameters from step 20 on"), "{log}");
    let findings = fs::read_to_string(whole.join("findings.jsonl")).unwrap();
    for rule in ["missing_gradient", "unchanged_parameter", "zero_gradient", "vanishing", "exploding"] {
        assert!(!findings.contains(rule), "{findings}");
    }
    assert_eq!(workplace.call(&["inspect", "small.toml"]).code, Some(0));
}

#[test]
fn statistics_that_are_kept_stay_those_of_the_file() {
    let workplace = workplace(TOML, "zip.pth");
    let settings = ["model.freeze_batch_norm_statistics=true", "run.max_epochs=1"];
    let kept = tensors(&workplace.train("kept", &settings).join("weights/last.safetensors"));
    let moved = tensors(&workplace.train("moved", &["run.max_epochs=1"]).join("weights/last.safetensors"));
    let config = Config::parse(TOML, "test").unwrap();
    let _alone = exclusive();
    let network = model::build(&config.model, ImageShape { channels: 3, height: 8, width: 8 }, 4, Device::Cpu).unwrap();
    let _ = weights::load_into(&network, &golden("weights/zip.pth"), true).unwrap();
    for buffer in network.parameters.buffers() {
        let name = buffer.name.as_str();
        assert_eq!(kept[name], buffer.tensor, "{name}");
        assert_ne!(moved[name], buffer.tensor, "{name}");
    }
    assert_ne!(kept["layers.0.norm.weight"], network.parameters.get("layers.0.norm.weight").unwrap().tensor);
}

#[test]
fn check_and_inspect_look_at_the_weights_of_the_file() {
    let workplace = workplace(TOML, "checkpoint.pth");
    let line = "model.weights: net.pth: 8 of 8 tensors loaded (PyTorch's zip format; prefix module. removed from the \
                names)";
    for arguments in [&["check", "small.toml"][..], &["inspect", "small.toml", "--try"]] {
        let outcome = workplace.call(arguments);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_eq!(outcome.stderr.matches(line).count(), 1, "{outcome:#?}");
        assert!(!outcome.stdout.contains("model.initialization ="), "nothing is recommended that the file undoes");
    }
    let drawn = workplace.call(&[
        "inspect",
        "small.toml",
        "--format",
        "json",
        "--set",
        "model={name=\"cnn\", width=2, depth=1, normalization=\"batch\"}",
    ]);
    let loaded = workplace.call(&["inspect", "small.toml", "--format", "json"]);
    let loss = |json: &str| serde_json::from_str::<Value>(json).unwrap()["loss"].as_f64().unwrap();
    assert_ne!(loss(&drawn.stdout), loss(&loaded.stdout));
}

#[test]
fn what_cannot_be_loaded_is_one_line_and_writes_nothing() {
    let workplace = workplace(TOML, "zip.pth");
    let file = workplace.path().join("net.pth");
    let refuses = |settings: &[&str], code: i32, want: &str| {
        for command in ["check", "inspect", "train"] {
            let settings = settings.iter().flat_map(|setting| ["--set", setting]);
            let outcome = workplace.call(&[command, "small.toml"].into_iter().chain(settings).collect::<Vec<_>>());
            assert_eq!(outcome.code, Some(code), "{want}: {outcome:#?}");
            assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome:#?}");
            assert!(outcome.stderr.contains(want), "{want}: {outcome:#?}");
        }
        assert!(!workplace.path().join("logs").exists());
    };
    let frozen = "model.freeze_batch_norm_statistics=[\"layers.0.*\", \"layers.7.*\"]";
    refuses(&[frozen], CONFIG, "model.freeze_batch_norm_statistics: no batch normalization matches layers.7.*;");
    refuses(&["model.freeze_batch_norm_statistics=3"], CONFIG, "got 3, want true, false, or a list of patterns");
    let all = "optimizer={head_only_epochs=1, groups=[{parameters=[\"classifier.*\"], freeze=true}]}";
    refuses(&[all], CONFIG, "optimizer.head_only_epochs: the model has no trainable head");
    refuses(
        &["model.width=4"],
        MODEL,
        "different layers.0.conv.weight (got Float [2, 3, 3, 3], want Float [4, 3, 3, 3])",
    );
    let torchscript = "model={name=\"torchscript\", path=\"net.pt\", weights=\"net.pth\"}";
    refuses(&[torchscript], CONFIG, "model.weights: a TorchScript file has its own layers and weights; remove the key");
    let as_file = |bytes: &[u8], want: &str| {
        fs::write(&file, bytes).unwrap();
        refuses(&[], MODEL, &format!("model.weights: net.pth: got {want}"));
    };
    as_file(b"<html>404</html>", "an HTML page, want the actual file; download it again");
    as_file(b"", "an empty file, want a .safetensors file");
    let zip = fs::read(golden("weights/zip.pth")).unwrap();
    as_file(&zip[..zip.len() / 2], "a zip archive that is truncated or damaged, with ");
    let safetensors = fs::read(golden("weights/half.safetensors")).unwrap();
    as_file(
        &safetensors[..safetensors.len() - 1],
        "a safetensors file with 155 bytes of data, but its header claims 156",
    );
    as_file(
        &fs::read(golden("torchscript_cnn.pt")).unwrap(),
        "a TorchScript file, which is a program, want a state dict",
    );
    fs::remove_file(&file).unwrap();
    refuses(&[], MODEL, "net.pth: cannot read the weights: No such file");
}

#[test]
fn weights_of_a_run_of_ours_are_a_start_too() {
    let workplace = workplace(TOML, "zip.pth");
    let run = workplace.train("run", &["run.max_epochs=1"]);
    let settings =
        ["model.weights=logs/run/weights/last.safetensors", "run.max_steps=2", "optimizer.learning_rate=0.0"];
    let next = workplace.train("next", &[&settings[..], &["model.freeze_batch_norm_statistics=true"]].concat());
    assert_eq!(last_weights(&next), last_weights(&run));
}

#[test]
#[ignore = "needs PyTorch, torchvision and timm: make test-peers"]
fn weights_of_torchvision_and_timm_give_their_logits() {
    let _alone = exclusive();
    let (folder, root) = (tempfile::tempdir().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut python = Command::new(root.join(".deps/peers/bin/python"));
    let output = limit::output(python.arg(root.join("tests/peers/write_weights.py")).arg(folder.path()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = fs::read_to_string(folder.path().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"resnet18\"";
    let images = Tensor::linspace(-1, 1, 2 * 3 * 64 * 64, (Kind::Float, Device::Cpu)).reshape([2, 3, 64, 64]);
    for name in ["torchvision", "timm"] {
        let config = Config::parse(toml, "test").unwrap();
        let input = ImageShape { channels: 3, height: 64, width: 64 };
        let network = model::build(&config.model, input, 10, Device::Cpu).unwrap();
        let report = weights::load_into(&network, &folder.path().join(format!("{name}.pth")), true).unwrap();
        assert!(report.remarks().is_empty(), "{report}");
        let logits = tch::no_grad(|| network.forward(&images, &Pass::evaluation()).unwrap());
        let got = Vec::<f64>::try_from(logits.to_kind(Kind::Double).view(-1)).unwrap();
        let rows = expected[name].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
        let want: Vec<f64> = rows.map(|value| value.as_f64().unwrap()).collect();
        let largest = want.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let off = got.iter().zip(&want).fold(0.0f64, |off, (got, want)| off.max((got - want).abs()));
        println!("{report}: logits differ by {:.1e} of the largest", off / largest);
        assert!(got.len() == want.len() && off <= 1e-5 * largest, "{name}: {off} of {largest}");
    }
}
