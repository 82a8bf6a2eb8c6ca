//! A run that goes wrong changes its config and trains on; a healthy one is left alone.

use std::{fs, path::Path};

use crate::harness::{SMALL, Workplace, last_weights, limit};

/// Far too high a learning rate.
const FAULTY: &str = r#"
run = { max_steps = 150, max_epochs = 100, threads = 1, device = "cpu", seed = 1 }
data = { source = "synthetic", batch_size = 32, samples = 400 }
model = { name = "mlp", width = 32, depth = 3 }
optimizer = { name = "sgd", momentum = 0.9, learning_rate = 5.0 }
"#;

fn lines(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("repairs.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_healthy_run_trains_the_same_weights_with_and_without_repair() {
    let workplace = Workplace::new(SMALL);
    let plain = workplace.train("plain", &[]);
    let repaired = workplace.train("repaired", &["repair.mode=auto", "repair.allow=[\"*\"]"]);
    assert_eq!(last_weights(&repaired), last_weights(&plain));
    assert!(!repaired.join("repairs.jsonl").exists() && !repaired.join("abandoned").exists());
}

#[test]
fn a_run_with_too_high_a_learning_rate_lowers_it_and_learns() {
    let workplace = Workplace::new(FAULTY);
    let run = workplace.train("run", &["repair.mode=auto"]);
    let records = lines(&run);
    let events: Vec<&str> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["trial", "returned", "kept"]);
    assert_eq!(
        (records[0]["rule"].as_str(), records[0]["settings"][0]["key"].as_str()),
        (Some("learning_rate"), Some("optimizer.learning_rate"))
    );
    let text = |name: &str| fs::read_to_string(run.join(name)).unwrap();
    let after = records[0]["settings"][0]["after"].as_str().unwrap();
    assert!(text("config.toml").contains(&format!("learning_rate = {after}\n")), "{}", text("config.toml"));
    assert!(text("config.original.toml").contains("learning_rate = 5.0\n"));
    assert!(
        text("abandoned/1/findings.jsonl").contains("learning_rate")
            && !text("findings.jsonl").contains("learning_rate")
    );
    // TensorBoard's Text page has the decisions.
    let events: Vec<u8> = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events.")))
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    let has = |text: &str| events.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(
        has("- trial 1: learning_rate (critical)") && has("- trial 1: the change stays"),
        "the events have no text"
    );
    // A resumed run keeps the change.
    let resumed = workplace.call(&["resume", "logs/run", "--max-steps", "160"]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    assert!(text("config.toml").contains(&format!("learning_rate = {after}\n")));
}

#[test]
fn a_run_on_several_ranks_is_refused_in_one_line() {
    let workplace = Workplace::new(FAULTY);
    let refused = workplace.call(&["train", "small.toml", "--ranks", "2", "--set", "repair.mode=auto"]);
    assert_eq!(refused.code, Some(3), "{refused:#?}");
    let want = "repair.mode: got \"auto\" on 2 ranks, want one rank, or repair.mode = \"advise\"";
    assert_eq!(refused.stderr.matches(want).count(), 1, "{refused:#?}");
}

/// Twelve layers of sigmoids, through which no gradient comes.
const VANISHING: &str = r#"
run = { max_steps = 120, max_epochs = 100, threads = 1, device = "cpu", seed = 1 }
data = { source = "synthetic", batch_size = 32, samples = 400 }
model = { name = "mlp", width = 32, depth = 12, activation = "sigmoid", initialization = "xavier_normal" }
optimizer = { name = "sgd", momentum = 0.9, learning_rate = 0.05 }
"#;

#[test]
fn a_network_that_cannot_train_is_changed_before_its_first_step() {
    let workplace = Workplace::new(VANISHING);
    let run = workplace.train("run", &["repair.mode=auto", "repair.allow=[\"*\"]"]);
    let records = lines(&run);
    let [record] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((record["event"].as_str(), record["rule"].as_str()), (Some("prepared"), Some("vanishing")));
    let text = |name: &str| fs::read_to_string(run.join(name)).unwrap();
    assert!(text("config.original.toml").contains("activation = \"sigmoid\""));
    let changed = &record["settings"][0];
    let line = format!(
        "{} = {}",
        changed["key"].as_str().unwrap().rsplit('.').next().unwrap(),
        changed["after"].as_str().unwrap()
    );
    assert!(text("config.toml").contains(&line) && !text("config.original.toml").contains(&line), "{line}");
    assert!(!text("findings.jsonl").contains("vanishing"), "{}", text("findings.jsonl"));
    // Only an allowed change is made, and only if the run repairs itself.
    let narrow = workplace.train("narrow", &["repair.mode=auto", "repair.allow=[\"clipping.*\"]"]);
    assert_eq!(lines(&narrow)[0]["event"], "no_remedy");
    let advised = workplace.call(&["train", "small.toml", "--run-name", "advised", "--set", "repair.mode=advise"]);
    let want = "for vanishing, repair.mode = \"auto\" would set model.initialization = \"centered_logistic\", which needs new weights";
    assert!(advised.stderr.contains(want), "{}", advised.stderr);
    assert!(!workplace.run_folder("advised").join("repairs.jsonl").exists());
}

#[test]
fn a_run_that_nothing_helps_ends_with_a_code_of_its_own_and_may_train_on_without_repair() {
    let workplace = Workplace::new(FAULTY);
    let settings = [
        "repair.mode=auto",
        "repair.allow=[\"loss.*\", \"clipping.clip_value\", \"clipping.mode\"]",
        "repair.max_repairs=1",
    ];
    let mut arguments = vec!["train", "small.toml", "--run-name", "run"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let ended = workplace.call(&arguments);
    let run = workplace.run_folder("run");
    assert_eq!(ended.code, Some(18), "{ended:#?} {:#?}", lines(&run));
    assert_eq!(lines(&run).last().unwrap()["event"], "gave_up");
    assert!(ended.stdout.contains("verdict     Repair gave up on "), "{}", ended.stdout);
    let diagnosed = workplace.call(&["diagnose", "logs/run", "--fail-at", "critical"]);
    assert_eq!(diagnosed.code, Some(11), "{diagnosed:#?}");
    // It has ended, unless it no longer repairs itself.
    let again = workplace.call(&[
        "train",
        "small.toml",
        "--run-name",
        "run",
        "--resume",
        "auto",
        "--set",
        settings[0],
        "--set",
        settings[1],
        "--set",
        settings[2],
    ]);
    assert_eq!(again.code, Some(18), "{again:#?}");
    let resumed = workplace.call(&["resume", "logs/run", "--set", "repair.mode=off"]);
    assert!(resumed.code == Some(0) || resumed.code == Some(16), "{resumed:#?}");
}

#[test]
fn a_run_that_has_ended_is_repaired_in_a_copy() {
    let workplace = Workplace::new(FAULTY);
    let ended = workplace.call(&["train", "small.toml", "--run-name", "run"]);
    assert!(ended.code == Some(0) || ended.code == Some(16), "{ended:#?}");
    let run = workplace.run_folder("run");
    let files = |run: &Path| -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let mut files: Vec<_> = entries
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files(&run);
    let plan = workplace.call(&["repair", "logs/run", "--dry-run"]);
    assert_eq!(plan.code, Some(0), "{plan:#?}");
    for part in
        ["finding   learning_rate (critical)", "try       optimizer.learning_rate = ", "into      logs/run-repaired"]
    {
        assert!(plan.stdout.contains(part), "{}", plan.stdout);
    }
    assert!(!workplace.run_folder("run-repaired").exists());
    let repaired = workplace.call(&["repair", "logs/run"]);
    assert_eq!(repaired.code, Some(0), "{repaired:#?}");
    assert_eq!(files(&run), before, "the original is as it was");
    let copy = workplace.run_folder("run-repaired");
    let events: Vec<String> = lines(&copy).iter().map(|record| record["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["trial", "returned", "kept"]);
    assert!(copy.join("abandoned/1/metrics.jsonl").exists());
    let again = workplace.call(&["repair", "logs/run"]);
    assert_eq!(again.code, Some(6), "{again:#?}");
    assert!(again.stderr.contains("logs/run-repaired already exists; resume it with gradwatch resume"), "{again:#?}");
    let healthy = workplace.call(&["repair", "logs/run-repaired", "--dry-run"]);
    assert!(healthy.code == Some(0) && healthy.stdout.starts_with("nothing to repair"), "{healthy:#?}");
    let none = workplace.call(&["repair", "logs", "--dry-run"]);
    assert_eq!(none.code, Some(6), "{none:#?}");
}

/// The learning rate rises until the ReLUs die; other findings are ignored.
fn dying(model: &str, rate: f64) -> String {
    format!(
        r#"
run = {{ max_steps = 72, max_epochs = 100, threads = 1, device = "cpu", seed = 1 }}
data = {{ source = "synthetic", batch_size = 16, samples = 300 }}
model = {{ {model} }}
optimizer = {{ name = "sgd", momentum = 0.9, learning_rate = {rate:?} }}
schedule = {{ warmup_steps = 100 }}
repair = {{ mode = "auto", trial_steps = 10, budget = 9.0, allow = ["model.normalization"] }}
checkpoint = {{ every_steps = 5, every_epochs = 0, keep_last = 40 }}
evaluate = {{ every_steps = 10 }}
diagnosis = {{ ignore = ["learning_rate", "update_ratio", "weight_decay", "loss_diverging", "loss_plateau", "loss_oscillating", "momentum", "exploding", "zero_gradient", "non_finite", "slow_convergence"] }}
"#
    )
}

#[test]
fn a_run_with_inserted_layers_can_be_used_diagnosed_and_repaired_again() {
    let workplace = Workplace::new(&dying("name = \"cnn\", width = 4, depth = 2", 8.0));
    let run = workplace.train("run", &[]);
    let records = lines(&run);
    let events: Vec<&str> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
    assert_eq!((&*events, records[0]["weights"].as_str()), (&["trial", "returned", "kept"][..], Some("mapped")));
    // The best weights are those of the network that the run has now.
    let evaluated = workplace.call(&["evaluate", "logs/run"]);
    assert_eq!(evaluated.code, Some(0), "{evaluated:#?}");
    // The files say what the run says.
    let diagnosed = workplace.call(&["diagnose", "logs/run", "--fail-at", "critical"]);
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert_eq!(diagnosed.code == Some(0), report.contains("Healthy: no problems found"), "{diagnosed:#?}");
    // A copy keeps the change, although its checkpoint is from before it.
    let again =
        workplace.call(&["repair", "logs/run", "--set", "repair.allow=[\"*\"]", "--set", "repair.severity=warning"]);
    let copy = workplace.run_folder("run-repaired");
    if copy.exists() {
        assert!(
            fs::read_to_string(copy.join("config.toml")).unwrap().contains("normalization = \"batch\""),
            "{again:#?}"
        );
    }
}

#[test]
fn a_change_with_which_a_run_cannot_start_is_undone_also_after_a_kill() {
    let model = "name = \"resnet8\", width = 4, normalization = \"none\", initialization = \"fixup\"";
    let workplace = Workplace::new(&dying(model, 4.0));
    let arguments = ["train", "small.toml", "--run-name", "run", "--resume", "auto"];
    let killed = limit::output(workplace.command(&arguments).env("GRADWATCH_FAULT", "kill returned 1"));
    assert!(killed.status.code().is_none(), "{killed:?}");
    let resumed = workplace.call(&arguments);
    assert_eq!(resumed.code, Some(18), "{resumed:#?}");
    let reasons: Vec<String> = lines(&workplace.run_folder("run"))
        .iter()
        .filter(|record| record["event"] == "undone")
        .map(|record| record["reason"].as_str().unwrap().to_owned())
        .collect();
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| reason.contains("got fixup")), "{reasons:#?}");
}
