//! The files of a run, and the ways it ends.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use gradwatch::{config::Config, disk::read_tensors, events::EventFile, model::weights, train::prepare};
use serde_json::Value;

use crate::harness::{
    SMALL, Workplace, background::wait_for, event_file, exclusive, last_weights, limit::Running, scalars,
};

/// The weights file of the model after initialization.
fn untrained_weights(workplace: &Workplace) -> Vec<u8> {
    let config = Config::load(&workplace.path().join("small.toml"), &["model.normalization=none".to_owned()]).unwrap();
    let _alone = exclusive();
    let prepared = prepare(config).unwrap();
    let path = workplace.path().join("untrained.safetensors");
    weights::save(&prepared.network.parameters, &path).unwrap();
    fs::read(path).unwrap()
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_leaves_its_config_events_metrics_log_and_weights_which_agree() {
    let workplace = Workplace::new(SMALL);
    let run = workplace.train("run", &[]);
    let lines = metrics(&run);
    let evaluations: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "evaluation").collect();
    let steps: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "step").collect();
    assert_eq!((steps.len(), evaluations.len()), (18, 2));
    let events = scalars(&run);
    for evaluation in evaluations {
        let step = evaluation["step"].as_i64().unwrap();
        for name in ["loss", "accuracy", "top5_accuracy", "precision", "recall", "f1"] {
            for split in ["train", "validation"] {
                let written = evaluation[split][name].as_f64().unwrap() as f32;
                assert_eq!(events[&(format!("{name}/{split}"), step)], written.to_bits(), "{name}/{split}");
            }
        }
        let confusion = evaluation["validation"]["confusion"].as_array().unwrap();
        let images: u64 = confusion.iter().flat_map(|row| row.as_array().unwrap()).map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(images, 32);
    }
    for step in steps {
        let key = ("grad_norm/total".to_owned(), step["step"].as_i64().unwrap());
        assert_eq!(events[&key], (step["grad_norm"].as_f64().unwrap() as f32).to_bits());
    }
    assert!(fs::read_to_string(run.join("train.log")).unwrap().contains("epoch 2/2"));
    assert!(run.join("weights/best.safetensors").exists());
}

#[test]
fn a_run_ends_when_its_steps_minutes_or_patience_are_used_up() {
    let workplace = Workplace::new(SMALL);
    let steps_of = |name: &str, settings: &[&str]| {
        let run = workplace.train(name, settings);
        metrics(&run).iter().filter(|line| line["kind"] == "step").count()
    };
    assert_eq!(steps_of("steps", &["run.max_steps=5"]), 5);
    assert_eq!(steps_of("minutes", &["run.max_minutes=1e-9"]), 1);
    // A learning rate of 0 never improves after the first evaluation: it takes that one and two more, of 9 steps each.
    let frozen =
        ["run.max_epochs=50", "optimizer.learning_rate=0", "early_stopping.patience=2", "model.normalization=none"];
    assert_eq!(steps_of("patience", &frozen), 27);
}

