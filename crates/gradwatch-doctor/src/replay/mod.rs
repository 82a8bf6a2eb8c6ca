//! Replays a run from its files, step by step: runs of gradwatch, and event files of other programs.
//!
//! Each file is read once from start to end. [`Replay::AHEAD`] steps stay open for values out of order, so a run of any
//! length takes linear time and bounded memory. Unreadable parts are skipped and noted.
//!
//! ```
//! use gradwatch_doctor::replay::{Replay, ReplayEvent};
//! use gradwatch_events::SummaryWriter;
//!
//! let logdir = tempfile::tempdir()?;
//! let writer = SummaryWriter::create(logdir.path())?;
//! for step in 0..3 {
//!     writer.scalar("Loss/train", step, 2.0)?;
//! }
//! writer.close()?;
//! let mut losses = Vec::new();
//! let mut replay = Replay::open(logdir.path(), &[])?;
//! replay.play(|moment| if let ReplayEvent::Step(sample) = moment { losses.push((sample.step, sample.loss)) })?;
//! assert_eq!(losses, [(0, 2.0), (1, 2.0), (2, 2.0)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod files;
mod follow;
mod known_tags;
mod merge;
mod metrics;
mod position;
mod rank_places;
mod rank_values;
mod reading;
mod role;
mod sample;
mod tags;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use crate::telemetry::Role;
pub use error::ReplayError;
pub(crate) use files::extent;
pub use files::{event_files, runs};
pub use follow::Follow;
pub use role::TagPatterns;
pub use sample::Sample;

use gradwatch_events::{EventsError, RecordError};

use crate::{
    config::Config,
    diagnosis::{Evaluation, Facts},
    number::count,
};
use files::Source;
use known_tags::Tags;
use metrics::Metrics;
use position::Position;
use rank_places::RankPlaces;
use reading::Reading;

/// An event in a run, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplayEvent {
    /// The files start a new run. Everything before belongs to another one.
    Restart,
    /// A step.
    Step(Box<Sample>),
    /// An evaluation.
    Evaluation(Evaluation),
}

/// The files of one run, and the findings made while reading them.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    sources: Vec<Source>,
    /// Config of the run; `None` if another program trained it.
    pub config: Option<Config>,
    /// Facts about the run before its first step.
    pub facts: Facts,
    /// Skipped parts, and why.
    pub notes: Vec<String>,
    /// Roles found so far.
    pub roles: BTreeSet<Role>,
    tags: Tags,
    rank_places: RankPlaces,
    damages: usize,
}

impl Replay {
    /// Number of steps that stay open for values out of order.
    pub const AHEAD: usize = 8;
    /// Most damaged records to report one by one.
    const NOTES: usize = 20;

    /// Finds the files of the run in the folder `path`, or uses `path` itself if it is a file. `patterns` of the form
    /// `role=pattern` take precedence over known tags.
    ///
    /// # Errors
    /// If there is nothing to read, or if a pattern is invalid.
    pub fn open(path: &Path, patterns: &[String]) -> Result<Self, ReplayError> {
        Self::open_with_metrics(path, patterns).map(|(replay, _)| replay)
    }

    /// Like [`open`](Self::open); also returns metrics.jsonl, to read on.
    fn open_with_metrics(path: &Path, patterns: &[String]) -> Result<(Self, Metrics), ReplayError> {
        let mut sources = files::sources(path)?;
        if sources.is_empty() {
            // A folder of several runs, such as that of a study, has event files further down.
            return Err(ReplayError::SeveralRuns { path: path.to_owned(), runs: files::runs(path)? });
        }
        let mut notes = Vec::new();
        let folder = files::folder(path);
        let config = files::config(folder, &mut notes);
        let (mut facts, mut rank_places) = (Facts::default(), RankPlaces::default());
        let mut metrics = Metrics::open(folder, &mut notes);
        if let Err(error) = metrics.read(&mut facts, &mut rank_places) {
            notes.push(format!("metrics.jsonl is skipped, and so are the facts before the first step: {error}"));
        }
        // A folder of another program may contain links to event files. A gradwatch run contains only regular files.
        let links = if config.is_some() && folder == path { files::remove_links(&mut sources) } else { Vec::new() };
        let damages = links.len();
        notes.extend(links);
        let known = if config.is_some() { TagPatterns::own() } else { TagPatterns::foreign() };
        let (tags, roles) = (Tags::new(known.with(patterns)?), BTreeSet::new());
        let path = path.to_owned();
        Ok((Self { path, sources, config, facts, notes, roles, tags, rank_places, damages }, metrics))
    }

    /// Passes every step and evaluation to `each`.
    ///
    /// # Errors
    /// If no tag is known, or if no value can be read.
    pub fn play(&mut self, mut each: impl FnMut(ReplayEvent)) -> Result<(), ReplayError> {
        let places = self.rank_places.clone();
        let mut each = |mut event| {
            places.add_to(&mut event);
            each(event);
        };
        let mut reading = Reading::new(self);
        while let Some(event) = reading.events.next() {
            reading.add(self, event, &mut each);
        }
        reading.position.pass_on(u64::MAX, &self.facts, &mut each);
        self.notes.extend(reading.notes());
        self.notes.extend(self.last_notes(&reading.position));
        self.check_values()
    }

    fn note_damage(&mut self, error: &EventsError) {
        match error {
            EventsError::Record { path, cause: RecordError::Truncated { .. } } => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.notes.push(format!("{name} ends within a record: it is still being written, or was cut off"));
            }
            error => {
                self.damages += 1;
                if self.damages <= Self::NOTES {
                    self.notes.push(error.to_string());
                }
            }
        }
    }

    /// Notes about everything read so far.
    fn last_notes(&self, position: &Position) -> Vec<String> {
        let mut notes = Vec::new();
        if self.damages > Self::NOTES {
            notes.push(format!("{} of this kind", count(self.damages - Self::NOTES, "more error")));
        }
        if position.moved > 0 {
            let [verb, whose] = if position.moved == 1 { ["is", "its"] } else { ["are", "their"] };
            notes.push(format!(
                "{} {verb} numbered by epochs or came late, and {verb} placed at the step of {whose} writing",
                count(position.moved, "value")
            ));
        }
        if position.late > 0 {
            let (late, verb) = (count(position.late, "value"), if position.late == 1 { "was" } else { "were" });
            notes.push(format!("{late} came more than {} steps late and {verb} skipped", Self::AHEAD));
        }
        notes.extend(self.tags.notes());
        notes
    }

    /// Checks that a value was read, and that a tag is known.
    fn check_values(&self) -> Result<(), ReplayError> {
        let path = self.path.clone();
        match (self.roles.is_empty(), self.tags.count()) {
            (false, _) => Ok(()),
            (true, 0) => Err(ReplayError::NoValues { path, files: self.sources.len(), notes: self.notes.clone() }),
            (true, tags) => Err(ReplayError::NothingKnown { path, tags, examples: self.tags.examples() }),
        }
    }

    /// Whether part of the files could not be read. The incomplete end of a file still being written does not count.
    pub fn is_damaged(&self) -> bool {
        self.damages > 0
    }
}

#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
mod rank_tests;
#[cfg(test)]
mod tests;
