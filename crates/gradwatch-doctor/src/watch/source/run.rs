//! One run, followed while its files change.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{collector::Collector, recorded::Recorded};
use crate::{
    config::Config,
    diagnosis::{Facts, Subject},
    printable,
    repair::RepairHistory,
    replay::{Follow, ReplayError},
    report::{Repairs, Report},
    watch::{
        model::RunModel,
        run_state::{Signs, has_last_report, writer},
    },
};

/// Follows the files of a run. Opens them again if they are cut back or replaced.
pub(crate) struct RunSource {
    path: PathBuf,
    name: String,
    tags: Vec<String>,
    opened: Result<Box<Opened>, ReplayError>,
    recorded: Recorded,
    /// Fraction of the files that is read.
    read: f64,
    /// Number of times that the run was opened again.
    reopened: u64,
}

struct Opened {
    follow: Follow,
    config: Option<Config>,
    facts: Facts,
    collector: Collector,
}

impl Opened {
    fn new(path: &Path, tags: &[String]) -> Result<Box<Self>, ReplayError> {
        let follow = Follow::open(path, tags)?;
        let (config, facts) = (follow.replay().config.clone(), follow.replay().facts.clone());
        let collector = Collector::new(config.as_ref());
        Ok(Box::new(Self { follow, config, facts, collector }))
    }

    /// Reads what is new. Returns whether everything is read.
    fn read(&mut self, deadline: Instant) -> bool {
        if self.facts.lost_images != self.follow.replay().facts.lost_images {
            self.facts = self.follow.replay().facts.clone();
        }
        let Self { follow, config, facts, collector } = self;
        let subject = Subject { config: config.as_ref(), facts };
        follow.read(deadline, |event| collector.add(&event, &subject))
    }

    /// Everything so far, with the steps that are still open.
    fn collected(&self) -> Collector {
        let (mut collector, subject) = (self.collector.clone(), self.subject());
        self.follow.look_ahead(|event| collector.add(&event, &subject));
        collector
    }

    /// Everything so far, except for the last step.
    fn collected_before_last(&self) -> Collector {
        let (mut collector, subject) = (self.collector.clone(), self.subject());
        self.follow.look_ahead_before_last(|event| collector.add(&event, &subject));
        collector
    }

    fn subject(&self) -> Subject<'_> {
        Subject { config: self.config.as_ref(), facts: &self.facts }
    }

    /// Steps after which the run ends.
    fn total_steps(&self) -> Option<u64> {
        let config = self.config.as_ref()?;
        let by_epochs = config.run.max_epochs.filter(|_| self.facts.steps_per_epoch > 0);
        let by_epochs = by_epochs.map(|epochs| epochs.saturating_mul(self.facts.steps_per_epoch));
        by_epochs.into_iter().chain(config.run.max_steps).min()
    }

    fn images_per_step(&self) -> Option<u64> {
        let accumulated = self.config.as_ref().map_or(1, |config| config.optimizer.accumulation_steps);
        let images = self.facts.batch_size as u64 * accumulated as u64;
        Some(images).filter(|images| *images > 0)
    }
}

impl RunSource {
    /// Opens a run. `name` is how the screen calls it. A run that cannot be read yet is tried again at each
    /// [`poll`](Self::poll).
    pub(crate) fn new(path: &Path, name: &str, tags: &[String]) -> Self {
        Self {
            path: path.to_owned(),
            name: printable::line(name).into_owned(),
            tags: tags.to_vec(),
            opened: Opened::new(path, tags),
            recorded: Recorded::default(),
            read: 0.0,
            reopened: 0,
        }
    }

    /// Reads what was written since the last call, until the deadline. Returns whether everything is read.
    pub(crate) fn poll(&mut self, deadline: Instant) -> bool {
        let is_outdated = match &mut self.opened {
            Ok(opened) => opened.follow.is_outdated(),
            Err(_) => true,
        };
        if is_outdated {
            self.reopened += u64::from(self.opened.is_ok());
            self.opened = Opened::new(&self.path, &self.tags);
        }
        self.recorded.update(&self.path);
        let Ok(opened) = &mut self.opened else {
            self.read = 1.0;
            return true;
        };
        let is_read = opened.read(deadline);
        let [read, all] = opened.follow.progress();
        self.read = if is_read || all == 0 { 1.0 } else { (read as f64 / all as f64).min(0.999) };
        is_read
    }

