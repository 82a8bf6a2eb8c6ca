//! Bit-by-bit comparison of a run on several ranks with the same run in one process.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tch::{Kind, Tensor};

use super::team;
use crate::harness::{Workplace, checkpoints::checkpoints};

/// Settings of all runs: the sums that do not depend on the number of ranks, several evaluations of several batches, and
/// checkpoints in the middle of epochs.
pub(super) const COMMON: &str = r#"
run = { max_epochs = 2, threads = 1 }
distributed = { reduction = "exact", start_timeout_seconds = 120, hang_timeout_seconds = 60 }
evaluate = { batch_size = 4 }
checkpoint = { every_steps = 2, keep_last = 3 }
"#;

/// 40 training images, of which the last batch of 3 has one, and 20 validation images, in batches of 4.
pub(super) const IMAGES: &str = r#"
data = { source = "synthetic", samples = 60, classes = 4, validation_fraction = 0.33, image_size = 8, channels = 1, batch_size = 3 }
"#;

/// Keys of host.json that must be equal. The others are times, and measurements of rank 0's layers alone.
const HOST: [&str; 17] = [
    "epoch",
    "step",
    "step_at_epoch_start",
    "next_batch",
    "taken_steps",
    "taken_before",
    "skipped_steps",
    "images",
    "evaluated_at",
    "last_validation",
    "best_figures",
    "tally",
    "evaluations",
    "plateau",
    "history",
    "data",
    "bad_images",
];

/// Keys of a step in metrics.jsonl that must be equal.
const STEP: [&str; 7] = ["step", "epoch", "loss", "learning_rate", "grad_norm", "clip_coef", "skipped_steps"];

/// Trains in one process, and on 2, 3, and 4 ranks. All runs must be equal.
pub(super) fn trains_alike(toml: &str, settings: &[&[&str]], prepare: impl Fn(&Path)) {
    let workplace = Workplace::new(&format!("{COMMON}{toml}"));
    prepare(workplace.path());
    for (number, settings) in settings.iter().enumerate() {
        let plain = workplace.train(&format!("plain{number}"), settings);
        let more: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        for world in 2..=4 {
            let run = team::train(&workplace, world, &format!("ranks{number}-{world}"), &more);
            assert_equal(&run, &plain, &format!("{settings:?} on {world} ranks"));
        }
    }
}

/// Checks that two runs are equal: all of their checkpoints, the metrics of every step, and the weights.
pub(super) fn assert_equal(run: &Path, plain: &Path, what: &str) {
    assert_same_end(run, plain, what);
    let (found, wanted) = (checkpoints(run), checkpoints(plain));
    let names =
        |paths: &[PathBuf]| -> Vec<_> { paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect() };
    assert_eq!(names(&found), names(&wanted), "{what}");
    found.iter().zip(&wanted).for_each(|(found, wanted)| assert_same_state(found, wanted, what));
}

/// Checks that two runs ended equal. They may have kept other checkpoints before.
pub(super) fn assert_same_end(run: &Path, plain: &Path, what: &str) {
    let (found, wanted) = (metrics(run), metrics(plain));
    found.iter().zip(&wanted).for_each(|(found, wanted)| assert_eq!(found, wanted, "{what}: metrics.jsonl"));
    assert_eq!(found.len(), wanted.len(), "{what}: lines of metrics.jsonl");
    let [found, wanted] = [run, plain].map(|run| checkpoints(run).pop().unwrap());
    assert_eq!(found.file_name(), wanted.file_name(), "{what}");
    assert_same_state(&found, &wanted, what);
    for entry in fs::read_dir(plain.join("weights")).unwrap() {
        let name = entry.unwrap().file_name();
        assert_bits(&run.join("weights").join(&name), &plain.join("weights").join(&name), what);
    }
}

/// Checks that two checkpoints have the same weights, moments, and counters.
fn assert_same_state(found: &Path, wanted: &Path, what: &str) {
    for file in ["model", "ema", "optimizer", "training"] {
        assert_bits(&found.join(format!("{file}.safetensors")), &wanted.join(format!("{file}.safetensors")), what);
    }
    let host = |checkpoint: &Path| -> Value {
        serde_json::from_slice(&fs::read(checkpoint.join("host.json")).unwrap()).unwrap()
    };
    let name = found.display();
    let (found, wanted) = (host(found), host(wanted));
    HOST.iter().for_each(|key| assert_eq!(found[key], wanted[key], "{what}: {key} in {name}/host.json"));
}

/// The steps and evaluations in metrics.jsonl, without times.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let part = |mut line: Value| match line["kind"].as_str() {
        Some("evaluation") => {
            line.as_object_mut().unwrap().remove("elapsed_secs").unwrap();
            Some(line)
        }
        Some("step") => Some(STEP.iter().map(|key| line[key].clone()).collect()),
        _ => None,
    };
    lines.filter_map(part).collect()
}

/// Checks that two files of tensors are equal, and names the tensors that are not.
fn assert_bits(found: &Path, wanted: &Path, what: &str) {
    if fs::read(found).unwrap() != fs::read(wanted).unwrap() {
        let differences = differences(found, wanted);
        panic!("{what}: {} differs from {}: {differences:#?}", found.display(), wanted.display());
    }
}

/// The largest difference of each tensor of two files, relative to its largest element, if there is any.
pub(super) fn differences(found: &Path, wanted: &Path) -> BTreeMap<String, f64> {
    let read =
        |path: &Path| -> BTreeMap<String, Tensor> { Tensor::read_safetensors(path).unwrap().into_iter().collect() };
    let (found, wanted) = (read(found), read(wanted));
    assert!(found.keys().eq(wanted.keys()), "{:?} {:?}", found.keys(), wanted.keys());
    let difference = |(name, wanted): (&String, &Tensor)| {
        let [found, wanted] = [&found[name], wanted].map(|tensor| tensor.to_kind(Kind::Double));
        let largest = |tensor: &Tensor| if tensor.numel() == 0 { 0.0 } else { tensor.abs().max().double_value(&[]) };
        let difference = largest(&(&found - &wanted)) / largest(&wanted).max(f64::MIN_POSITIVE);
        (difference != 0.0).then(|| (name.clone(), difference))
    };
    wanted.iter().filter_map(difference).collect()
}
