//! Studies: a grid of runs trains to the same results however often it is interrupted, and bad input gives one line.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Outcome, Workplace, background::wait_for, dice::Dice, limit::Running};

const BASE: &str = r#"
run = { max_steps = 12, threads = 1, device = "cpu" }
data = { source = "synthetic", samples = 60, classes = 4, image_size = 8, channels = 1, batch_size = 8 }
model = { name = "mlp", width = 8 }
optimizer = { learning_rate = 0.05 }
evaluate = { every_steps = 4 }
checkpoint = { every_steps = 3, keep_last = 1 }
"#;

const STUDY: &str = r#"
base = "small.toml"
seeds = [1, 2]
[axes]
"model.depth" = [1, 2]
activation = [
    { label = "relu", "model.activation" = "relu" },
    { label = "tanh", "model.activation" = "tanh", "optimizer.learning_rate" = 0.1 },
]
"#;

fn workplace(study: &str) -> Workplace {
    let workplace = Workplace::new(BASE);
    fs::write(workplace.path().join("grid.toml"), study).unwrap();
    workplace
}

/// The lines of results.csv without their last column, the time.
fn results(workplace: &Workplace, name: &str) -> Vec<String> {
    let text = fs::read_to_string(workplace.run_folder(name).join("results.csv")).unwrap();
    assert!(text.lines().next().unwrap().ends_with(",seconds"), "{text}");
    text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

/// The cells of a column of results.csv; for columns without commas before them in any cell.
fn column(workplace: &Workplace, name: &str, column: &str) -> Vec<String> {
    let text = fs::read_to_string(workplace.run_folder(name).join("results.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let index = reader.headers().unwrap().iter().position(|header| header == column).unwrap();
    reader.records().map(|record| record.unwrap()[index].to_owned()).collect()
}

#[test]
fn a_grid_trains_every_combination_once_and_is_not_repeated() {
    let workplace = workplace(STUDY);
    let outcome = workplace.call(&["study", "grid.toml", "--jobs", "2"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("8 of 8 have ended"), "{outcome:?}");
    let trained = results(&workplace, "grid");
    assert_eq!(trained.len(), 9);
    assert!(
        trained[1].starts_with("\"depth=1,activation=relu,seed=1\",1,relu,1,finished,run.max_steps reached,12,"),
        "{trained:#?}"
    );
    // The keys that belong together were set together.
    let config = fs::read_to_string(workplace.run_folder("grid/depth=2,activation=tanh,seed=2/config.toml")).unwrap();
    assert!(config.contains("activation = \"tanh\"") && config.contains("learning_rate = 0.1"), "{config}");
    let text = || fs::read_to_string(workplace.run_folder("grid").join("results.csv")).unwrap();
    let before = text();
    let again = workplace.call(&["study", "grid.toml"]);
    assert!(again.code == Some(0) && again.stderr.contains("all 8 runs have ended"), "{again:?}");
    assert_eq!(text(), before, "even the times");
    // A run of a study is as good as any other.
    let diagnosed = workplace.call(&["diagnose", "logs/grid/depth=1,activation=relu,seed=1"]);
    assert_eq!(diagnosed.code, Some(0), "{diagnosed:?}");
    // The folder of a study stands for its runs. Eight runs and one of them again do not fit side by side.
    let compared = workplace.call(&["compare", "logs/grid", "logs/grid/depth=1,activation=relu,seed=1"]);
    assert_eq!(compared.code, Some(0), "{compared:?}");
    assert!(compared.stdout.contains("logs/grid/depth=2,activation=tanh,seed=2"), "{}", compared.stdout);
    assert!(compared.stdout.lines().all(|line| line.chars().count() <= 100), "{}", compared.stdout);
}

#[test]
fn a_study_that_is_killed_ten_times_ends_with_the_same_results() {
    let workplace = workplace(STUDY);
    let slow = ["study", "grid.toml", "--jobs", "2"];
    let outcome = workplace.call(&[&slow[..], &["--name", "whole"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut dice = Dice(1);
    for kill in 0..10 {
        let mut command = workplace.command(&[&slow[..], &["--name", "killed"]].concat());
        let mut running = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        thread::sleep(Duration::from_millis(200 + dice.below(2500)));
        let (signal, id) = (if kill % 3 == 2 { "-TERM" } else { "-KILL" }, running.id().to_string());
        // It may have ended.
        let _ = Command::new("kill").args([signal, &id]).stderr(Stdio::null()).status();
        running.wait().unwrap();
    }
    let outcome = workplace.call(&[&slow[..], &["--name", "killed"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(results(&workplace, "killed"), results(&workplace, "whole"));
}

#[test]
fn a_run_that_diverges_is_a_result_and_one_that_fails_is_tried_again() {
    let study = "base = \"small.toml\"\n[axes]\n\"optimizer.learning_rate\" = [0.05, 1e15]\n";
    let workplace = workplace(study);
    let outcome = workplace.call(&["study", "grid.toml"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(column(&workplace, "grid", "state"), ["finished", "finished"]);
    let endings = column(&workplace, "grid", "ending");
    assert!(endings[0] == "run.max_steps reached" && endings[1].starts_with("diverged: step "), "{endings:?}");

    let data = "base = \"small.toml\"\n[axes]\ndata = [{ label = \"here\", \"data.source\" = \"synthetic\" }, \
                { label = \"gone\", \"data.source\" = \"folder\", \"data.path\" = \"none\" }]\n";
    fs::write(workplace.path().join("other.toml"), data).unwrap();
    for _ in 0..2 {
        let outcome = workplace.call(&["study", "other.toml"]);
        assert_eq!(outcome.code, Some(9), "{outcome:?}");
        assert!(outcome.stderr.contains("data=gone,seed=") && outcome.stderr.contains("none"), "{outcome:?}");
        assert_eq!(column(&workplace, "other", "state"), ["finished", "failed"]);
    }
    let ending = &column(&workplace, "other", "ending")[1];
    assert!(ending.starts_with("exit code 4: ") && ending.contains("none"), "{ending}");
}

#[test]
fn the_best_half_of_the_configurations_trains_on() {
    let study = r#"
base = "small.toml"
seeds = [1, 2]
[axes]
"optimizer.learning_rate" = [1e-6, 0.03, 1e-5, 0.1]
[halving]
metric = "final_validation_loss"
goal = "min"
steps = [4, 8, 12]
"#;
    let workplace = workplace(study);
    let outcome = workplace.call(&["study", "grid.toml"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let steps = column(&workplace, "grid", "steps");
    assert_eq!(steps.iter().filter(|steps| *steps == "4").count(), 4, "{steps:?}");
    assert_eq!(steps.iter().filter(|steps| *steps == "8").count(), 2, "{steps:?}");
    assert_eq!(steps.iter().filter(|steps| *steps == "12").count(), 2, "{steps:?}");
    // Both small rates end first.
    assert_eq!([&steps[0], &steps[1], &steps[4], &steps[5]], ["4"; 4]);
    let endings = column(&workplace, "grid", "ending");
    assert_eq!(endings[0], "not among the best after rung 1 of 3");
    assert_eq!(column(&workplace, "grid", "state")[0], "stopped");
    // The run of the last rung equals one that trained without a stop.
    let best = steps.iter().position(|steps| steps == "12").unwrap();
    let name = &column(&workplace, "grid", "run")[best];
    let rate = &column(&workplace, "grid", "optimizer.learning_rate")[best];
    let plain = workplace.train("plain", &[&format!("optimizer.learning_rate={rate}"), "run.seed=1"]);
    let weights = |run: std::path::PathBuf| fs::read(run.join("weights/last.safetensors")).unwrap();
    assert!(weights(workplace.run_folder("grid").join(name)) == weights(plain), "{name}");
}

#[test]
fn invalid_studies_give_one_line_per_problem_and_leave_no_folder() {
    let refused = |study: &str, code: i32| {
        let workplace = workplace(study);
        let outcome = workplace.call(&["study", "grid.toml"]);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(!workplace.path().join("logs").exists(), "{outcome:?}");
        outcome.stderr
    };
    let error = refused("base = \"small.toml\"\n[axes]\n\"model.dept\" = [1, 2]\n\"model.width\" = []\n", 3);
    assert!(error.contains("model.dept") && error.contains("did you mean \"model.depth\"?"), "{error}");
    assert!(error.contains("model.width"), "{error}");
    let error = refused("base = \"none.toml\"\n[axes]\n\"model.depth\" = [1]\n", 3);
    assert!(error.contains("none.toml"), "{error}");
    let error = refused(&format!("{STUDY}[[exclude]]\n\"model.depth\" = [1, 2]\n"), 3);
    assert!(error.contains("exclude"), "{error}");
    let error = refused("base = \"small.toml\"\n[axes]\n\"model.width\" = [-1, -2]\n", 3);
    assert!(error.contains("the configs of all 2 runs are invalid"), "{error}");
}

#[test]
fn a_base_that_is_invalid_for_some_runs_only_trains_the_others() {
    let workplace = workplace("base = \"small.toml\"\n[axes]\n\"model.width\" = [8, -1]\n");
    let outcome = workplace.call(&["study", "grid.toml"]);
    assert_eq!(outcome.code, Some(9), "{outcome:?}");
    assert!(outcome.stderr.contains("width=-1,seed=42 is left out: model.width: got -1"), "{outcome:?}");
    assert_eq!(column(&workplace, "grid", "model.width"), ["8"]);
}

#[test]
fn a_study_that_trains_can_be_reported_and_refuses_a_second_process() {
    let endless = "base = \"small.toml\"\n[axes]\n\"run.max_steps\" = [3, 100000000]\n";
    let workplace = workplace(endless);
    let mut command = workplace.command(&["study", "grid.toml", "--jobs", "1"]);
    let mut running = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let records = workplace.run_folder("grid").join("runs.jsonl");
    let text = || fs::read_to_string(&records).unwrap_or_default();
    wait_for("the first run", || text().lines().count() == 2);
    let before = text();
    let report = workplace.call(&["study", "grid.toml", "--report"]);
    assert!(report.code == Some(0) && report.stdout.contains("1 of 2 have ended"), "{report:?}");
    assert_eq!(column(&workplace, "grid", "steps")[0], "3");
    let second = workplace.call(&["study", "grid.toml"]);
    assert!(second.code == Some(17) && second.stderr.contains("in use by another"), "{second:?}");
    assert_eq!(text(), before);
    let id = running.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(143));
}

#[test]
fn settings_of_the_command_line_hold_for_all_runs() {
    let workplace =
        workplace("base = \"small.toml\"\n[set]\n\"run.max_steps\" = 9\n[axes]\n\"model.depth\" = [1, 2]\n");
    let arguments = ["study", "grid.toml", "--set", "run.max_steps=4", "--threads", "2"];
    let outcome = workplace.call(&arguments);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(column(&workplace, "grid", "steps"), ["4", "4"]);
    let copy = fs::read_to_string(workplace.run_folder("grid").join("study.toml")).unwrap();
    assert!(copy.contains("# --set run.max_steps=4\n"), "{copy}");
    // Other settings are another study.
    let other = workplace.call(&["study", "grid.toml"]);
    assert!(other.code == Some(6) && other.stderr.contains("with another config"), "{other:?}");
    let axis = workplace.call(&["study", "grid.toml", "--set", "model.depth=4"]);
    assert!(axis.code == Some(3) && axis.stderr.contains("model.depth is also in [set] or --set"), "{axis:?}");
}

#[test]
fn two_studies_do_not_share_a_folder() {
    let workplace = workplace(STUDY);
    let first = ["study", "grid.toml", "--name", "shared"];
    assert_eq!(workplace.call(&first).code, Some(0));
    let before = fs::read(workplace.run_folder("shared").join("results.csv")).unwrap();
    let other = "base = \"small.toml\"\n[axes]\n\"model.width\" = [4]\n";
    fs::write(workplace.path().join("other.toml"), other).unwrap();
    let outcome = workplace.call(&["study", "other.toml", "--name", "shared"]);
    assert_eq!(outcome.code, Some(6), "{outcome:?}");
    assert!(outcome.stderr.contains("logs/shared contains another study"), "{outcome:?}");
    // The same grid of another base is another study too.
    fs::write(workplace.path().join("small.toml"), BASE.replace("width = 8", "width = 9")).unwrap();
    let outcome = workplace.call(&first);
    assert_eq!(outcome.code, Some(6), "{outcome:?}");
    assert!(outcome.stderr.contains("8 runs were trained in logs/shared with another config"), "{outcome:?}");
    assert_eq!(fs::read(workplace.run_folder("shared").join("results.csv")).unwrap(), before);
}

#[test]
fn ten_thousand_runs_are_estimated_and_start_only_on_request() {
    let seeds: Vec<String> = (1..=2500).map(|seed| seed.to_string()).collect();
    let workplace = workplace(&STUDY.replace("[1, 2]\n[axes]", &format!("[{}]\n[axes]", seeds.join(", "))));
    let outcome = workplace.call(&["study", "grid.toml", "--jobs", "4"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let want = "gradwatch: 10000 runs, 4 at once, about ";
    assert!(outcome.stderr.contains(want) && outcome.stderr.contains("to start so many, add --yes"), "{outcome:?}");
    let listed = workplace.call(&["study", "grid.toml", "--dry-run"]);
    assert!(listed.code == Some(0) && listed.stdout.contains("... and 9980 more"), "{listed:?}");
}

#[test]
fn a_run_whose_folder_is_gone_trains_again_and_one_of_another_length_is_refused() {
    let workplace = workplace("base = \"small.toml\"\n[axes]\n\"model.depth\" = [1, 2]\n");
    assert_eq!(workplace.call(&["study", "grid.toml"]).code, Some(0));
    let whole = results(&workplace, "grid");
    fs::remove_dir_all(workplace.run_folder("grid/depth=2,seed=42")).unwrap();
    let outcome = workplace.call(&["study", "grid.toml"]);
    assert!(outcome.code == Some(0) && outcome.stderr.contains("; 1 of 2 have ended"), "{outcome:?}");
    assert_eq!(results(&workplace, "grid"), whole);
    fs::write(workplace.path().join("small.toml"), BASE.replace("max_steps = 12", "max_steps = 16")).unwrap();
    let outcome = workplace.call(&["study", "grid.toml"]);
    assert_eq!(outcome.code, Some(6), "{outcome:?}");
    assert!(outcome.stderr.contains("2 runs were trained in logs/grid with another config"), "{outcome:?}");
}

#[test]
fn an_estimate_needs_no_run_that_trains_and_no_launcher() {
    let study = "base = \"small.toml\"\n[axes]\n\"run.max_steps\" = [2, 4, 6]\n";
    let workplace = workplace(study);
    let mut command = workplace.command(&["study", "grid.toml", "--dry-run", "--jobs", "1"]);
    let outcome = Outcome::of(command.env("RANK", "0").env("WORLD_SIZE", "2"));
    assert!(outcome.code == Some(0) && outcome.stdout.contains("3 runs, one at a time, about "), "{outcome:?}");
    let failing = "base = \"small.toml\"\n[set]\n\"data.source\" = \"folder\"\n\"data.path\" = \"none\"\n[axes]\n\
                   \"model.depth\" = [1, 2]\n";
    fs::write(workplace.path().join("grid.toml"), failing).unwrap();
    let outcome = workplace.call(&["study", "grid.toml", "--dry-run"]);
    assert!(outcome.code == Some(0) && outcome.stdout.ends_with("2 runs\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("depth=1,seed=42: exit code 4: "), "{outcome:?}");
    let outcome = workplace.call(&["study", "grid.toml", "--report"]);
    assert!(outcome.code == Some(6) && outcome.stderr.contains("logs/grid contains no study"), "{outcome:?}");
}

#[test]
fn a_study_that_is_stopped_in_a_rung_knows_which_runs_are_open() {
    let study = r#"
base = "small.toml"
[axes]
"optimizer.learning_rate" = [1e-6, 0.1]
[halving]
metric = "final_validation_loss"
goal = "min"
steps = [4, 100000]
"#;
    let workplace = workplace(study);
    let mut command = workplace.command(&["study", "grid.toml"]);
    let mut running = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let metrics = workplace.run_folder("grid/learning_rate=0.1,seed=42/metrics.jsonl");
    let is_in_the_second_rung = || fs::read_to_string(&metrics).unwrap_or_default().contains("\"step\":20");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_in_the_second_rung() {
        assert!(Instant::now() < deadline, "the second rung does not start");
        thread::sleep(Duration::from_millis(20));
    }
    let _ = Command::new("kill").args(["-TERM", &running.id().to_string()]).status();
    assert_eq!(running.wait().unwrap().code(), Some(143));
    assert_eq!(column(&workplace, "grid", "state"), ["stopped", "stopped"]);
    let endings = column(&workplace, "grid", "ending");
    assert_eq!(endings, ["not among the best after rung 1 of 2", "interrupted"]);
}
