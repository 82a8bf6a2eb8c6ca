//! Repairs as AutoTrainer does (Zhang et al., ICSE 2021): trains from scratch with the next change of a fixed order, as
//! long as its own rules see a problem.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    score::{Reference, Score, accuracy, steps},
    settings,
};
use crate::{
    case::{Case, Recipe},
    traces,
};

const RULES: [&str; 2] = ["diagnosis.rule_sets=[\"autotrainer\"]", "monitor.layers_every_steps=10"];

/// Changes for each problem in AutoTrainer's order (strategy "balance"); `;` separates settings of one change.
fn changes(problem: &str) -> &'static [&'static str] {
    match problem {
        "VanishingGradient" => &[
            "model.activation=selu;model.initialization=lecun_uniform",
            "model.activation=relu;model.initialization=kaiming_uniform",
            "model.normalization=batch",
        ],
        "ExplodingGradient" | "InvalidLoss" | "AbnormalData" => &[
            "model.activation=selu;model.initialization=lecun_uniform",
            "model.activation=relu;model.initialization=kaiming_uniform",
            "clipping.mode=value;clipping.clip_value=9.5",
            "model.activation=tanh",
            "model.normalization=batch",
        ],
        "DyingRelu" => &[
            "model.activation=selu;model.initialization=lecun_uniform",
            "model.normalization=batch",
            "model.initialization=kaiming_uniform",
            "model.initialization=lecun_uniform",
            "model.initialization=xavier_uniform",
            "model.activation=leaky_relu",
        ],
        "OscillatingLoss" => &[
            "optimizer.name=adam;optimizer.learning_rate=0.001",
            "optimizer.learning_rate=0.001",
            "optimizer.learning_rate=0.0001",
            "optimizer.learning_rate=0.00001",
            "schedule.name=plateau;schedule.decay_rate=0.2;schedule.patience=5",
            "data.batch_size=32",
            "data.batch_size=64",
            "optimizer.name=sgd;optimizer.learning_rate=0.01;optimizer.momentum=0.5",
            "model.initialization=kaiming_uniform",
        ],
        "SlowConvergence" => &[
            "optimizer.name=adam;optimizer.learning_rate=0.001",
            "optimizer.name=rmsprop;optimizer.learning_rate=0.001",
            "optimizer.name=sgd;optimizer.learning_rate=0.01",
            "optimizer.learning_rate=0.001",
            "optimizer.learning_rate=0.01",
            "optimizer.learning_rate=0.1",
            "model.initialization=kaiming_uniform",
            "model.initialization=xavier_uniform",
        ],
        _ => &[],
    }
}

/// The first problem that AutoTrainer sees in a run, and the step.
fn problem(folder: &Path) -> Option<(String, f64)> {
    let text = fs::read_to_string(folder.join("findings.jsonl")).unwrap_or_default();
    let alarm = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("alarm").cloned();
    let alarm = text.lines().find_map(alarm)?;
    Some((alarm["rule"].as_str()?.to_owned(), alarm["step"].as_f64()?))
}

/// A run that is repaired.
struct Repair {
    /// Changes that are left for the first problem.
    left: &'static [&'static str],
    is_over: bool,
    accuracy: f64,
    /// Steps so far, over those of a run.
    time: f64,
    trials: usize,
}

/// Repairs the runs.
pub(super) fn repair(root: &Path, cases: &[Case], references: &[Reference], is_cached: bool) -> Score {
    let watched: Vec<Case> = cases.iter().map(|case| with(case, "", "watched")).collect();
    let folders = traces::train_all(root, &watched, is_cached);
    let mut repairs: Vec<Repair> = folders.iter().map(|folder| Repair::of(folder.as_ref())).collect();
    loop {
        let tried: Vec<usize> =
            (0..repairs.len()).filter(|&index| !repairs[index].is_over && !repairs[index].left.is_empty()).collect();
        if tried.is_empty() {
            break;
        }
        let next: Vec<Case> =
            tried.iter().map(|&index| with(&cases[index], repairs[index].left[0], repairs[index].left[0])).collect();
        let folders = traces::train_all(root, &next, is_cached);
        for (index, folder) in tried.into_iter().zip(folders) {
            repairs[index].take(folder.as_ref());
        }
    }
    let mut score = Score::default();
    for ((case, reference), repair) in cases.iter().zip(references).zip(&repairs) {
        // The last training counts in full if no try was accepted.
        let rest = if repair.is_over { 0.0 } else { 1.0 };
        score.add(case, *reference, repair.accuracy, repair.time + rest, repair.trials);
    }
    score
}

fn with(case: &Case, changes: &str, name: &str) -> Case {
    let mut settings = settings(case).to_vec();
    settings.extend(RULES.iter().copied().chain(changes.split(';')).filter(|text| !text.is_empty()).map(str::to_owned));
    let name = format!("{}, autotrainer {name}", case.name);
    Case { name, recipe: Recipe::Program(settings), grid: "autotrainer", ..case.clone() }
}

impl Repair {
    fn of(folder: Option<&PathBuf>) -> Self {
        let mut repair = Self { left: &[], is_over: true, accuracy: 0.0, time: 1.0, trials: 0 };
        if let Some(folder) = folder {
            repair.accuracy = accuracy(folder);
            if let Some((problem, step)) = problem(folder) {
                (repair.left, repair.is_over) = (changes(&problem), false);
                repair.time = step / steps(folder).max(1.0);
            }
        }
        repair
    }

    /// Takes the outcome of the next change.
    fn take(&mut self, folder: Option<&PathBuf>) {
        self.left = &self.left[1..];
        // The network may not have the key.
        let Some(folder) = folder else { return };
        self.trials += 1;
        self.accuracy = self.accuracy.max(accuracy(folder));
        match problem(folder) {
            Some((_, step)) => self.time += step / steps(folder).max(1.0),
            None => {
                (self.is_over, self.accuracy) = (true, accuracy(folder));
                self.time += 1.0;
            }
        }
    }
}
