//! State that a run needs to resume, and comparisons of two identical runs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Outcome, SMALL, Workplace, last_weights, limit, scalars_without_times};

/// The checkpoints of a run, oldest first.
pub(crate) fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let found = gradwatch::checkpoint::list(&run.join("checkpoints")).unwrap();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The files of a run's newest checkpoint except its manifest: tensor files byte for byte, and host.json without times.
fn last_state(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let newest = checkpoints(run).pop().unwrap();
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(newest).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut bytes = fs::read(&path).unwrap();
        if name == "host.json" {
            let mut host: Value = serde_json::from_slice(&bytes).unwrap();
            for key in ["elapsed_secs", "evaluating_secs"] {
                host.as_object_mut().unwrap().remove(key).unwrap();
            }
            bytes = host.to_string().into_bytes();
        }
        if name != "manifest.json" {
            files.insert(name, bytes);
        }
    }
    files
}

/// The lines of metrics.jsonl without times.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("elapsed_secs");
        line
    };
    text.lines().map(line).collect()
}

/// Checks that two runs of one config ended bit-identical: weights, moments, every other part of the state, metrics,
/// and event scalars.
pub(crate) fn assert_same(run: &Path, whole: &Path, what: &str) {
    assert_eq!(last_weights(run), last_weights(whole), "{what}: weights");
    // A run that has returned to a checkpoint has none until the next evaluation.
    let best = |run: &Path| fs::read(run.join("weights/best.safetensors")).ok();
    assert_eq!(best(run), best(whole), "{what}: best weights");
    let (state, want) = (last_state(run), last_state(whole));
    assert_eq!(state.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    for (file, bytes) in &state {
        // Print differences of JSON only; bytes of tensors are not readable.
        if file.ends_with(".json") {
            let parsed = |bytes: &[u8]| serde_json::from_slice::<BTreeMap<String, Value>>(bytes).unwrap();
            let (state, want) = (parsed(bytes), parsed(&want[file]));
            state.iter().for_each(|(key, value)| assert_eq!(value, &want[key], "{what}: {key} in {file}"));
        }
        assert!(bytes == &want[file], "{what}: {file} differs");
    }
    assert_eq!(metrics(run), metrics(whole), "{what}: metrics.jsonl");
    let findings = |run: &Path| fs::read_to_string(run.join("findings.jsonl")).unwrap();
    assert_eq!(findings(run), findings(whole), "{what}: findings.jsonl");
    let (seen, want) = (scalars_without_times(run), scalars_without_times(whole));
    assert!(seen.len() > 100, "{what}: {} scalars", seen.len());
    assert_eq!(seen, want, "{what}: event scalars");
}

/// A micro-batch in the log.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MicroBatch {
    pub step: u64,
    pub epoch: u64,
    pub images: Vec<u32>,
}

impl MicroBatch {
    /// The micro-batch of a line of the log, if it is about one.
    pub(crate) fn of(line: &str) -> Option<Self> {
        let (_, facts) = line.split_once("micro-batch step=")?;
        let (step, facts) = facts.split_once(" epoch=").unwrap();
        let (epoch, images) = facts.split_once(" images=[").unwrap();
        let images = images.trim_end().trim_end_matches(']').split(", ").map(|image| image.parse().unwrap());
        Some(Self { step: step.parse().unwrap(), epoch: epoch.parse().unwrap(), images: images.collect() })
    }
}

/// The images of each epoch according to the log; for repeated steps, those of the last repetition.
pub(crate) fn images_by_epoch(run: &Path) -> BTreeMap<u64, Vec<u32>> {
    let log = fs::read_to_string(run.join("train.log")).unwrap();
    let mut steps: BTreeMap<u64, (u64, Vec<u32>)> = BTreeMap::new();
    let mut last_step = None;
    for line in log.lines() {
        let Some(MicroBatch { step, epoch, images }) = MicroBatch::of(line) else {
            // An interrupted step and its repetition may have the same number.
            if line.contains(" resuming from ") || line.contains(" training and ") {
                last_step = None;
            }
            continue;
        };
        if last_step.replace(step) != Some(step) {
            steps.insert(step, (epoch, Vec::new()));
        }
        steps.get_mut(&step).unwrap().1.extend(images);
    }
    let mut epochs: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (epoch, images) in steps.into_values() {
        epochs.entry(epoch).or_default().extend(images);
    }
    epochs
}

/// [`SMALL`], 18 steps in 2 epochs, with a checkpoint every second step, an average, and moments.
pub(crate) fn workplace() -> Workplace {
    let more = "checkpoint = { every_steps = 2, keep_last = 3 }\nema = { decay = 0.5 }\n";
    Workplace::new(&format!("{}{more}", SMALL.replace("learning_rate = 0.05", "learning_rate = 0.05, momentum = 0.9")))
}

/// Trains a run up to a step and then kills it.
pub(crate) fn begin(workplace: &Workplace, name: &str, steps: u64) -> PathBuf {
    let arguments = ["train", "small.toml", "--run-name", name];
    // The step after the last one is not finished.
    let fault = format!("kill step {}", steps + 1);
    let status = limit::output(workplace.command(&arguments).env("GRADWATCH_FAULT", fault)).status;
    assert_eq!(status.code(), None, "killed");
    workplace.run_folder(name)
}

pub(crate) fn resume(workplace: &Workplace, name: &str, more: &[&str]) -> Outcome {
    workplace.call(&[&["resume", &format!("logs/{name}")], more].concat())
}
