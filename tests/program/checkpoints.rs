//! Checkpoints from the user's side: signals, invalid requests, damage, disk failures, and the program's messages.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
};

use gradwatch::checkpoint::newest_whole;

use crate::harness::{
    background::wait_for,
    checkpoints::{assert_same, begin, checkpoints, resume, workplace},
    event_files, last_weights, limit,
};

const RUN: i32 = 6;
const CHECKPOINT: i32 = 10;

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn signals_save_the_run_end_it_with_codes_of_their_own_and_it_goes_on_bit_for_bit() {
    let workplace = workplace();
    let settings = ["--set", "run.max_steps=1000", "--set", "run.max_epochs=100000"];
    let whole = {
        let call = [&["train", "small.toml", "--run-name", "whole"], &settings[..]].concat();
        assert_eq!(workplace.call(&call).code, Some(0));
        workplace.run_folder("whole")
    };
    for (kind, code) in [("INT", 130), ("TERM", 143), ("USR1", 75)] {
        // On a busy machine a run may finish before the signal arrives.
        let (name, mut child) = (0..5)
            .find_map(|attempt| {
                let name = format!("{kind}{attempt}");
                let call = [&["train", "small.toml", "--run-name", &name], &settings[..]].concat();
                let mut child = workplace.start(&call);
                let metrics = workplace.run_folder(&name).join("metrics.jsonl");
                wait_for("steps", || fs::read_to_string(&metrics).unwrap_or_default().lines().count() > 20);
                signal(&child, kind);
                let status = child.wait().unwrap();
                assert!([Some(0), Some(code)].contains(&status.code()), "{name}: {status}");
                (status.code() == Some(code)).then_some((name, child))
            })
            .expect("one of five runs is stopped");
        let (name, run) = (&*name, workplace.run_folder(&name));
        let mut summary = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut summary).unwrap();
        assert!(summary.contains(&format!("resume with gradwatch resume logs/{name}\n")), "{summary}");
        let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let last = lines.lines().last().unwrap();
        let step = serde_json::from_str::<serde_json::Value>(last).unwrap()["step"].as_u64().unwrap();
        let newest = newest_whole(&run.join("checkpoints")).unwrap().unwrap();
        assert!(newest.manifest.step > step || last.contains("evaluation"), "{step} {:?}", newest.path);
        let outcome = resume(&workplace, name, &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_same(&run, &whole, name);
    }
}

#[test]
fn a_second_signal_leaves_at_once_and_the_last_checkpoint_is_whole() {
    let workplace = workplace();
    let leaves_at_once = |name: &str| {
        let mut child = workplace.start(&["train", "small.toml", "--run-name", name, "--set", "run.max_epochs=100000"]);
        let run = workplace.run_folder(name);
        wait_for("checkpoints", || run.exists() && checkpoints(&run).len() > 2);
        // Both signals arrive before the program can act in between.
        for name in ["STOP", "INT", "TERM", "CONT"] {
            signal(&child, name);
        }
        assert!(matches!(child.wait().unwrap().code(), Some(130 | 143)));
        assert!(newest_whole(&run.join("checkpoints")).unwrap().is_some());
        let mut summary = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut summary).unwrap();
        summary.is_empty()
    };
    // The system may deliver the two signals to two threads at the same time; each thread then sees its signal as the
    // first.
    assert!((0..5).any(|attempt| leaves_at_once(&format!("run{attempt}"))));
}

