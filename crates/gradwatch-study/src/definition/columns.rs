//! Columns of the results of a study.

use super::Study;
use crate::{
    gradient_problems,
    results::{Column, ColumnKind},
};

/// Column with the names of the runs; see [`Row::run`](crate::Row::run).
pub(crate) const RUN: &str = "run";
/// Column of the seeds.
pub(crate) const SEED: &str = "seed";
/// Column of the wall time.
const SECONDS: &str = "seconds";
/// Columns of every study between the seed and those that a study file adds.
const MEASURED: [&str; 17] = [
    "state",
    "ending",
    "steps",
    "final_train_loss",
    "final_train_accuracy",
    "final_validation_loss",
    "final_validation_accuracy",
    "best_validation_loss",
    "best_validation_accuracy",
    "best_step",
    "initial_slope",
    "initial_slope_error",
    "final_slope",
    "verdict",
    "root_cause",
    "findings",
    "withdrawn",
];
/// Columns of every study that have texts.
pub(super) const TEXTS: [&str; 7] = [RUN, "state", "ending", "verdict", "root_cause", "findings", "withdrawn"];

impl Study {
    /// The columns of the results, in order: axes, seed, measured values, gradient problems, those of
    /// [`measures`](Self::measures), wall time.
    pub fn columns(&self) -> Vec<Column> {
        let axes = self.axes.iter().map(|axis| (axis.name.clone(), ColumnKind::Axis));
        let seed = (SEED.to_owned(), ColumnKind::Seed);
        let problems = self.gradient_problems.then(gradient_problems::columns).into_iter().flatten();
        let measures = self.measures.iter().map(|measure| measure.name.clone());
        let measured = MEASURED.into_iter().map(str::to_owned).chain(problems).chain(measures);
        let measured = measured.chain([SECONDS.to_owned()]).map(|name| (name, ColumnKind::Measure));
        axes.chain([seed]).chain(measured).map(|(name, kind)| Column { name, kind }).collect()
    }
}
