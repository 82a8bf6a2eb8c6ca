//! A run to compare, read from its files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gradwatch_doctor::{
    Assessment, assess,
    config::Config,
    diagnosis::{Finding, RuleName},
    replay::{Replay, ReplayError, ReplayEvent},
};

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

/// Name and value of a metric; NaN if not measured.
type Metric = (&'static str, fn(&ComparedRun) -> f64);

/// Metrics of a run.
pub(super) const METRICS: [Metric; 5] = [
    ("steps", |run| run.steps as f64),
    ("step loss", |run| last(&run.curves.loss)),
    ("validation loss", |run| last(&run.curves.validation_loss)),
    ("validation accuracy", |run| last(&run.curves.validation_accuracy)),
    ("best validation accuracy", |run| run.curves.validation_accuracy.values().copied().fold(f64::NAN, f64::max)),
];

fn last(steps: &Steps) -> f64 {
    steps.values().next_back().copied().unwrap_or(f64::NAN)
}

impl ComparedRun {
    /// Reads a run folder of gradwatch, a folder with the event files of another program, or one event file, and checks
    /// the rules on it.
    ///
    /// # Errors
    /// If there is nothing to read, or no tag is known.
    pub fn read(path: &Path) -> Result<Self, ReplayError> {
        let Assessment { report, is_damaged } = assess(path)?;
        let mut replay = Replay::open(path, &[])?;
        let config = replay.config.clone();
        let mut curves = Curves::default();
        replay.play(|event| curves.add(&event))?;
        let root_cause = report.root_cause.and_then(|index| report.findings.get(index)).map(|finding| finding.rule);
        Ok(Self {
            path: path.to_owned(),
            config,
            steps: report.steps,
            curves,
            findings: report.findings.into_iter().chain(report.withdrawn).collect(),
            root_cause,
            notes: report.notes,
            is_damaged,
        })
    }

    /// Severity of the worst open finding.
    pub(super) fn verdict(&self) -> &'static str {
        let open = self.findings.iter().filter(|finding| finding.is_open());
        open.map(|finding| finding.severity).max().map_or("healthy", |severity| severity.name())
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
            ReplayEvent::Evaluation(seen) => {
                if !seen.validation_loss.is_nan() {
                    put(|curves| &mut curves.validation_loss, seen.step, seen.validation_loss);
                }
                if !seen.validation_accuracy.is_nan() {
                    put(|curves| &mut curves.validation_accuracy, seen.step, seen.validation_accuracy);
                }
            }
        }
    }
}
