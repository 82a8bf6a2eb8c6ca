//! Event files that other programs wrote: golden/foreign_events, made by golden/foreign_events.py.

mod harness;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gradwatch::{
    events::SummaryWriter,
    replay::{Moment, Replay, runs},
};
use harness::{Outcome, SMALL, Workplace};
use serde_json::Value;

const UNUSUAL: [&str; 2] = ["loss=opt/objective", "grad_norm=monitor/g2/*"];

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/foreign_events").join(case)
}

fn diagnose(path: &Path, more: &[&str]) -> Outcome {
    let path = path.display().to_string();
    Workplace::new(SMALL).call(&[&["diagnose", &path], more].concat())
}

/// The report of a run in JSON.
fn report(case: &str, more: &[&str]) -> Value {
    let outcome = diagnose(&golden(case), &[&["--format", "json"], more].concat());
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{case}: {outcome:#?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// What the files say at each step, by role.
fn read(case: &str, patterns: &[&str]) -> BTreeMap<(&'static str, u64), f64> {
    let [folder] = &runs(&golden(case)).unwrap()[..] else { panic!("{case}: several runs") };
    let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    let (mut replay, mut numbers) = (Replay::open(folder, &patterns).unwrap(), BTreeMap::new());
    let each = |moment| match moment {
        Moment::Restart => panic!("{case} begins again"),
        Moment::Step(seen) => {
            let of_step = [("loss", seen.loss), ("learning_rate", seen.learning_rate), ("total_norm", seen.total_norm)];
            numbers.extend(of_step.map(|(role, number)| ((role, seen.step), number)));
        }
        Moment::Evaluation(seen) => {
            let of_evaluation = [
                ("validation_loss", seen.validation_loss),
                ("validation_accuracy", seen.validation_accuracy),
                ("train_loss", seen.train_loss),
            ];
            numbers.extend(of_evaluation.map(|(role, number)| ((role, seen.step), number)));
        }
    };
    replay.play(each).unwrap();
    numbers
}

#[test]
fn numbers_are_those_that_were_written() {
    let golden: BTreeMap<String, Vec<(String, u64, f64)>> =
        serde_json::from_str(include_str!("golden/foreign_events.json")).unwrap();
    assert_eq!(golden.len(), 8);
    for (case, rows) in &golden {
        let numbers = read(case, if case == "torch_unusual" { &UNUSUAL } else { &[] });
        assert!(rows.len() > 5, "{case}");
        for (role, step, number) in rows {
            let seen = numbers.iter().find(|((seen, at), _)| seen == role && at == step);
            assert_eq!(seen.map(|(_, seen)| seen), Some(number), "{case}: {role} at {step}");
        }
    }
}

fn texts(report: &Value, key: &str) -> Vec<String> {
    report[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Demands that the only finding is that the gradient vanishes, from this step on, from the last layer to the first.
fn vanishes(case: &str, report: &Value, step: u64, layers: [&str; 2]) {
    let findings = report["findings"].as_array().unwrap();
    let told: Vec<_> = findings.iter().map(|finding| (&finding["rule"], &finding["severity"])).collect();
    assert_eq!(told, [(&"vanishing".into(), &"critical".into())], "{case}");
    assert_eq!(findings[0]["first_step"], step, "{case}");
    assert_eq!(findings[0]["layers"], serde_json::json!(layers), "{case}");
}

#[test]
fn a_gradient_that_vanishes_is_found_in_the_files_of_every_writer() {
    // Lightning logs the last of every five steps, and once steps were taken three looks count.
    for (case, first_step) in [("torch_vanishing", 0), ("tensorboardx", 0), ("lightning", 14)] {
        vanishes(case, &report(case, &[]), first_step, ["layers.0", "layers.6"]);
    }
    let report = report("keras_gradients", &[]);
    vanishes("keras_gradients", &report, 0, ["dense", "dense_6"]);
    assert!(texts(&report, "notes").is_empty(), "{report}");
}

#[test]
fn healthy_runs_are_silent_and_what_could_not_be_judged_is_said() {
    let healthy = report("torch_healthy", &[]);
    assert_eq!(healthy["findings"], serde_json::json!([]));
    let lacks: Vec<_> =
        texts(&healthy, "not_judged").iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    let want = [
        "the files do not have what goes through the activations",
        "the files do not have how far a step moves each parameter",
        "the files do not have data and weights before the first step",
    ];
    assert_eq!(lacks, want);
    let note = "10 value(s) are numbered by epochs or came late, and stand at the step at which they were written";
    assert_eq!(texts(&healthy, "notes"), [note]);

    for (case, steps) in [("keras_epochs", 6), ("keras_batches", 72)] {
        let seen = report(case, &[]);
        assert_eq!((&seen["findings"], &seen["steps"]), (&serde_json::json!([]), &steps.into()), "{case}");
        let lacks = texts(&seen, "not_judged");
        let gradients = "vanishing, zero_gradient, denormal: the files do not have the gradient of each parameter";
        assert!(lacks.iter().any(|line| line == gradients), "{case}: {lacks:?}");
        assert_eq!(
            lacks.iter().any(|line| line.ends_with("the loss of each step")),
            case == "keras_epochs",
            "{lacks:?}"
        );
    }
}

#[test]
fn gradients_without_biases_say_nothing_of_depth_and_losses_between_them_are_no_leaps() {
    let folder = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(folder.path()).unwrap();
    for step in 0..60 {
        // The loss is written at every tenth step only.
        if step % 10 == 0 {
            writer.scalar("Loss/train", step, 1.0 / (1.0 + step as f64)).unwrap();
        }
        let norms = (0..4).map(|layer| (format!("gradients/layers.{layer}.weight"), 10f64.powi(layer)));
        writer.scalars(step, norms).unwrap();
    }
    writer.close().unwrap();
    let outcome = diagnose(folder.path(), &["--format", "json"]);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&report["findings"], &report["steps"]), (&serde_json::json!([]), &60.into()), "{outcome:#?}");
    let want =
        "vanishing: the files do not have the gradients of the biases of three layers, by which layers are compared";
    assert!(texts(&report, "not_judged").contains(&want.to_owned()), "{report}");
    let losses = report["curves"]["loss"].as_array().unwrap();
    assert_eq!((losses.len(), &losses[5]["not_finite"]), (6, &0.into()));
}

#[test]
fn unusual_tags_are_asked_for_and_read_once_they_are_named() {
    let refused = diagnose(&golden("torch_unusual"), &[]);
    assert_eq!((refused.code, refused.stderr.lines().count()), (Some(12), 1), "{refused:#?}");
    assert!(refused.stderr.contains("none of its 15 tags is known"), "{refused:#?}");
    let tags = UNUSUAL.map(|pattern| ["--tag", pattern]).concat();
    vanishes("torch_unusual", &report("torch_unusual", &tags), 0, ["layers.0", "layers.6"]);
}

#[test]
fn one_event_file_can_be_looked_at_alone() {
    let file = golden("keras_gradients/train/events.out.tfevents.1700000000.host.1.0");
    let outcome = diagnose(&file, &["--format", "json", "--fail-at", "critical"]);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(11), ""), "{outcome:#?}");
    vanishes("a file", &serde_json::from_str(&outcome.stdout).unwrap(), 0, ["dense", "dense_6"]);
    // All of them, one after the other.
    let outcome = diagnose(&golden(""), &[]);
    assert_eq!(outcome.stdout.matches("run         ").count(), 7, "{outcome:#?}");
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(12), 1), "{outcome:#?}");
}
