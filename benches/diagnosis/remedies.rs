//! Repeats faulty runs with the recommended changes, and with random ones.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    case::{Case, Recipe, Trial},
    traces,
};

/// A faulty run and the changes recommended for it, as the scores list them.
#[derive(Deserialize)]
struct Faulty {
    folder: PathBuf,
    changes: Vec<String>,
}

/// Changes that people try on a run that does not train. `lr` stands for the learning rate of the run.
const RANDOM: [&str; 24] = [
    "optimizer.learning_rate = lr * 0.1",
    "optimizer.learning_rate = lr * 10",
    "optimizer.learning_rate = lr * 0.01",
    "optimizer.learning_rate = lr * 100",
    "optimizer.name = \"sgd\"",
    "optimizer.name = \"adam\"",
    "optimizer.momentum = 0.9",
    "optimizer.weight_decay = 0",
    "optimizer.weight_decay = 0.0001",
    "schedule.name = \"cosine\"",
    "schedule.warmup_epochs = 1",
    "clipping.mode = \"norm\"",
    "clipping.mode = \"agc\"",
    "clipping.mode = \"none\"",
    "data.batch_size = 64",
    "data.batch_size = 16",
    "model.initialization = \"kaiming_normal\"",
    "model.initialization = \"xavier_uniform\"",
    "model.activation = \"relu\"",
    "model.normalization = \"batch\"",
    "model.residual = true",
    "model.dropout = 0.1",
    "loss.label_smoothing = 0.1",
    "ema.decay = 0.99",
];

/// For every faulty run in `faulty.jsonl`: one run per recommended change, and one with a random change. The first
/// changes come first.
pub(crate) fn all(root: &Path, cases: &[Case]) -> Vec<Case> {
    let list = root.join("faulty.jsonl");
    let text = fs::read_to_string(&list)
        .unwrap_or_else(|error| panic!("{}: {error}; score the families first", list.display()));
    let of_folder: HashMap<_, _> = cases.iter().map(|case| (traces::folder(root, case), case)).collect();
    let mut trials = Vec::new();
    for line in text.lines() {
        let Faulty { folder, changes } = serde_json::from_str(line).expect("the scores write this file");
        let Some(case) = of_folder.get(&folder) else { continue };
        let trial = |change: String, place| tried(case, Trial { of: folder.clone(), change, place });
        let recommended = changes.into_iter().enumerate();
        trials.extend(recommended.map(|(place, change)| (place, trial(change, Some(place)))));
        trials.extend(random(root, case).map(|change| (0, trial(change, None))));
    }
    trials.sort_by_key(|(place, _)| *place);
    trials.into_iter().map(|(_, case)| case).collect()
}

fn tried(case: &Case, trial: Trial) -> Case {
    let mut settings = program_settings(case).to_vec();
    let kind = if trial.place.is_some() { "try" } else { "random" };
    let name = format!("{}, {kind} {}", case.name, trial.change);
    settings.push(trial.change.replace(" = ", "="));
    Case { name, recipe: Recipe::Program(settings), grid: "remedies", trial: Some(trial), ..case.clone() }
}

/// All random changes for a run at this learning rate, in an order that depends on `name`.
pub(crate) fn random_changes(name: &str, learning_rate: f64) -> impl Iterator<Item = String> {
    let start = usize::from(blake3::hash(name.as_bytes()).as_bytes()[0]) % RANDOM.len();
    (0..RANDOM.len()).map(move |offset| {
        // 7 and 24 have no common factor, so all changes are tried, and not in the order of the list.
        let change = RANDOM[(start + 7 * offset) % RANDOM.len()];
        match change.split_once("lr * ") {
            Some((key, factor)) => {
                let factor: f64 = factor.parse().expect("a number of the table");
                format!("{key}{}", learning_rate * factor)
            }
            None => change.to_owned(),
        }
    })
}

/// A change that gives another valid config, chosen by the hash of the run.
fn random(root: &Path, case: &Case) -> Option<String> {
    let config = traces::config(root, case).ok()?;
    let name = format!("{} {}", case.architecture, case.name);
    let mut valid = random_changes(&name, config.optimizer.learning_rate).filter(|change| {
        let trial = Trial { of: root.to_owned(), change: change.clone(), place: None };
        let changed = traces::config(root, &tried(case, trial));
        changed.is_ok_and(|changed| changed.to_toml() != config.to_toml())
    });
    valid.next()
}

fn program_settings(case: &Case) -> &[String] {
    match &case.recipe {
        Recipe::Program(settings) => settings,
        Recipe::OwnLoop(_) => &[],
    }
}
