//! Runs that are killed while they repair themselves: they must end bit-identical to an uninterrupted run.
#![cfg(unix)]

use std::{fs, path::Path, process::Command};

use super::crash::{kill_all, run_to_its_end};
use crate::harness::{Workplace, checkpoints::assert_same, dice::Dice, limit};

const KILLS: u64 = 35;

/// The learning rate rises until training breaks.
const TOML: &str = r#"
run = { max_steps = 160, max_epochs = 100, threads = 1, device = "cpu", seed = 1 }
data = { source = "synthetic", batch_size = 16, samples = 300 }
model = { name = "cnn", width = 4, depth = 2 }
optimizer = { name = "sgd", momentum = 0.9, learning_rate = 20.0 }
schedule = { warmup_steps = 100 }
evaluate = { every_steps = 20 }
repair = { mode = "auto", budget = 9.0 }
checkpoint = { every_steps = 5, every_epochs = 0, keep_last = 12 }
monitor = { layers_every_steps = 1, histograms_every_steps = 20 }
"#;

struct Case {
    allow: &'static str,
    max_repairs: u64,
    trial_steps: u64,
    learning_rate: f64,
    /// Events that the run must have.
    events: &'static [&'static str],
    code: i32,
}

const CASES: [Case; 5] = [
    // Trials from checkpoints and from the start, some of which are undone.
    Case { allow: "[\"*\"]", max_repairs: 9, trial_steps: 10, learning_rate: 8.0, events: &["kept", "kept"], code: 0 },
    Case {
        allow: "[\"clipping.*\", \"schedule.*\"]",
        max_repairs: 9,
        trial_steps: 10,
        learning_rate: 20.0,
        events: &["undone", "kept"],
        code: 0,
    },
    // Gives up and ends with a checkpoint.
    Case {
        allow: "[\"clipping.*\"]",
        max_repairs: 1,
        trial_steps: 10,
        learning_rate: 20.0,
        events: &["undone", "gave_up"],
        code: 18,
    },
    // Inserts layers into trained weights.
    Case {
        allow: "[\"model.normalization\"]",
        max_repairs: 9,
        trial_steps: 10,
        learning_rate: 4.0,
        events: &["kept"],
        code: 0,
    },
    // Starts again without success and returns to its checkpoint.
    Case {
        allow: "[\"model.activation\"]",
        max_repairs: 9,
        trial_steps: 14,
        learning_rate: 2.0,
        events: &["undone", "undone", "gave_up"],
        code: 18,
    },
];

/// Places, and about how often a session visits each.
const PLACES: [(&str, u64); 14] = [
    ("return", 3),
    ("copied", 9),
    ("moved", 1),
    ("restored", 3),
    ("returned", 3),
    ("replace", 30),
    ("cut", 3),
    ("step", 150),
    ("checkpoint", 200),
    ("rename", 30),
    ("renamed", 30),
    ("retention", 10),
    ("evaluate", 6),
    ("lines", 150),
];

fn session(workplace: &Workplace, name: &str, case: usize) -> Command {
    let Case { allow, max_repairs, trial_steps, learning_rate, .. } = &CASES[case];
    let settings = [
        format!("repair.allow={allow}"),
        format!("repair.max_repairs={max_repairs}"),
        format!("repair.trial_steps={trial_steps}"),
        format!("optimizer.learning_rate={learning_rate:?}"),
    ];
    let mut arguments = vec!["train", "small.toml", "--run-name", name, "--resume", "auto"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    workplace.command(&arguments)
}

fn events(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("repairs.jsonl")).unwrap();
    let event =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned();
    text.lines().map(event).collect()
}

/// The files that repairs leave beside those of the run.
fn traces(run: &Path) -> Vec<(String, String)> {
    let read = |name: String| (name.clone(), fs::read_to_string(run.join(&name)).unwrap());
    let mut files = vec![read("repairs.jsonl".into()), read("config.toml".into()), read("config.original.toml".into())];
    let mut abandoned: Vec<_> =
        fs::read_dir(run.join("abandoned")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    abandoned.sort();
    for name in abandoned {
        let name = name.to_string_lossy();
        files.extend(["findings.jsonl", "config.toml"].map(|file| read(format!("abandoned/{name}/{file}"))));
    }
    files
}

/// Kills runs of one case `kills` times in total. Returns the places of the kills.
fn torment(case: usize, kills: u64, dice: &mut Dice) -> Vec<&'static str> {
    let workplace = Workplace::new(TOML);
    let &Case { events: want, code, .. } = &CASES[case];
    let outcome = limit::output(&mut session(&workplace, "whole", case));
    assert_eq!(outcome.status.code(), Some(code), "case {case}: {}", String::from_utf8_lossy(&outcome.stderr));
    let whole = workplace.run_folder("whole");
    let seen = events(&whole);
    let ends: Vec<&str> = seen.iter().map(String::as_str).filter(|event| want.contains(event)).collect();
    assert_eq!(ends, want, "case {case}: {seen:?}");
    let (mut killed, mut runs) = (Vec::new(), 0);
    while (killed.len() as u64) < kills {
        runs += 1;
        let name = format!("run{runs}");
        let what = format!("case {case}, {name}");
        let blows = run_to_its_end(&PLACES, &mut killed, kills, dice, code, &what, || session(&workplace, &name, case));
        let (run, what) = (workplace.run_folder(&name), format!("{what} after {blows:#?}"));
        assert_same(&run, &whole, &what);
        assert_eq!(traces(&run), traces(&whole), "{what}");
    }
    killed
}

#[test]
fn a_run_that_is_killed_while_it_repairs_itself_ends_as_if_it_had_not_been() {
    kill_all(CASES.len(), KILLS, torment);
}
