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
mod known_tags;
mod merge;
mod position;
mod rank_places;
mod rank_values;
mod role;
mod sample;
mod tags;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

pub use crate::telemetry::Role;
pub use error::ReplayError;
pub use files::runs;
pub use role::TagPatterns;
pub use sample::Sample;

use gradwatch_events::{
    EventsError, Numbers, RecordError,
    proto::{SummaryValue, What},
};

use crate::{
    config::{Config, Precision},
    diagnosis::{Evaluation, Facts},
    number::count,
};
use files::Source;
use known_tags::{KnownTag, Tags};
use merge::Merge;
use position::Position;
use rank_places::RankPlaces;

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
        let mut sources = files::sources(path)?;
        if sources.is_empty() {
            return Err(ReplayError::NoEvents { path: path.to_owned() });
        }
        let mut notes = Vec::new();
        let folder = files::folder(path);
        let config = files::config(folder, &mut notes);
        let (facts, rank_places) = files::metrics(folder, &mut notes);
        // A folder of another program may contain links to event files. A gradwatch run contains only regular files.
        let links = if config.is_some() && folder == path { files::remove_links(&mut sources) } else { Vec::new() };
        let damages = links.len();
        notes.extend(links);
        let known = if config.is_some() { TagPatterns::own() } else { TagPatterns::foreign() };
        let (tags, roles) = (Tags::new(known.with(patterns)?), BTreeSet::new());
        Ok(Self { path: path.to_owned(), sources, config, facts, notes, roles, tags, rank_places, damages })
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
        let is_half = self.config.as_ref().is_some_and(|config| config.run.precision == Precision::Fp16);
        let mut position = Position::new(&self.facts, is_half);
        let paths = self.sources.iter().map(|source| source.path.clone());
        let mut events = Merge::new(paths, self.config.is_some());
        // Files of this run so far, and files already checked for whether they continue the run or start a new one.
        let (mut begun, mut compared) = (BTreeSet::new(), BTreeSet::new());
        let (mut steps, mut negative) = (Steps::default(), 0);
        while let Some((source, event)) = events.next() {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.note_damage(&error);
                    continue;
                }
            };
            let Some(What::Summary(summary)) = event.what else { continue };
            let Ok(step) = u64::try_from(event.step) else {
                negative += summary.value.len();
                continue;
            };
            for value in summary.value {
                let Some((before, place, role, numbers)) = self.read(source, value, &mut position) else { continue };
                let step = steps.of(step, source, role, place);
                let is_of_run = self.sources[source].is_of_run;
                // The first tag that also appears in an earlier file shows whether this file continues the run or
                // starts a new one.
                if is_of_run
                    && before < source
                    && compared.insert(source)
                    && self.starts_new_run(source, step, &mut position, &mut each)
                {
                    events.stop_reading(&std::mem::take(&mut begun));
                    each(ReplayEvent::Restart);
                }
                if is_of_run {
                    begun.insert(source);
                }
                let is_open = position.add(step, role, place, numbers);
                if is_open
                    && is_of_run
                    && let Some(end) = position.move_to(step)
                {
                    position.pass_on(end, &self.facts, &mut each);
                }
                position.make_room(&self.facts, &mut each);
            }
        }
        position.pass_on(u64::MAX, &self.facts, &mut each);
        if negative > 0 {
            self.notes.push(format!("{} with a negative step: skipped", count(negative, "value")));
        }
        if steps.is_made_up() {
            self.notes.push("the values have no steps: they are numbered in their order".into());
        }
        self.conclude(&position)
    }

    /// Looks up a value. Returns the file that contained its tag before, the index of its name, its role, and its
    /// numbers.
    fn read(
        &mut self,
        source: usize,
        mut value: SummaryValue,
        position: &mut Position,
    ) -> Option<(usize, usize, Role, Numbers)> {
        let (part, tag) = (&self.sources[source].part, std::mem::take(&mut value.tag));
        let KnownTag { role, is_parameter, place, source } = self.tags.find(part, tag, source, &mut position.names)?;
        let numbers = Numbers::of(value)?;
        let role = role.of_value(is_parameter, &numbers)?;
        self.roles.insert(role);
        Some((source, place, role, numbers))
    }

    /// Whether a file starts the run again instead of continuing the files before it.
    fn starts_new_run(
        &mut self,
        source: usize,
        step: u64,
        position: &mut Position,
        each: &mut impl FnMut(ReplayEvent),
    ) -> bool {
        let range = position.range.filter(|[first, last]| step < *last || step == *first);
        let Some([first, last]) = range else { return false };
        let name = self.sources[source].name();
        if step > first {
            self.notes.push(format!(
                "{name} starts at step {step}, but the previous file ends at step {last}: the rules check the steps in \
                 between twice"
            ));
            position.pass_on(u64::MAX, &self.facts, each);
            position.go_back_to(step);
            return false;
        }
        self.notes.push(format!(
            "{name} starts again at step {step}: the files before it belong to another run and are skipped"
        ));
        position.reset();
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

    /// Adds the final notes.
    fn conclude(&mut self, position: &Position) -> Result<(), ReplayError> {
        let Self { damages, notes, tags, .. } = self;
        if *damages > Self::NOTES {
            notes.push(format!("{} of this kind", count(*damages - Self::NOTES, "more error")));
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
        notes.extend(tags.notes());
        let path = self.path.clone();
        match (self.roles.is_empty(), tags.count()) {
            (false, _) => Ok(()),
            (true, 0) => Err(ReplayError::NoValues { path, files: self.sources.len(), notes: notes.clone() }),
            (true, tags) => Err(ReplayError::NothingKnown { path, tags, examples: self.tags.examples() }),
        }
    }

    /// Whether part of the files could not be read. The incomplete end of a file still being written does not count.
    pub fn is_damaged(&self) -> bool {
        self.damages > 0
    }
}

/// Steps of the values. A writer that is given no step writes 0 for each value; then they are numbered in their order.
#[derive(Default)]
struct Steps {
    /// Number of values at step 0, by file, role, and name.
    at_zero: HashMap<(usize, Role, usize), u64>,
    /// Whether any value has another step.
    are_given: bool,
}

impl Steps {
    fn of(&mut self, step: u64, source: usize, role: Role, place: usize) -> u64 {
        self.are_given |= step > 0;
        if self.are_given {
            return step;
        }
        let count = self.at_zero.entry((source, role, place)).or_default();
        *count += 1;
        *count - 1
    }

    fn is_made_up(&self) -> bool {
        !self.are_given && self.at_zero.values().any(|count| *count > 1)
    }
}

#[cfg(test)]
mod rank_tests;
#[cfg(test)]
mod tests;
