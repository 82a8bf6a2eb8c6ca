//! A run to compare, read from its files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use gradwatch_doctor::{
    AssessOptions, Assessment, assess_with,
    config::Config,
    diagnosis::{Evaluation, Finding, RuleName, Severity},
    replay::{Replay, ReplayError, ReplayEvent, Role, runs},
};

use crate::folder::is_study;

/// Values of a curve by step.
pub(super) type Steps = BTreeMap<u64, f64>;

/// A run, of gradwatch or another program.
#[derive(Debug, Clone)]
pub struct ComparedRun {
    pub(super) path: PathBuf,
    /// `None` if another program trained it.
    pub(super) config: Option<Config>,
    pub(super) steps: u64,
    pub(super) curves: Curves,
    /// Open findings, and withdrawn ones after them.
    pub(super) findings: Vec<Finding>,
    pub(super) root_cause: Option<RuleName>,
    /// Severity of the verdict.
    pub(super) severity: Option<Severity>,
    /// Whether all rules were checked.
    pub(super) is_judged: bool,
    pub(super) notes: Vec<String>,
    pub(super) is_damaged: bool,
}

/// Curves of a run. One that was not recorded is empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Curves {
    pub loss: Steps,
    pub validation_loss: Steps,
    pub validation_accuracy: Steps,
    pub total_norm: Steps,
    pub learning_rate: Steps,
}

/// Name and value of a metric; `None` if not measured.
type Metric = (&'static str, fn(&ComparedRun) -> Option<f64>);

/// Metrics of a run.
pub(super) const METRICS: [Metric; 5] = [
    ("steps", |run| Some(run.steps as f64)),
    ("step loss", |run| last(&run.curves.loss)),
    ("validation loss", |run| last(&run.curves.validation_loss)),
    ("validation accuracy", |run| last(&run.curves.validation_accuracy)),
    ("best validation accuracy", |run| run.curves.validation_accuracy.values().copied().reduce(f64::max)),
];

fn last(steps: &Steps) -> Option<f64> {
    steps.values().next_back().copied()
}

/// The folders of the runs of a study, if `path` is its folder; otherwise, `path` itself.
pub fn run_folders(path: &Path) -> Vec<PathBuf> {
    // If a study has no runs, reading its folder says so.
    let of_study = is_study(path).then(|| runs(path).ok()).flatten();
    of_study.unwrap_or_else(|| vec![path.to_owned()])
}

impl ComparedRun {
    /// Reads a run folder of gradwatch, a folder with the event files of another program, or one event file, and checks
    /// the rules on it.
    ///
    /// # Errors
    /// If there is nothing to read, or no tag is known.
    pub fn read(path: &Path) -> Result<Self, ReplayError> {
        Self::read_with(path, &[])
    }

    /// Like [`read`](Self::read), with patterns of the form `role=pattern` for unknown tags, such as `loss=objective`.
    ///
    /// # Errors
    /// As for [`read`](Self::read), or if a pattern is invalid.
    pub fn read_with(path: &Path, tags: &[String]) -> Result<Self, ReplayError> {
        let Assessment { report, is_damaged } =
            assess_with(path, &AssessOptions { tags: tags.to_vec(), ..AssessOptions::default() })?;
        let mut replay = Replay::open(path, tags)?;
        let config = replay.config.clone();
        let (mut curves, mut evaluations) = (Curves::default(), Vec::new());
        replay.play(|event| {
            match &event {
                ReplayEvent::Restart => evaluations.clear(),
                ReplayEvent::Evaluation(evaluation) => evaluations.push(*evaluation),
                ReplayEvent::Step(_) => {}
            }
            curves.add(&event);
        })?;
        curves.add_evaluations(&evaluations, &replay.roles, config.is_some());
        let severity = report.verdict().severity;
        let root_cause = report.root_cause.and_then(|index| report.findings.get(index)).map(|finding| finding.rule);
        Ok(Self {
            path: path.to_owned(),
            config,
            steps: report.steps,
            curves,
            findings: report.findings.into_iter().chain(report.withdrawn).collect(),
            root_cause,
            severity,
            is_judged: report.steps > 0 && report.not_judged.is_empty(),
            notes: report.notes,
            is_damaged,
        })
    }

    /// Severity of the worst open finding, or of the one that repair gave up on. Like its report, a run is healthy only if
    /// all rules were checked.
    pub(super) fn verdict(&self) -> &'static str {
        let without = if self.is_judged { "healthy" } else { "no findings" };
        self.severity.map_or(without, Severity::name)
    }
}

impl Curves {
    fn add(&mut self, event: &ReplayEvent) {
        let mut put = |steps: fn(&mut Self) -> &mut Steps, step: u64, value: f64| _ = steps(self).insert(step, value);
        match event {
            ReplayEvent::Restart => *self = Self::default(),
            ReplayEvent::Step(sample) => {
                let seen = sample.observe();
                let has_overflown = !seen.total_norm.is_finite() || seen.skipped_in_a_row > 0;
                // NaN may mean that the loss was not measured. If no gradient is finite, the loss itself is NaN.
                if !seen.loss.is_nan() || has_overflown {
                    put(|curves| &mut curves.loss, seen.step, seen.loss);
                }
                if !seen.learning_rate.is_nan() {
                    put(|curves| &mut curves.learning_rate, seen.step, seen.learning_rate);
                }
                if seen.total_norm != 0.0 {
                    put(|curves| &mut curves.total_norm, seen.step, seen.total_norm);
                }
            }
            ReplayEvent::Evaluation(_) => {}
        }
    }

    /// Adds the evaluations of a run with these roles. NaN may be a value or stand for a missing one. It is a value in a
    /// run of gradwatch, in a run with one of the roles, and in a run whose first evaluation has both values.
    fn add_evaluations(&mut self, evaluations: &[Evaluation], roles: &BTreeSet<Role>, is_own: bool) {
        let has = [Role::ValidationLoss, Role::ValidationAccuracy].map(|role| roles.contains(&role));
        let has_both = |first: &Evaluation| !first.validation_loss.is_nan() && !first.validation_accuracy.is_nan();
        let is_always_given = is_own || has != [true; 2] || evaluations.first().is_some_and(has_both);
        for seen in evaluations {
            let values = [seen.validation_loss, seen.validation_accuracy];
            for ((steps, value), has) in
                [&mut self.validation_loss, &mut self.validation_accuracy].into_iter().zip(values).zip(has)
            {
                if has && (is_always_given || !value.is_nan()) {
                    steps.insert(seen.step, value);
                }
            }
        }
    }
}