#[test]
fn gradients_that_are_never_finite_end_the_run_and_do_not_reach_the_weights() {
    let workplace = Workplace::new(SMALL);
    // Pixels divided by 1e-38 overflow f32 in the first layer.
    let settings = ["data.normalize=given", "data.mean=[0.0]", "data.std=[1e-38]", "model.normalization=none"];
    let mut arguments = vec!["train", "small.toml", "--run-name", "nan"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let outcome = workplace.call(&arguments);
    assert_eq!(outcome.code, Some(16), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("10 consecutive steps had a gradient that is not finite, first in "),
        "{outcome:#?}"
    );
    let run = workplace.run_folder("nan");
    assert_eq!(last_weights(&run), untrained_weights(&workplace));
    let events = scalars(&run);
    assert!(events.keys().any(|(tag, _)| tag.starts_with("grad_nans/") || tag.starts_with("grad_infinities/")));
}

#[test]
fn non_finite_gradients_between_readings_are_counted_and_end_the_run_too() {
    let workplace = Workplace::new(SMALL);
    let settings =
        ["data.normalize=given", "data.mean=[0.0]", "data.std=[1e-38]", "monitor={preset=\"off\", every_steps=100}"];
    let mut arguments = vec!["train", "small.toml", "--run-name", "nan", "--set", "model.normalization=none"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    arguments.extend(["--set", "optimizer.max_skipped_steps=9"]);
    let outcome = workplace.call(&arguments);
    assert_eq!(outcome.code, Some(16), "{outcome:#?}");
    assert!(outcome.stderr.contains("9 consecutive steps"), "{outcome:#?}");
}

#[test]
fn gradients_replaced_with_zeros_end_the_run_between_readings_too() {
    let workplace = Workplace::new(SMALL);
    let settings = ["data.normalize=given", "data.mean=[0.0]", "data.std=[1e-38]", "optimizer.non_finite=zero"];
    let mut arguments = vec!["train", "small.toml", "--run-name", "nan", "--set", "model.normalization=none"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    arguments.extend(["--set", "optimizer.max_skipped_steps=9", "--set", "monitor={preset=\"off\", every_steps=0}"]);
    let outcome = workplace.call(&arguments);
    assert_eq!(outcome.code, Some(16), "{outcome:#?}");
    let want = "9 consecutive steps had a gradient that is not finite";
    assert!(outcome.stderr.contains(want), "{outcome:#?}");
    assert!(outcome.stderr.contains("the steps were taken with these values set to 0"), "{outcome:#?}");
}

#[test]
fn images_beyond_f32_leave_the_running_statistics_finite() {
    let workplace = Workplace::new(SMALL);
    let run = workplace.train("run", &["data.normalize=given", "data.mean=[0.0]", "data.std=[1e-36]"]);
    let bytes = last_weights(&run);
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, view) in tensors.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32) {
        let mut values = view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        assert!(values.all(f32::is_finite), "{name}");
    }
}

#[test]
fn steps_whose_labels_all_weigh_nothing_are_steps_of_no_gradient() {
    let workplace = Workplace::new(SMALL);
    let settings = ["loss={class_balance=\"given\", class_weights=[0.0, 0.0, 0.0, 1.0]}", "data.batch_size=2"];
    let run = workplace.train("run", &settings);
    let lines = metrics(&run);
    assert!(lines.iter().filter(|line| line["kind"] == "step").all(|line| line["skipped_steps"] == 0));
}

#[cfg(unix)]
#[test]
fn a_full_disk_costs_log_entries_and_weights_but_not_the_run() {
    let workplace = Workplace::new(SMALL);
    let logs = workplace.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=112k", "tmpfs"]).arg(&logs).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        // Mounting needs root. The writer's own tests check the same on /dev/full.
        println!("not run: this user cannot mount a small disk");
        return;
    }
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "run", "--set", "run.max_epochs=20"]);
    let unmounted = Command::new("umount").arg(&logs).status().unwrap();
    assert!(unmounted.success());
    assert!(outcome.stderr.contains("epoch 20/20"), "{outcome:#?}");
    assert!(outcome.stderr.contains("No space left on device"), "{outcome:#?}");
    assert!(outcome.code == Some(9) || outcome.code == Some(5), "{outcome:#?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_end_the_run_with_everything_on_disk() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let workplace = Workplace::new(SMALL);
        let arguments = ["train", "small.toml", "--run-name", "run", "--set", "run.max_epochs=100000"];
        let mut child = workplace.start(&arguments);
        let run = workplace.run_folder("run");
        let steps = || fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count();
        wait_for("twenty steps", || steps() >= 20);
        Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let mut summary = String::new();
        child.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
        assert!(summary.contains(&format!("ended       SIG{signal}")), "{summary}");
        // Every event is complete, and the last step of metrics.jsonl is in the event file.
        // The signal may arrive right after an evaluation, whose line has the number of steps.
        let lines = metrics(&run);
        let last = lines.iter().rfind(|line| line["kind"] == "step").unwrap()["step"].as_i64().unwrap();
        assert!(scalars(&run).contains_key(&("loss/step".to_owned(), last)));
        assert!(!last_weights(&run).is_empty());
    }
}

