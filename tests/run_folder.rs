//! What a run leaves behind, and how it ends.

mod harness;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Command,
    time::{Duration, Instant},
};

use gradwatch::events::EventFile;
use harness::{SMALL, Workplace, event_file, last_weights, scalars};
use serde_json::Value;

fn metrics(run: &std::path::Path) -> Vec<Value> {
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
    // A learning rate of 0 never improves after the first evaluation: it and two more of 9 steps each.
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
    assert_eq!(outcome.code, Some(8), "{outcome:#?}");
    assert!(outcome.stderr.contains("10 steps in a row had a gradient that is not finite, first in "), "{outcome:#?}");
    let run = workplace.run_folder("nan");
    let fresh = workplace.train("fresh", &["optimizer.learning_rate=0", "model.normalization=none"]);
    assert_eq!(last_weights(&run), last_weights(&fresh));
    let events = scalars(&run);
    assert!(events.keys().any(|(tag, _)| tag.starts_with("grad_non_finite/")));
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
        let deadline = Instant::now() + Duration::from_secs(60);
        while steps() < 20 {
            assert!(Instant::now() < deadline, "the run did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let mut summary = String::new();
        child.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
        assert!(summary.contains(&format!("ended       SIG{signal}")), "{summary}");
        // Every event is whole, and the last step of metrics.jsonl is in the event file.
        let last = metrics(&run).last().unwrap()["step"].as_i64().unwrap();
        assert!(scalars(&run).contains_key(&("loss/step".to_owned(), last)));
        assert!(!last_weights(&run).is_empty());
    }
}

#[cfg(unix)]
#[test]
fn a_killed_run_has_lost_at_most_the_last_second_of_events() {
    let workplace = Workplace::new(SMALL);
    let mut child = workplace.start(&["train", "small.toml", "--run-name", "run", "--set", "run.max_epochs=100000"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    stderr.by_ref().map_while(Result::ok).find(|line| line.contains("epoch 5/")).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    child.kill().unwrap();
    child.wait().unwrap();
    let run = workplace.run_folder("run");
    let whole = EventFile::open(event_file(&run)).unwrap().map_while(Result::ok);
    let last_event = whole.last().unwrap().wall_time;
    let written = fs::metadata(run.join("metrics.jsonl")).unwrap().modified().unwrap();
    let last_line = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(last_line - last_event < 1.0, "{last_line} {last_event}");
}

#[test]
fn check_prints_the_resolved_config_and_every_parameter_and_writes_nothing() {
    let workplace = Workplace::new(SMALL);
    let outcome = workplace.call(&["check", "small.toml", "--threads", "1", "--set", "optimizer.name=adamw"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    for want in ["betas = [", "1 x 8 x 8", "268 images of 4 classes", "layers.0.conv.weight", "trainable numbers"] {
        assert!(outcome.stdout.contains(want), "{want} is not in {}", outcome.stdout);
    }
    assert_eq!(fs::read_dir(workplace.path()).unwrap().count(), 1);
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
