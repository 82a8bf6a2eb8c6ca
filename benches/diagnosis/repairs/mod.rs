//! Repairs faulty runs while they train, beside random changes on the same budget and beside AutoTrainer, which trains
//! again from scratch.
//!
//! The faults are those of the grid of families that a config can fix, so none of the images or labels. A run counts if
//! its fault costs more than two points of accuracy.

mod autotrainer;
pub(crate) mod random;
mod score;

use std::path::Path;

use crate::{
    case::{Case, Effect, Recipe},
    grid,
    images::Variant,
    traces,
};
use score::{Reference, Score, accuracy};

/// Families whose runs take seconds.
const FAMILIES: [&str; 6] = ["mlp", "mlp-norm", "lenet5", "cnn", "cnn-group", "mlp-tanh"];
/// One in this many faults of each family, so that all of it takes less than forty minutes.
const ONE_IN: usize = 2;

/// Settings of runs that repair themselves.
const REPAIR: [&str; 3] = ["repair.mode=auto", "repair.allow=[\"*\"]", "checkpoint.every_steps=20"];
/// Share of the way from a guess to the healthy twin from which a variation of it is healthy.
const HEALTHY: f64 = 0.75;
/// Accuracy of a guess among ten classes.
const GUESS: f64 = 0.1;

/// Repairs all faulty runs with each method, and prints a line for each method.
pub(crate) fn all(root: &Path, is_cached: bool) {
    let only = std::env::var("ONLY").unwrap_or_default();
    let faulty: Vec<Case> = grid::all()
        .into_iter()
        .filter(|case| FAMILIES.contains(&case.architecture) && !case.is_search && case.images == Variant::Clean)
        .filter(|case| !matches!(case.effect, Effect::Healthy))
        .filter(|case| is_drawn(case) && named(case).contains(&only))
        .collect();
    let twins: Vec<Case> = faulty.iter().map(|case| grid::healthy_twin(case.architecture, case.optimizer)).collect();
    let healthy = accuracies(&traces::train_all(root, &twins, is_cached));
    let broken = accuracies(&traces::train_all(root, &faulty, is_cached));
    let harmed: Vec<usize> =
        (0..faulty.len()).filter(|&index| broken[index] < healthy[index] - score::POINTS).collect();
    println!("{} faulty runs of {}, {} of them harmed", faulty.len(), FAMILIES.join(", "), harmed.len());
    let cases: Vec<Case> = harmed.iter().map(|&index| faulty[index].clone()).collect();
    let again = |case: &Case| Case { seed: 2, ..grid::healthy_twin(case.architecture, case.optimizer) };
    let other_seed = accuracies(&traces::train_all(root, &cases.iter().map(again).collect::<Vec<_>>(), is_cached));
    let references: Vec<Reference> = harmed
        .iter()
        .zip(&other_seed)
        .map(|(&index, &other_seed)| Reference { healthy: healthy[index], other_seed, broken: broken[index] })
        .collect();
    for (name, grid) in [("gradwatch", "repair"), ("random changes", random::GRID)] {
        let repaired: Vec<Case> = cases.iter().map(|case| repairing(case, grid)).collect();
        let folders = traces::train_all(root, &repaired, is_cached);
        Score::of_repairs(&cases, &references, &folders).print(name);
    }
    autotrainer::repair(root, &cases, &references, is_cached).print("AutoTrainer's order");
    // As many healthy runs count as repaired as chance allows.
    let mut score = Score::default();
    for (case, reference) in cases.iter().zip(&references) {
        score.add(case, *reference, reference.other_seed, 1.0, 0);
    }
    score.print("healthy, other seed");
    healthy_runs(root, is_cached, &only);
}

/// Trains healthy runs with and without repair, and counts those whose weights differ.
fn healthy_runs(root: &Path, is_cached: bool, only: &str) {
    let healthy = |case: &Case| {
        FAMILIES.contains(&case.architecture) && matches!(case.effect, Effect::Healthy) && !case.is_search
    };
    let plain: Vec<Case> =
        grid::all().into_iter().filter(|case| healthy(case) && is_drawn(case) && named(case).contains(only)).collect();
    let twins: Vec<Case> = plain.iter().map(|case| grid::healthy_twin(case.architecture, case.optimizer)).collect();
    let best = accuracies(&traces::train_all(root, &twins, is_cached));
    let repairing: Vec<Case> = plain.iter().map(|case| repairing(case, "repair")).collect();
    let folders = traces::train_all(root, &plain, is_cached);
    let repaired = traces::train_all(root, &repairing, is_cached);
    let (mut count, mut broken, mut changed, mut other) = (0, Vec::new(), Vec::new(), Vec::new());
    for (((case, plain), repaired), best) in plain.iter().zip(&folders).zip(&repaired).zip(best) {
        let (Some(plain), Some(repaired)) = (plain, repaired) else { continue };
        let name = named(case);
        // The accuracy decides, not the settings. Tasks with other images have no twin.
        if case.images == Variant::Clean && accuracy(plain) - GUESS < HEALTHY * (best - GUESS) {
            broken.push(name);
            continue;
        }
        count += 1;
        if score::trials(repaired) > 0 {
            changed.push(name);
        } else if score::curve(plain) != score::curve(repaired) {
            other.push(name);
        }
    }
    println!("{} runs that should be healthy and are not: {broken:?}", broken.len());
    println!("{count} healthy runs with repair: {} changed by a false alarm {changed:?}", changed.len());
    println!("{} others whose losses differ from those without repair {other:?}", other.len());
}

fn named(case: &Case) -> String {
    format!("{} {}", case.architecture, case.name)
}

fn is_drawn(case: &Case) -> bool {
    let hash = blake3::hash(named(case).as_bytes());
    usize::from(hash.as_bytes()[0]).is_multiple_of(ONE_IN)
}

fn repairing(case: &Case, grid: &'static str) -> Case {
    let mut settings = settings(case).to_vec();
    settings.extend(REPAIR.map(str::to_owned));
    let name = format!("{}, {grid}", case.name);
    Case { name, recipe: Recipe::Program(settings), grid, ..case.clone() }
}

fn settings(case: &Case) -> &[String] {
    match &case.recipe {
        Recipe::Program(settings) => settings,
        Recipe::OwnLoop(_) => &[],
    }
}

fn accuracies(folders: &[Option<std::path::PathBuf>]) -> Vec<f64> {
    folders.iter().map(|folder| folder.as_deref().map_or(f64::NAN, accuracy)).collect()
}
