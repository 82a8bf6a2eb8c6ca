//! Lists the runs with what is known about them, for the scores.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::case::{Case, Effect, Trial};

#[derive(Serialize)]
struct Line<'a> {
    grid: &'a str,
    architecture: &'a str,
    optimizer: &'a str,
    name: &'a str,
    seed: u64,
    /// Runs with the same architecture and task have the same best accuracy.
    task: String,
    is_search: bool,
    effect: &'static str,
    /// Rules that identify the fault correctly.
    fault: Vec<&'static str>,
    trial: Option<&'a Trial>,
    folder: &'a Path,
}

/// Writes a line for every run that was trained.
pub(crate) fn write(path: &Path, cases: &[Case], folders: &[Option<PathBuf>]) {
    let mut text = String::new();
    for (case, folder) in cases.iter().zip(folders) {
        let Some(folder) = folder else { continue };
        let (effect, fault) = match case.effect {
            Effect::Healthy => ("healthy", &[][..]),
            Effect::Harmful(fault) => ("harmful", fault),
            Effect::Gap(fault) => ("gap", fault),
            Effect::Fault(fault) => ("fault", fault),
        };
        let line = Line {
            grid: case.grid,
            architecture: case.architecture,
            optimizer: case.optimizer,
            name: &case.name,
            seed: case.seed,
            task: format!("{:?}", case.images.task()),
            is_search: case.is_search,
            effect,
            fault: fault.iter().map(|rule| rule.name()).collect(),
            trial: case.trial.as_ref(),
            folder,
        };
        text += &serde_json::to_string(&line).expect("no map has keys that are no strings");
        text.push('\n');
    }
    fs::write(path, text).expect("target/ can be written");
}
