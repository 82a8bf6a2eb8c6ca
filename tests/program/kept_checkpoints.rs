//! Checkpoint retention, and checkpoints of weights only.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use gradwatch::{
    checkpoint::Loaded,
    disk::{NamedTensors, read_tensors},
};

use crate::harness::{
    checkpoints::{checkpoints, resume, workplace},
    last_weights,
};

fn steps_of(run: &Path) -> Vec<u64> {
    let step = |path: &PathBuf| Loaded::read(path).unwrap().manifest.step;
    checkpoints(run).iter().map(step).collect()
}

#[test]
fn the_last_the_best_and_every_so_many_th_stay_and_nothing_else_goes() {
    let workplace = workplace();
    let settings = ["checkpoint={every_epochs=0, every_steps=4, keep_last=2, keep_best=0, keep_every=3}"];
    let run = workplace.train("run", &settings);
    // Saved at 0, 4, 8, 12, 16, and at the end: every third one and the last two stay.
    assert_eq!(steps_of(&run), [8, 16, 18]);
    // An interval so short that it elapses after every step.
    let often = workplace.train("often", &["checkpoint={every_epochs=0, every_minutes=1e-9, keep_last=99}"]);
    let steps: Vec<u64> = (0..=18).collect();
    assert!(steps.iter().all(|step| steps_of(&often).contains(step)), "{:?}", steps_of(&often));
    let best = workplace.train("best", &["checkpoint={every_epochs=9, keep_last=1, keep_best=1, metric=\"loss\"}"]);
    let figures: Vec<f64> =
        checkpoints(&best).iter().map(|path| Loaded::read(path).unwrap().manifest.metrics["loss"]).collect();
    let lines = fs::read_to_string(best.join("metrics.jsonl")).unwrap();
    let evaluations = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let losses = evaluations.filter_map(|line| line["validation"]["loss"].as_f64());
    assert!(figures.contains(&losses.fold(f64::INFINITY, f64::min)));
    // The program must not remove a user's note inside a checkpoint, nor the folder around it.
    let kept = workplace.train("kept", &["run.max_steps=2", "schedule.name=constant"]);
    fs::write(checkpoints(&kept)[0].join("note"), "mine").unwrap();
    let outcome = resume(&workplace, "kept", &["--set", "run.max_steps=18"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains("cannot remove an old checkpoint"), "{outcome:#?}");
    assert_eq!(resume(&workplace, "kept", &[]).code, Some(0));
    let notes = fs::read_dir(kept.join("checkpoints"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().join("note").exists());
    assert_eq!(notes.count(), 1);
}

fn values(bytes: &[u8]) -> Vec<(String, Vec<f64>)> {
    let mut tensors: NamedTensors = read_tensors(bytes).unwrap();
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    let flat = |tensor: &tch::Tensor| Vec::try_from(tensor.flatten(0, -1).to_kind(tch::Kind::Double)).unwrap();
    tensors.iter().map(|(name, tensor)| (name.clone(), flat(tensor))).collect()
}

#[test]
fn weights_alone_are_exported_of_any_step_and_averaged() {
    let workplace = workplace();
    let run = workplace.train("run", &[]);
    let export = |more: &[&str]| {
        let file = workplace.path().join("out.safetensors");
        let call = [&["checkpoints", "logs/run", "--force", "--export", "out.safetensors"], more].concat();
        let outcome = workplace.call(&call);
        (outcome, fs::read(&file).unwrap_or_default())
    };
    let (outcome, bytes) = export(&[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stdout.contains("out.safetensors: 14 tensors, weights at step 18"), "{outcome:#?}");
    assert_eq!(values(&bytes), values(&last_weights(&run)));
    let (_, bytes) = export(&["--ema"]);
    assert_eq!(values(&bytes), values(&fs::read(run.join("weights/last_ema.safetensors")).unwrap()));

    // The end of an epoch has the weights of the step before it.
    let mut of_steps: BTreeMap<u64, PathBuf> = BTreeMap::new();
    of_steps.extend(steps_of(&run).into_iter().zip(checkpoints(&run)));
    let read = |path: &PathBuf| values(&fs::read(path.join("model.safetensors")).unwrap());
    let sets: Vec<_> = of_steps.values().rev().take(2).map(read).collect();
    assert_eq!(sets.len(), 2);
    let (_, bytes) = export(&["--average", "2"]);
    for (index, (name, means)) in values(&bytes).into_iter().enumerate() {
        for (at, mean) in means.into_iter().enumerate() {
            let of_sets: Vec<f64> = sets.iter().map(|set| set[index].1[at]).collect();
            // Counters come from the newest checkpoint.
            let want = if name.ends_with("num_batches_tracked") {
                of_sets[0]
            } else {
                f64::from((of_sets.iter().rev().sum::<f64>() / 2.0) as f32)
            };
            assert!((mean - want).abs() <= f64::from(f32::EPSILON) * want.abs(), "{name}[{at}]: {mean} {want}");
        }
    }
    let (missing, _) = export(&["--step", "5"]);
    assert_eq!(missing.code, Some(10), "{missing:#?}");
    assert!(missing.stderr.contains("no checkpoint at step 5; the run has checkpoints at steps "), "{missing:#?}");
    let (many, _) = export(&["--average", "99"]);
    assert_eq!(many.code, Some(10), "{many:#?}");
    assert!(many.stderr.contains("--export needs 99 of the run's checkpoints, found "), "{many:#?}");
}
