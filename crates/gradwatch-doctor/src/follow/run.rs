//! One run that is followed.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Once, What, known::Known};
use crate::{
    config::DiagnosisConfig,
    diagnosis::{Finding, Severity},
    printable,
    replay::extent,
    report::Report,
    watch::{RunModel, RunSource, RunState, is_held},
};

/// Whether the files have not changed for so long.
fn is_silent_for(model: &RunModel, time: Duration) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    model.written.is_none_or(|written| now - written >= time.as_secs_f64())
}

/// Follows the files of a run, and keeps the findings that were told.
pub(super) struct FollowedRun {
    path: PathBuf,
    tags: Vec<String>,
    /// `None` while the run does not grow.
    source: Option<RunSource>,
    known: Known,
    once: Once,
    /// Files at the last look, and its time.
    mark: Option<(u64, u64, u64)>,
    looked: Option<Instant>,
    /// Time of the last change of the files.
    changed: Instant,
    /// Number of times that the files were opened again, at the last report.
    reopened: u64,
    has_started: bool,
    /// Number of looks in a row at which the run had ended.
    looks_at_end: u32,
    has_ended: bool,
    /// Files when the source was closed.
    closed: Option<(u64, SystemTime)>,
    /// Open findings, the one to fix first at the top, and steps so far.
    open: Vec<Finding>,
    /// Severity of the verdict.
    severity: Option<Severity>,
    steps: u64,
    confirm_steps: u64,
}

impl FollowedRun {
    /// Time between two looks at a run whose files do not change. Its state may change.
    const REFRESH: Duration = Duration::from_secs(5);
    /// Looks at which a run must have ended. A process that starts holds its lock a moment later.
    const LOOKS: u32 = 2;
    /// Time without writes after which a stopped run has ended. The process may be hidden, as that of a container is.
    const SILENCE: Duration = Duration::from_secs(60);
    /// A run is followed if its files have changed within this time. PyTorch's SummaryWriter writes every two minutes.
    const FRESH: Duration = Duration::from_secs(600);

    pub(super) fn new(path: &Path, tags: &[String]) -> Self {
        Self {
            path: path.to_owned(),
            tags: tags.to_vec(),
            source: None,
            known: Known::default(),
            once: Once::default(),
            mark: None,
            looked: None,
            changed: Instant::now(),
            reopened: 0,
            has_started: false,
            looks_at_end: 0,
            has_ended: false,
            closed: None,
            open: Vec::new(),
            severity: None,
            steps: 0,
            confirm_steps: 0,
        }
    }

    /// Whether a run trains or did so lately, without reading it.
    pub(super) fn is_live(path: &Path) -> bool {
        let age = |(_, last): (u64, SystemTime)| SystemTime::now().duration_since(last).unwrap_or_default();
        is_held(path) || extent(path).is_some_and(|extent| age(extent) < Self::FRESH)
    }

    /// Reads what is new, until the deadline, and adds what there is to tell. Returns whether everything is read.
    pub(super) fn poll(&mut self, deadline: Instant, tell: &mut impl FnMut(What)) -> bool {
        let source = self.source.get_or_insert_with(|| RunSource::new(&self.path, "", &self.tags));
        // Findings of a part of the files would be resolved by the next part.
        if !source.poll(deadline) {
            return false;
        }
        let mark = source.mark();
        if self.mark == Some(mark) && self.looked.is_some_and(|looked| looked.elapsed() < Self::REFRESH) {
            return true;
        }
        let model = source.model();
        // Values of the last step may be on their way, unless nobody writes them any more.
        let is_growing = match model.state {
            RunState::Training | RunState::Stalled => true,
            RunState::Silent => !is_silent_for(&model, Self::FRESH),
            RunState::Finished | RunState::Stopped => false,
        };
        let before_last = if is_growing { source.report_before_last() } else { None };
        let is_empty = source.is_empty();
        let default = DiagnosisConfig::default;
        self.confirm_steps = source.config().map_or_else(default, |config| config.diagnosis.clone()).confirm_steps;
        if self.mark != Some(mark) {
            self.changed = Instant::now();
        }
        (self.mark, self.looked) = (Some(mark), Some(Instant::now()));
        self.look(&model, before_last.as_ref().unwrap_or(&model.report), is_empty, mark.0, tell);
        true
    }

    fn look(&mut self, model: &RunModel, report: &Report, is_empty: bool, reopened: u64, tell: &mut impl FnMut(What)) {
        let mut note = |text: &str| {
            if self.once.is_new(text) {
                tell(What::Note(printable::line(text).into_owned()));
            }
        };
        model.report.notes.iter().for_each(|text| note(text));
        if is_empty {
            return note("no values yet; waits for them");
        }
        if let Some(problem) = &model.problem {
            return note(&format!("cannot be read now, so gradwatch waits: {problem}"));
        }
        if reopened != self.reopened && self.has_started {
            note("files were cut back or replaced: they are read again");
        }
        let news = self.known.update(report, reopened != self.reopened);
        self.reopened = reopened;
        self.open = report.ranked().into_iter().cloned().collect();
        self.severity = report.verdict().severity;
        self.steps = model.steps();
        if !std::mem::replace(&mut self.has_started, true) {
            tell(What::Start { steps: self.steps, findings: self.open.len() });
        }
        for (change, finding) in news {
            tell(What::Finding { change, finding: Box::new(finding) });
        }
        self.look_for_end(model, tell);
    }

    /// Tells the end of a run. The files of other programs do not tell whether they grow again.
    fn look_for_end(&mut self, model: &RunModel, tell: &mut impl FnMut(What)) {
        let is_over = match model.state {
            RunState::Finished => true,
            RunState::Stopped => is_silent_for(model, Self::SILENCE),
            RunState::Training | RunState::Stalled | RunState::Silent => false,
        };
        self.looks_at_end = if is_over { self.looks_at_end + 1 } else { 0 };
        if self.looks_at_end == Self::LOOKS {
            self.has_ended = true;
            tell(What::End { state: model.state, steps: self.steps, findings: self.open.len() });
        }
    }

    /// Closes the files of a run that has ended or does not grow, and opens them again when it does. Returns whether to
    /// read the run. For a folder of several runs, of which few train.
    pub(super) fn is_due(&mut self) -> bool {
        if self.source.is_none() && self.has_started {
            if extent(&self.path) == self.closed && !is_held(&self.path) {
                return false;
            }
            // A run that goes on after its end starts again.
            self.has_started = !std::mem::take(&mut self.has_ended);
            (self.mark, self.looks_at_end) = (None, 0);
            return true;
        }
        if self.has_started && (self.has_ended || !Self::is_live(&self.path)) {
            self.closed = extent(&self.path);
            self.source = None;
            return false;
        }
        true
    }

    /// Whether the run has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Time since the last change of the files, or since they were opened.
    pub(super) fn quiet(&self) -> Duration {
        self.changed.elapsed()
    }

    /// Severity of the verdict.
    pub(super) fn worst(&self) -> Option<Severity> {
        self.severity
    }

    /// The first open finding with this severity or a worse one. Training may still refute a finding from before the
    /// first step, as `diagnosis.confirm_steps` says.
    pub(super) fn confirmed(&self, least: Severity) -> Option<&Finding> {
        let is_confirmed = |finding: &Finding| finding.first_step > 0 || self.steps >= self.confirm_steps;
        self.open.iter().find(|finding| finding.severity >= least && is_confirmed(finding))
    }
}
