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
/// Column with the missing and damaged files of a run.
pub(crate) const UNREAD_FILES: &str = "unread_files";
/// Column of the wall time.
const SECONDS: &str = "seconds";
/// Columns of every study between the seed and those that a study file adds.
const MEASURED: [&str; 18] = [
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
    UNREAD_FILES,
];
/// Columns of every study that have texts.
pub(super) const TEXTS: [&str; 8] =
    [RUN, "state", "ending", "verdict", "root_cause", "findings", "withdrawn", UNREAD_FILES];

impl Study {
    /// The columns of the results, in order: axes, seed, measured values, gradient problems, those of
    /// [`measures`](Self::measures), wall time.
    pub fn columns(&self) -> Vec<Column> {
        let axes = self.axes.iter().map(|axis| (axis.name.clone(), ColumnKind::Axis));
        let seed = (SEED.to_owned(), ColumnKind::Seed);
        let problems = self.gradient_problems.then(gradient_problems::columns).into_iter().flatten();
        let measures = self.measures.iter().map(|measure| measure.name.clone());
        let measure = |name: String| (name, ColumnKind::Measure);
        let measured = MEASURED.into_iter().map(str::to_owned).map(measure);
        let problems = problems.map(|name| (name, ColumnKind::Flag));
        let last = measures.chain([SECONDS.to_owned()]).map(measure);
        axes.chain([seed])
            .chain(measured)
            .chain(problems)
            .chain(last)
            .map(|(name, kind)| Column { name, kind })
            .collect()
    }
}
