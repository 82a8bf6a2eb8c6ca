//! Snapshots of runs, as the view draws them.

use std::{path::PathBuf, sync::Arc};

use super::run_state::RunState;
use crate::{
    diagnosis::{RankFacts, Severity},
    printable,
    report::{Grid, Report, Series},
};

/// Contents of the screen.
#[derive(Debug, Clone)]
pub enum Model {
    /// One run.
    Run(Arc<RunModel>),
    /// All runs of a log folder.
    Table(Arc<TableModel>),
}

/// A run as far as it was read.
#[derive(Debug, Clone, Default)]
pub struct RunModel {
    /// Folder or event file of the run.
    pub path: PathBuf,
    /// Name without control characters.
    pub name: String,
    /// Whether the run trains.
    pub state: RunState,
    /// Time of the last write to its files, in seconds since 1970.
    pub written: Option<f64>,
    /// Findings, curves, and notes.
    pub report: Report,
    /// Share of activations that are 0 or less, per layer, over the steps.
    pub(crate) activations: Grid,
    /// Steps per second, over the steps.
    pub(crate) speed: Series,
    /// Share of the time of a step that the slowest rank waits for images, over the steps.
    pub(crate) waiting: Series,
    /// Steps per second at the end.
    pub steps_per_sec: Option<f64>,
    /// Images per step, if the files tell.
    pub images_per_step: Option<u64>,
    /// Steps after which the run ends, if its config tells.
    pub total_steps: Option<u64>,
    /// Fraction of the files that is read.
    pub read: f64,
    /// Why nothing can be shown.
    pub problem: Option<String>,
    /// The HTML report of the run, if it exists.
    pub page: Option<PathBuf>,
}

impl RunModel {
    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.report.steps
    }

    /// The training loss of the steps, or that of the evaluations if the files have no other.
    pub(crate) fn loss(&self) -> &Series {
        let course = &self.report.course;
        if course.loss.buckets().is_empty() { &course.train_loss } else { &course.loss }
    }

    /// Seconds until the last step; `None` if the run does not train, or its end is not known.
    pub fn eta_secs(&self) -> Option<f64> {
        let left = self.total_steps?.saturating_sub(self.steps());
        let rate = self.steps_per_sec.filter(|_| self.state == RunState::Training)?;
        Some(left as f64 / rate)
    }

    /// Whether everything that is written was read.
    pub fn is_read(&self) -> bool {
        self.read >= 1.0
    }

    /// Host and device of each rank; empty with one process.
    pub fn ranks(&self) -> &[RankFacts] {
        &self.report.ranks
    }

    /// The row of the run in a table.
    pub fn summary(&self) -> RunSummary {
        let course = &self.report.course;
        let or = |one: f64, other: f64| if one.is_nan() { other } else { one };
        let curve = self.loss();
        let share = curve.buckets().len().div_ceil(RunSummary::POINTS).max(1);
        let (verdict, ranked) = (self.report.verdict(), self.report.ranked());
        let first = ranked.first().filter(|_| self.problem.is_none());
        let remedy = first.and_then(|first| first.remedies.first());
        RunSummary {
            path: self.path.clone(),
            name: self.name.clone(),
            state: self.state,
            written: self.written,
            steps: self.steps(),
            total_steps: self.total_steps,
            loss: or(course.loss.last(), course.train_loss.last()),
            accuracy: or(course.validation_accuracy.last(), course.train_accuracy.last()),
            severity: verdict.severity,
            verdict: self.problem.clone().unwrap_or_else(|| printable::line(&verdict.sentence).into_owned()),
            cause: first.map(|first| printable::line(&first.cause).into_owned()).unwrap_or_default(),
            change: remedy
                .map(|remedy| printable::line(&format!("{}: {}", remedy.change, remedy.why)).into_owned())
                .unwrap_or_default(),
            has_problem: self.problem.is_some(),
            is_loss_broken: curve.is_broken(),
            eta_secs: self.eta_secs(),
            losses: curve.buckets().iter().step_by(share).map(|bucket| (bucket.middle(), bucket.mean)).collect(),
            is_read: self.is_read(),
        }
    }
}

/// Runs of a log folder.
#[derive(Debug, Clone, Default)]
pub struct TableModel {
    /// The log folder.
    pub path: PathBuf,
    /// One row per run, the latest first.
    pub runs: Vec<RunSummary>,
    /// Why there are no rows.
    pub problem: Option<String>,
}

/// Row of a run.
#[derive(Debug, Clone, Default)]
pub struct RunSummary {
    /// Folder of the run.
    pub path: PathBuf,
    /// Path below the log folder, without control characters.
    pub name: String,
    /// Whether the run trains.
    pub state: RunState,
    /// Time of the last write to its files, in seconds since 1970.
    pub written: Option<f64>,
    /// Steps taken.
    pub steps: u64,
    /// Steps after which the run ends, if its config tells.
    pub total_steps: Option<u64>,
    /// Latest training loss; NaN if unknown.
    pub loss: f64,
    /// Latest validation accuracy, or training accuracy; NaN if unknown.
    pub accuracy: f64,
    /// Severity of the worst finding.
    pub severity: Option<Severity>,
    /// The verdict in one sentence, or why the run cannot be read.
    pub verdict: String,
    /// Cause of the finding to fix first; empty without findings.
    pub cause: String,
    /// Its first change, with the reason; may be empty.
    pub change: String,
    /// Whether the run cannot be read.
    pub has_problem: bool,
    /// Whether the latest losses are not finite.
    pub is_loss_broken: bool,
    /// Seconds until the last step.
    pub eta_secs: Option<f64>,
    /// Step and training loss at a few steps.
    pub losses: Vec<(f64, f64)>,
    /// Whether the files were read to their end.
    pub is_read: bool,
}

impl RunSummary {
    /// Most points of the loss curve to keep.
    const POINTS: usize = 128;
}