/// Seconds of training whose events are missing after a run is killed.
#[cfg(unix)]
fn secs_lost_by_a_kill() -> f64 {
    let workplace = Workplace::new(SMALL);
    let arguments = ["train", "small.toml", "--run-name", "run", "--set", "run.max_epochs=100000"];
    let mut child = Running::start(workplace.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()));
    let run = workplace.run_folder("run");
    let lines = || fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count();
    wait_for("five epochs", || lines() > 50);
    std::thread::sleep(Duration::from_millis(1500));
    child.kill().unwrap();
    child.wait().unwrap();
    let whole = EventFile::open(event_file(&run)).unwrap().map_while(Result::ok);
    let last_event = whole.last().unwrap().wall_time;
    let written = fs::metadata(run.join("metrics.jsonl")).unwrap().modified().unwrap();
    let last_line = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    last_line - last_event
}

#[cfg(unix)]
#[test]
fn a_killed_run_has_lost_at_most_the_last_second_of_events() {
    // If the machine does not schedule the writer thread for that long, the program cannot meet the bound.
    let mut lost = Vec::new();
    let is_kept = (0..5).any(|_| {
        lost.push(secs_lost_by_a_kill());
        lost.last() < Some(&1.0)
    });
    assert!(is_kept, "{lost:?}");
}

#[test]
fn check_prints_the_resolved_config_and_every_parameter_and_writes_nothing() {
    let workplace = Workplace::new(SMALL);
    let outcome = workplace.call(&["check", "small.toml", "--threads", "1", "--set", "optimizer.name=adamw"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    for want in ["betas = [", "1 x 8 x 8", "268 images in 4 classes", "layers.0.conv.weight", "trainable parameters"] {
        assert!(outcome.stdout.contains(want), "{want} is not in {}", outcome.stdout);
    }
    assert_eq!(fs::read_dir(workplace.path()).unwrap().count(), 1);
}

#[test]
fn a_closed_stdout_is_no_error() {
    let workplace = Workplace::new(SMALL);
    let mut child = workplace.start(&["check", "small.toml"]);
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn completions_name_the_subcommands_of_every_shell() {
    let workplace = Workplace::new(SMALL);
    for shell in ["bash", "zsh", "fish"] {
        let outcome = workplace.call(&["completions", shell]);
        assert_eq!(outcome.code, Some(0));
        assert!(outcome.stdout.contains("gradwatch") && outcome.stdout.contains("check"));
    }
}

/// Copies a folder with all its contents.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_run_folder_of_an_earlier_version_resumes() {
    // The program of 2026-11-28 (commit cba3023) trained tests/golden/run to step 8 of 20: an MLP with AdamW, AGC, and
    // EMA.
    // run_to_its_end.safetensors contains the weights of the same run without an interruption.
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let workplace = Workplace::new(SMALL);
    let run = workplace.run_folder("run");
    copy_folder(&golden.join("run"), &run);
    let outcome = workplace.call(&["resume", "logs/run", "--set", "run.max_steps=20"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let steps: Vec<u64> =
        metrics(&run).iter().filter(|line| line["kind"] == "step").map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (0..20).collect::<Vec<_>>());
    let read = |path: &Path| read_tensors(&fs::read(path).unwrap()).unwrap();
    let (got, want) = (read(&run.join("weights/last.safetensors")), read(&golden.join("run_to_its_end.safetensors")));
    assert_eq!(got.len(), want.len());
    for ((name, got), (also, want)) in got.iter().zip(&want) {
        assert_eq!(name, also);
        let distance = (got - want).abs().max().double_value(&[]);
        // Bit-identical on the processor that trained it; others round differently, and AdamW moves a weight by 0.01
        // per step.
        assert!(distance < 1e-3, "{name}: {distance}");
    }
}
