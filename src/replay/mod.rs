//! A run as its files tell it, step by step: this program's own runs, and event files that others wrote.
//!
//! Files are read from front to back, each value once, and [`Replay::AHEAD`] steps are kept open for values that come out of order,
//! so that a run of any length takes linear time and bounded memory. What cannot be read is noted and passed over.
//!
//! ```
//! use gradwatch::{events::SummaryWriter, replay::{Moment, Replay, TagPatterns}};
//!
//! let logdir = tempfile::tempdir()?;
//! let writer = SummaryWriter::create(logdir.path())?;
//! for step in 0..3 {
//!     writer.scalar("Loss/train", step, 2.0)?;
//! }
//! writer.close()?;
//! let mut losses = Vec::new();
//! let mut replay = Replay::open(logdir.path(), &[])?;
//! replay.play(|moment| if let Moment::Step(sample) = moment { losses.push((sample.step, sample.loss)) })?;
//! assert_eq!(losses, [(0, 2.0), (1, 2.0), (2, 2.0)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod files;
mod known;
mod merge;
mod position;
mod role;
mod sample;
mod tags;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use error::ReplayError;
pub use files::runs;
pub use role::{Role, TagPatterns};
pub use sample::Sample;

use crate::{
    config::{Config, Precision},
    diagnosis::{Evaluation, Facts},
    events::{
        EventsError, Numbers, RecordError,
        proto::{SummaryValue, What},
    },
};
use files::Source;
use known::{Known, Tags};
use merge::Merge;
use position::Position;

/// What happens in a run, in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// The files begin a run anew: what came before is of another one.
    Restart,
    /// A step.
    Step(Box<Sample>),
    /// An evaluation.
    Evaluation(Evaluation),
}

/// The files of one run, and what was noticed while reading them.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    sources: Vec<Source>,
    /// The experiment; `None` where another program trained.
    pub config: Option<Config>,
    /// What is known of the run before its first step.
    pub facts: Facts,
    /// What was passed over, and why.
    pub notes: Vec<String>,
    /// The roles that were seen.
    pub roles: BTreeSet<Role>,
    tags: Tags,
    damages: usize,
}

impl Replay {
    /// Steps that are kept open for values that come out of order.
    pub const AHEAD: usize = 8;
    /// Damages that are told one by one.
    const NOTES: usize = 20;

    /// Finds the files of the run in the folder `path`, or takes the one file that it is. `patterns` say what tags are of, over
    /// those that are known: `role=pattern`.
    ///
    /// # Errors
    /// Where there is nothing to read, or a pattern is wrong.
    pub fn open(path: &Path, patterns: &[String]) -> Result<Self, ReplayError> {
        let mut sources = files::sources(path)?;
        if sources.is_empty() {
            return Err(ReplayError::NoEvents { path: path.to_owned() });
        }
        let mut notes = Vec::new();
        let folder = files::folder(path);
        let config = files::config(folder, &mut notes);
        let facts = files::facts(folder, &mut notes);
        // Others may collect event files by links; a run of this program holds its files itself.
        let links = if config.is_some() && folder == path { files::leave_links(&mut sources) } else { Vec::new() };
        let damages = links.len();
        notes.extend(links);
        let known = if config.is_some() { TagPatterns::own() } else { TagPatterns::foreign() };
        let (tags, roles) = (Tags::new(known.with(patterns)?), BTreeSet::new());
        Ok(Self { path: path.to_owned(), sources, config, facts, notes, roles, tags, damages })
    }

