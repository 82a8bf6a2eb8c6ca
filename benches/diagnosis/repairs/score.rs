//! Counts repaired runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gradwatch_study::groups::Statistics;
use serde_json::Value;

use crate::case::Case;

/// A repaired run is at most this far below its healthy twin, as a share.
pub(super) const POINTS: f64 = 0.02;

/// Accuracies with which that of a repaired run is compared.
#[derive(Clone, Copy)]
pub(super) struct Reference {
    /// Of the healthy twin.
    pub healthy: f64,
    /// Of the healthy twin with another seed.
    pub other_seed: f64,
    /// Of the faulty run.
    pub broken: f64,
}

/// One repaired run.
struct Repair {
    name: String,
    reference: Reference,
    repaired: f64,
    /// Steps trained, over those of a run.
    time: f64,
    trials: usize,
}

/// The repairs of a method.
#[derive(Default)]
pub(super) struct Score {
    repairs: Vec<Repair>,
}

fn lines(folder: &Path, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Validation accuracy of the last evaluation of a run; 0 without one.
pub(super) fn accuracy(folder: &Path) -> f64 {
    let mut evaluations = lines(folder, "metrics.jsonl").into_iter().filter(|line| line["kind"] == "evaluation");
    evaluations.next_back().and_then(|line| line["validation"]["accuracy"].as_f64()).unwrap_or(0.0)
}

/// Losses of a run, as text.
pub(super) fn curve(folder: &Path) -> Vec<String> {
    let steps = lines(folder, "metrics.jsonl").into_iter().filter(|line| line["kind"] == "step");
    steps.map(|line| format!("{} {} {}", line["step"], line["loss"], line["grad_norm"])).collect()
}

/// Number of steps of a run.
pub(super) fn steps(folder: &Path) -> f64 {
    let mut steps = lines(folder, "metrics.jsonl").into_iter().filter(|line| line["kind"] == "step");
    steps.next_back().and_then(|line| line["step"].as_f64()).map_or(0.0, |step| step + 1.0)
}

/// Number of changes that a run has tried.
pub(super) fn trials(folder: &Path) -> usize {
    let tried = ["trial", "prepared"];
    lines(folder, "repairs.jsonl").iter().filter(|record| tried.iter().any(|event| record["event"] == *event)).count()
}

/// Steps that the repairs of a run have discarded.
fn discarded(folder: &Path) -> f64 {
    lines(folder, "repairs.jsonl").iter().filter_map(|record| record["discarded"].as_f64()).sum()
}

impl Score {
    /// The repairs of runs that repair themselves.
    pub(super) fn of_repairs(cases: &[Case], references: &[Reference], folders: &[Option<PathBuf>]) -> Self {
        let mut score = Self::default();
        for ((case, reference), folder) in cases.iter().zip(references).zip(folders) {
            if let Some(folder) = folder {
                let steps = steps(folder).max(1.0);
                let time = (steps + discarded(folder)) / steps;
                score.add(case, *reference, accuracy(folder), time, trials(folder));
            }
        }
        score
    }

    pub(super) fn add(&mut self, case: &Case, reference: Reference, repaired: f64, time: f64, trials: usize) {
        let name = format!("{} {}", case.architecture, case.name);
        self.repairs.push(Repair { name, reference, repaired, time, trials });
    }

    /// Prints the method: of all runs, and of those for which it tried a change.
    pub(super) fn print(&self, method: &str) {
        let mut failed: Vec<&Repair> = self.repairs.iter().filter(|repair| !repair.is_success()).collect();
        failed.sort_by(|one, other| one.name.cmp(&other.name));
        for Repair { name, reference: Reference { healthy, other_seed, broken }, repaired, trials, .. } in failed {
            println!(
                "  not repaired: {name}: {broken:.3} -> {repaired:.3}, healthy {healthy:.3} ({other_seed:.3} with another \
                 seed), {trials} trials"
            );
        }
        let tried: Vec<&Repair> = self.repairs.iter().filter(|repair| repair.trials > 0).collect();
        line(method, "all", &self.repairs.iter().collect::<Vec<_>>());
        if !tried.is_empty() {
            line(method, "tried", &tried);
        }
    }
}

impl Repair {
    fn is_success(&self) -> bool {
        self.repaired >= self.reference.healthy - POINTS
    }

    /// Whether it is as good as a healthy run may be by chance.
    fn is_as_healthy(&self) -> bool {
        self.repaired >= self.reference.healthy.min(self.reference.other_seed) - POINTS
    }
}

fn line(method: &str, of: &str, repairs: &[&Repair]) {
    let share = |is_one: fn(&Repair) -> bool| {
        let flags: Vec<f64> = repairs.iter().map(|repair| f64::from(u8::from(is_one(repair)))).collect();
        let share = Statistics::of_flags(&flags);
        let [low, high] = share.interval.unwrap_or([0.0, 1.0]);
        format!("{:5.1} % ({:.0} to {:.0})", 100.0 * share.mean, 100.0 * low, 100.0 * high)
    };
    let mean =
        |value: fn(&Repair) -> f64| Statistics::of(&repairs.iter().map(|one| value(one)).collect::<Vec<_>>()).mean;
    println!(
        "{method:20} {of:6} {:3} runs: {} repaired, {} as good as one of two healthy runs, {:+.1} points, {:.2} times the \
         steps, {:.1} trials",
        repairs.len(),
        share(Repair::is_success),
        share(Repair::is_as_healthy),
        100.0 * mean(|repair| repair.repaired - repair.reference.broken),
        mean(|repair| repair.time),
        mean(|repair| repair.trials as f64),
    );
}