    /// Mark that changes when the run changes, other than by the passing of time.
    pub(crate) fn mark(&self) -> (u64, u64, u64) {
        let bytes = self.opened.as_ref().map_or(0, |opened| opened.follow.progress()[0]);
        (self.reopened, bytes, self.read.to_bits())
    }

    /// The run so far.
    pub(crate) fn model(&self) -> RunModel {
        let model =
            RunModel { path: self.path.clone(), name: self.name.clone(), read: self.read, ..RunModel::default() };
        let opened = match &self.opened {
            Ok(opened) => opened,
            Err(error) => return RunModel { problem: Some(printable::line(&error.to_string()).into_owned()), ..model },
        };
        let collector = opened.collected();
        let Collector { assessor, activations, waiting, clock } = collector;
        let mut report = assessor.report(opened.follow.replay(), &self.path);
        self.recorded.add_to(&mut report);
        report = report.with_repairs(Repairs::of(self.history()));
        let last_write = opened.follow.last_write();
        let signs = self.signs(opened, last_write, report.steps, clock.longest_gap());
        let state = signs.state();
        let is_over = state != crate::watch::RunState::Training;
        report.notes = opened.follow.notes(is_over && self.read >= 1.0);
        let problem = opened.follow.check_values().err().filter(|_| self.read >= 1.0);
        let page = self.path.join("report.html");
        RunModel {
            state,
            written: last_write.and_then(|time| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())),
            report,
            activations,
            steps_per_sec: clock.steps_per_sec(),
            speed: clock.speed,
            waiting,
            images_per_step: opened.images_per_step(),
            total_steps: opened.total_steps(),
            problem: problem.map(|error| printable::line(&error.to_string()).into_owned()),
            page: page.is_file().then_some(page),
            ..model
        }
    }

    /// The report without the last step, of which values may be missing while the run trains. `None` if the run cannot
    /// be read.
    pub(crate) fn report_before_last(&self) -> Option<Report> {
        let opened = self.opened.as_ref().ok()?;
        let mut report = opened.collected_before_last().assessor.report(opened.follow.replay(), &self.path);
        self.recorded.add_to(&mut report);
        Some(report.with_repairs(Repairs::of(self.history())))
    }

    /// The repairs of the run. They are read anew, because the file is replaced.
    fn history(&self) -> RepairHistory {
        RepairHistory::of_run(&self.path).unwrap_or_default()
    }

    /// Whether the run has no values yet: no event files, or files without a value or damage.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.opened {
            Err(ReplayError::NoEvents { .. } | ReplayError::SeveralRuns { .. }) => true,
            Err(_) => false,
            Ok(opened) => match opened.follow.check_values() {
                Err(ReplayError::NoValues { notes, .. }) => notes.is_empty(),
                _ => false,
            },
        }
    }

    /// Config of the run, if gradwatch trained it.
    pub(crate) fn config(&self) -> Option<&Config> {
        self.opened.as_ref().ok()?.config.as_ref()
    }

    fn signs(&self, opened: &Opened, last_write: Option<SystemTime>, steps: u64, longest_gap: Duration) -> Signs {
        let now = SystemTime::now();
        let silence = last_write.and_then(|time| now.duration_since(time).ok()).unwrap_or_default();
        let may_end_early = opened
            .config
            .as_ref()
            .is_some_and(|config| config.early_stopping.patience > 0 || config.run.max_minutes.is_some());
        Signs {
            writer: writer(&self.path),
            silence,
            longest_gap,
            steps,
            total_steps: opened.total_steps(),
            has_last_report: has_last_report(&self.path, last_write),
            may_end_early,
        }
    }
}