    /// Hands out every step and evaluation.
    ///
    /// # Errors
    /// Where none of the tags is known, or no value can be read.
    pub fn play(&mut self, mut each: impl FnMut(Moment)) -> Result<(), ReplayError> {
        let is_half = self.config.as_ref().is_some_and(|config| config.run.precision == Precision::Fp16);
        let mut position = Position::new(&self.facts, is_half);
        let paths = self.sources.iter().map(|source| source.path.clone());
        let mut events = Merge::new(paths, self.config.is_some());
        // Files that the run was read from so far, and those of them that were seen to go on from others or not.
        let (mut begun, mut compared) = (BTreeSet::new(), BTreeSet::new());
        while let Some((source, event)) = events.next() {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.note_damage(&error);
                    continue;
                }
            };
            let (Some(What::Summary(summary)), Ok(step)) = (event.what, u64::try_from(event.step)) else { continue };
            for value in summary.value {
                let Some((before, place, role, numbers)) = self.read(source, value, &mut position) else { continue };
                let is_of_run = self.sources[source].is_of_run;
                // The first tag that an earlier file has too tells whether this one goes on or begins anew.
                if is_of_run
                    && before < source
                    && compared.insert(source)
                    && self.begins_anew(source, step, &mut position, &mut each)
                {
                    events.leave(&std::mem::take(&mut begun));
                    each(Moment::Restart);
                }
                if is_of_run {
                    begun.insert(source);
                }
                let is_open = position.add(step, role, place, numbers);
                if is_open
                    && is_of_run
                    && let Some(end) = position.move_to(step)
                {
                    position.hand_out(end, &self.facts, &mut each);
                }
                position.make_room(&self.facts, &mut each);
            }
        }
        position.hand_out(u64::MAX, &self.facts, &mut each);
        self.conclude(&position)
    }

    /// The number of the file that had the tag of a value before, the place of its name, its role, and its numbers.
    fn read(
        &mut self,
        source: usize,
        mut value: SummaryValue,
        position: &mut Position,
    ) -> Option<(usize, usize, Role, Numbers)> {
        let (part, tag) = (&self.sources[source].part, std::mem::take(&mut value.tag));
        let Known { role, is_parameter, place, source } = self.tags.find(part, tag, source, &mut position.names)?;
        let numbers = Numbers::of(value)?;
        let role = role.of_value(is_parameter, &numbers)?;
        self.roles.insert(role);
        Some((source, place, role, numbers))
    }

    /// Whether a file begins the run anew, rather than going on from the files before it.
    fn begins_anew(
        &mut self,
        source: usize,
        step: u64,
        position: &mut Position,
        each: &mut impl FnMut(Moment),
    ) -> bool {
        let range = position.range.filter(|[first, last]| step < *last || step == *first);
        let Some([first, last]) = range else { return false };
        let name = self.sources[source].name();
        if step > first {
            self.notes.push(format!("{name} begins at step {step}, and the file before it ended at step {last}: those between are judged twice"));
            position.hand_out(u64::MAX, &self.facts, each);
            position.go_back_to(step);
            return false;
        }
        self.notes.push(format!(
            "{name} begins at step {step} again: the files before it are of another run and are left out"
        ));
        position.anew();
        true
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

    /// What there is to say when all is read.
    fn conclude(&mut self, position: &Position) -> Result<(), ReplayError> {
        let Self { damages, notes, tags, .. } = self;
        if *damages > Self::NOTES {
            notes.push(format!("{} more of this kind", *damages - Self::NOTES));
        }
        if position.moved > 0 {
            let moved = position.moved;
            notes.push(format!(
                "{moved} value(s) are numbered by epochs or came late, and stand at the step at which they were written"
            ));
        }
        if position.late > 0 {
            let late = position.late;
            notes.push(format!("{late} value(s) came more than {} steps late and were left out", Self::AHEAD));
        }
        notes.extend(tags.notes());
        let path = self.path.clone();
        match (self.roles.is_empty(), tags.count()) {
            (false, _) => Ok(()),
            (true, 0) => Err(ReplayError::NoValues { path, files: self.sources.len(), notes: notes.clone() }),
            (true, tags) => Err(ReplayError::NothingKnown { path, tags, examples: self.tags.examples() }),
        }
    }

    /// Whether a part of the files could not be read, other than the end of one that is still being written.
    pub fn is_damaged(&self) -> bool {
        self.damages > 0
    }
}

#[cfg(test)]
mod tests;