#[test]
fn a_finished_run_goes_on_when_it_is_given_more() {
    let workplace = workplace();
    let longer = workplace.train("longer", &["run.max_epochs=4", "schedule.name=constant"]);
    let run = workplace.train("run", &["schedule.name=constant"]);
    // Without a new limit it repeats its message and does nothing.
    let again = resume(&workplace, "run", &[]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert!(again.stdout.contains("18 steps"), "{again:#?}");
    let outcome = resume(&workplace, "run", &["--set", "run.max_epochs=4"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains("from here on, run.max_epochs = 4 (was 2)"), "{outcome:#?}");
    assert_eq!(last_weights(&run), last_weights(&longer));
}

#[test]
fn another_experiment_is_refused_by_its_keys_unless_they_are_allowed() {
    let workplace = workplace();
    begin(&workplace, "run", 6);
    let change = [
        "--set",
        "optimizer.learning_rate=0.01",
        "--set",
        "loss.label_smoothing=0.1",
        "--set",
        "monitor.every_steps=2",
    ];
    let refused = resume(&workplace, "run", &change);
    assert_eq!(refused.code, Some(CHECKPOINT), "{refused:#?}");
    let want = "belongs to another experiment: loss.label_smoothing = 0.1 (was 0.0); optimizer.learning_rate = 0.01 \
                (was 0.05); \
                restore these keys, or allow each change: --allow-change loss.label_smoothing --allow-change \
                optimizer.learning_rate\n";
    assert!(refused.stderr.contains(want), "{refused:#?}");
    let allowed = ["--allow-change", "optimizer.*", "--allow-change", "loss.label_smoothing"];
    let outcome = resume(&workplace, "run", &[&change[..], &allowed].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("from here on, loss.label_smoothing = 0.1 (was 0.0) (allowed by --allow-change)"),
        "{outcome:#?}"
    );
}

#[test]
fn a_model_of_another_size_does_not_fit_and_an_optimizer_of_another_kind_begins_anew() {
    let workplace = workplace();
    let run = begin(&workplace, "run", 6);
    let before: Vec<Vec<u8>> = event_files(&run).iter().map(|file| fs::read(file).unwrap()).collect();
    let wider = resume(&workplace, "run", &["--set", "model.width=8", "--allow-change", "model.width"]);
    assert_eq!(wider.code, Some(CHECKPOINT), "{wider:#?}");
    assert!(wider.stderr.contains("model.safetensors: missing none; unexpected none; different "), "{wider:#?}");
    let after: Vec<Vec<u8>> = event_files(&run).iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(before, after, "a run that is refused keeps its files");
    let adamw = ["--set", "optimizer.name=adamw", "--set", "ema.decay=0", "--allow-change", "optimizer.*"];
    let outcome = resume(&workplace, "run", &[&adamw[..], &["--allow-change", "ema.decay"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains("the optimizer state starts over"), "{outcome:#?}");
}

#[test]
fn an_average_that_is_new_begins_with_the_weights_of_the_checkpoint() {
    let workplace = workplace();
    let arguments = ["train", "small.toml", "--run-name", "run", "--set", "ema.decay=0", "--max-steps", "6"];
    assert_eq!(workplace.call(&arguments).code, Some(0));
    let run = workplace.run_folder("run");
    let weights = last_weights(&run);
    // A high decay and no step: the average equals the initial weights.
    let ema = ["--set", "ema={decay=0.5, warmup=false}", "--allow-change", "ema.*"];
    assert_eq!(resume(&workplace, "run", &ema).code, Some(0));
    assert_eq!(fs::read(run.join("weights/last_ema.safetensors")).unwrap(), weights);
}

#[test]
fn other_images_are_refused() {
    let workplace = workplace();
    begin(&workplace, "run", 6);
    let outcome = resume(&workplace, "run", &["--set", "data.samples=400", "--allow-change", "data.samples"]);
    assert_eq!(outcome.code, Some(CHECKPOINT), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("the checkpoint was saved with other images: got 360 + 40 images of 4 classes"),
        "{outcome:#?}"
    );
    assert!(outcome.stderr.contains("want 268 + 32 images"), "{outcome:#?}");
}

#[test]
fn a_damaged_checkpoint_is_named_put_aside_and_the_one_before_is_used() {
    let workplace = workplace();
    let whole = workplace.train("whole", &[]);
    type Damage<'a> = (&'a str, &'a str, &'a dyn Fn(&Path));
    let damages: [Damage; 4] = [
        ("flipped", "model.safetensors: got BLAKE3", &|newest| {
            let path = newest.join("model.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }),
        ("cut", "optimizer.safetensors: got ", &|newest| {
            let path = newest.join("optimizer.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("missing", "host.json: No such file", &|newest| fs::remove_file(newest.join("host.json")).unwrap()),
        ("manifest", "manifest.json: ", &|newest| fs::write(newest.join("manifest.json"), "{}").unwrap()),
    ];
    for (name, words, damage) in damages {
        let run = begin(&workplace, name, 7);
        let newest = checkpoints(&run).pop().unwrap();
        damage(&newest);
        let listed = workplace.call(&["checkpoints", &format!("logs/{name}"), "--verify"]);
        assert_eq!(listed.code, Some(CHECKPOINT), "{listed:#?}");
        assert!(listed.stdout.contains(words), "{listed:#?}");
        let outcome = resume(&workplace, name, &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert!(
            outcome.stderr.contains(words) && outcome.stderr.contains("falling back to the previous checkpoint"),
            "{outcome:#?}"
        );
        let aside = format!("checkpoints/damaged-{}", newest.file_name().unwrap().to_string_lossy());
        assert!(run.join(aside).exists());
        assert_same(&run, &whole, name);
    }
}

#[test]
fn a_run_without_a_whole_checkpoint_does_not_go_on_and_keeps_its_files() {
    let workplace = workplace();
    let run = begin(&workplace, "run", 6);
    for checkpoint in checkpoints(&run) {
        fs::write(checkpoint.join("manifest.json"), "").unwrap();
    }
    let metrics = fs::read(run.join("metrics.jsonl")).unwrap();
    let outcome = resume(&workplace, "run", &[]);
    assert_eq!(outcome.code, Some(CHECKPOINT), "{outcome:#?}");
    assert!(outcome.stderr.contains("none of 3 checkpoints is valid"), "{outcome:#?}");
    // A requeued job does not overwrite the existing run either.
    let auto = workplace.call(&["train", "small.toml", "--run-name", "run", "--resume", "auto"]);
    assert_eq!(auto.code, Some(CHECKPOINT), "{auto:#?}");
    assert!(auto.stderr.contains("logs/run has no checkpoint to resume from"), "{auto:#?}");
    assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), metrics);
}

#[test]
fn what_is_no_run_is_refused_and_left_alone() {
    let workplace = workplace();
    fs::create_dir_all(workplace.path().join("logs/other")).unwrap();
    fs::write(workplace.path().join("logs/other/notes"), "").unwrap();
    for (arguments, words) in [
        (vec!["resume", "logs/nothing"], "logs/nothing is not a run folder: the folder is missing"),
        (vec!["resume", "logs/other"], "logs/other is not a run folder: config.toml is missing"),
        (vec!["checkpoints", "logs/other"], "logs/other is not a run folder: config.toml is missing"),
        (vec!["train", "small.toml", "--run-name", "other", "--resume", "auto"], "logs/other is not a run folder"),
    ] {
        let outcome = workplace.call(&arguments);
        assert_eq!(outcome.code, Some(RUN), "{outcome:#?}");
        assert!(outcome.stderr.contains(words), "{outcome:#?}");
    }
    assert_eq!(fs::read_dir(workplace.path().join("logs/other")).unwrap().count(), 1);
}

#[test]
fn a_second_process_on_a_run_is_refused_and_a_dead_one_is_not_in_the_way() {
    let workplace = workplace();
    let mut child = workplace.start(&["train", "small.toml", "--run-name", "run", "--set", "run.max_epochs=100000"]);
    let run = workplace.run_folder("run");
    wait_for("steps", || run.join("metrics.jsonl").exists() && !checkpoints(&run).is_empty());
    let refused = resume(&workplace, "run", &[]);
    assert_eq!(refused.code, Some(17), "{refused:#?}");
    assert!(refused.stderr.contains(&format!("logs/run is in use by process {} on ", child.id())), "{refused:#?}");
    // Read-only commands are allowed.
    assert_eq!(workplace.call(&["checkpoints", "logs/run"]).code, Some(0));
    child.kill().unwrap();
    child.wait().unwrap();
    let outcome = resume(&workplace, "run", &["--max-steps", "1"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
}

#[test]
fn auto_starts_a_run_and_goes_on_with_it_by_the_config_s_name() {
    let workplace = workplace();
    let auto = ["train", "small.toml", "--resume", "auto"];
    let status = limit::output(workplace.command(&auto).env("GRADWATCH_FAULT", "kill step 5")).status;
    assert_eq!(status.code(), None);
    let outcome = workplace.call(&auto);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains("resuming from logs/small/checkpoints/epoch-0000-step-0000000"), "{outcome:#?}");
    assert_same(&workplace.run_folder("small"), &workplace.train("whole", &[]), "auto");
}

#[test]
fn without_checkpoints_none_are_taken() {
    let workplace = workplace();
    let run = workplace.train("run", &["checkpoint={every_epochs=0}"]);
    assert!(!run.join("checkpoints").exists());
    let outcome = resume(&workplace, "run", &[]);
    assert_eq!(outcome.code, Some(CHECKPOINT), "{outcome:#?}");
    assert!(outcome.stderr.contains("has no checkpoint to resume from"), "{outcome:#?}");
}

#[test]
fn an_evaluation_that_a_resumed_run_makes_up_for_is_in_its_checkpoint() {
    let workplace = workplace();
    begin(&workplace, "run", 6);
    // It must not run another step, only evaluate the current one.
    let outcome = resume(&workplace, "run", &["--max-steps", "1"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let run = workplace.run_folder("run");
    let newest = newest_whole(&run.join("checkpoints")).unwrap().unwrap();
    assert!(newest.manifest.metrics.contains_key("accuracy"), "{:?}", newest.manifest);
    let left = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| name.to_string_lossy().starts_with("epoch-")));
}

#[test]
fn a_loss_that_is_not_finite_leaves_checkpoints_whole() {
    let workplace = workplace();
    // A learning rate at which the logits overflow, so that the validation loss is infinite or NaN.
    let settings = ["optimizer.learning_rate=1e15", "clipping.mode=none", "schedule.name=constant", "run.max_epochs=1"];
    let mut arguments = vec!["train", "small.toml", "--run-name", "run", "--set", "optimizer.max_skipped_steps=1000"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let outcome = workplace.call(&arguments);
    assert!(
        outcome.stderr.contains("validation loss inf") || outcome.stderr.contains("validation loss NaN"),
        "{outcome:#?}"
    );
    let verified = workplace.call(&["checkpoints", "logs/run", "--verify"]);
    assert_eq!(verified.code, Some(0), "{verified:#?}");
    assert_eq!(resume(&workplace, "run", &["--set", "run.max_epochs=2"]).code, Some(0));
}

#[test]
fn another_metric_begins_with_nothing_that_is_the_best() {
    let workplace = workplace();
    workplace.train("run", &["schedule.name=constant"]);
    let more = ["--set", "run.max_epochs=3", "--set", "evaluate.metric=loss", "--set", "checkpoint.metric=loss"];
    let outcome = resume(&workplace, "run", &more);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    // It is the first loss, and therefore the best so far.
    assert!(outcome.stderr.contains("(best so far)"), "{outcome:#?}");
    assert!(outcome.stdout.contains("best        loss "), "{outcome:#?}");
}
