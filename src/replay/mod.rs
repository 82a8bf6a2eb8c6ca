//! A run as its files tell it, step by step: this program's own runs, and event files that others wrote.
//!
//! Files are read from front to back, each value once, and at most [`Replay::AHEAD`] steps are kept at a time, so that a run of
//! any length takes linear time and bounded memory. What cannot be read is noted and passed over.
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
mod role;
mod sample;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    path::{Path, PathBuf},
};

pub use error::ReplayError;
pub use files::runs;
pub use role::{Role, TagPatterns};
pub use sample::Sample;

use crate::{
    config::Config,
    diagnosis::{Evaluation, Facts},
    events::{EventFile, EventsError, Numbers, RecordError, proto::What},
};
use files::Source;
use sample::{Draft, Names};

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
    folder: PathBuf,
    sources: Vec<Source>,
    patterns: TagPatterns,
    /// The experiment; `None` where another program trained.
    pub config: Option<Config>,
    /// What is known of the run before its first step.
    pub facts: Facts,
    /// What was passed over, and why.
    pub notes: Vec<String>,
    /// The roles that were seen.
    pub roles: BTreeSet<Role>,
    unknown: BTreeSet<String>,
    damages: usize,
}

/// What is open between two values.
struct Position {
    names: Names,
    /// What each tag is of, and the place of its name.
    tags: HashMap<String, Option<(Role, usize)>>,
    drafts: BTreeMap<u64, Draft>,
    /// The last [`Replay::AHEAD`] steps that the file went through.
    recent: VecDeque<u64>,
    /// The last step that was handed out.
    done: Option<u64>,
    /// The first and the last step of the files that carry the run.
    range: Option<[u64; 2]>,
    skipped: u64,
    late: u64,
    /// Losses and accuracies of steps since the last evaluation, for files that do not have their means.
    losses: Mean,
    accuracies: Mean,
}

#[derive(Default)]
struct Mean(f64, u64);

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            (self.0, self.1) = (self.0 + value, self.1 + 1);
        }
    }

    /// The mean, which is NaN of nothing, and a fresh start.
    fn take(&mut self) -> f64 {
        let Self(sum, count) = std::mem::take(self);
        sum / count as f64
    }
}

impl Replay {
    /// Steps that are kept open for values that come out of order.
    pub const AHEAD: usize = 8;
    /// Unknown tags that are remembered.
    const UNKNOWN: usize = 1000;
    /// Damages that are told one by one.
    const NOTES: usize = 20;

    /// Finds the files of the run in `folder`. `patterns` say what tags are of, over those that are known: `role=pattern`.
    ///
    /// # Errors
    /// Where there is nothing to read, or a pattern is wrong.
    pub fn open(folder: &Path, patterns: &[String]) -> Result<Self, ReplayError> {
        let sources = files::sources(folder)?;
        if sources.is_empty() {
            return Err(ReplayError::NoEvents { path: folder.to_owned() });
        }
        let mut notes = Vec::new();
        let config = files::config(folder, &mut notes);
        let facts = files::facts(folder, &mut notes);
        let known = if config.is_some() { TagPatterns::own() } else { TagPatterns::foreign() };
        let patterns = known.with(patterns)?;
        let (roles, unknown) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { folder: folder.to_owned(), sources, patterns, config, facts, notes, roles, unknown, damages: 0 })
    }

    /// Hands out every step and evaluation.
    ///
    /// # Errors
    /// Where a file cannot be opened, or none of its tags is known.
    pub fn play(&mut self, mut each: impl FnMut(Moment)) -> Result<(), ReplayError> {
        let mut position = Position::new(&self.facts);
        for source in self.sources.clone() {
            self.play_file(&source, &mut position, &mut each)?;
        }
        position.hand_out(u64::MAX, &self.facts, &mut each);
        if self.damages > Self::NOTES {
            self.notes.push(format!("{} more of this kind", self.damages - Self::NOTES));
        }
        if position.late > 0 {
            let note =
                format!("{} value(s) came more than {} steps late and were left out", position.late, Self::AHEAD);
            self.notes.push(note);
        }
        if self.roles.is_empty() {
            let examples = self.unknown.iter().take(8).cloned().collect();
            return Err(ReplayError::NothingKnown { path: self.folder.clone(), tags: self.unknown.len(), examples });
        }
        Ok(())
    }

    fn play_file(
        &mut self,
        source: &Source,
        position: &mut Position,
        each: &mut impl FnMut(Moment),
    ) -> Result<(), ReplayError> {
        let mut is_first = source.is_of_run;
        position.recent.clear();
        for event in EventFile::open(&source.path)? {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.note_damage(&error);
                    continue;
                }
            };
            let (Some(What::Summary(summary)), Ok(step)) = (event.what, u64::try_from(event.step)) else { continue };
            for mut value in summary.value {
                let tag = format!("{}{}", source.prefix, std::mem::take(&mut value.tag));
                let Some((role, place)) = self.place(tag, position) else { continue };
                let Some(numbers) = Numbers::of(value) else { continue };
                if std::mem::take(&mut is_first) {
                    self.begin_file(source, step, position, each);
                }
                if source.is_of_run {
                    let [first, last] = position.range.unwrap_or([step; 2]);
                    position.range = Some([first.min(step), last.max(step)]);
                }
                position.add(step, role, place, numbers);
            }
            if let Some(before) = position.move_to(step).filter(|_| source.is_of_run) {
                position.hand_out(before, &self.facts, each);
            }
        }
        Ok(())
    }

    /// Looks whether the steps of a file go on from those of the files before it.
    fn begin_file(&mut self, source: &Source, step: u64, position: &mut Position, each: &mut impl FnMut(Moment)) {
        let Some([first, last]) = position.range.filter(|[first, last]| step < *last || step == *first) else { return };
        let name = source.path.file_name().unwrap_or_default().to_string_lossy();
        if step > first {
            self.notes.push(format!("{name} begins at step {step}, and the file before it ended at step {last}: those between are judged twice"));
            position.hand_out(u64::MAX, &self.facts, each);
            position.done = Some(step.saturating_sub(1));
            return;
        }
        self.notes.push(format!(
            "{name} begins at step {step} again: the files before it are of another run and are left out"
        ));
        *position = Position {
            tags: std::mem::take(&mut position.tags),
            names: position.names.clone(),
            ..Position::new(&self.facts)
        };
        each(Moment::Restart);
    }

    fn place(&mut self, tag: String, position: &mut Position) -> Option<(Role, usize)> {
        if let Some(place) = position.tags.get(&tag) {
            return *place;
        }
        let found = self.patterns.role(&tag);
        let place = found.map(|(role, name)| (role, position.names.place(role, &name)));
        match place {
            Some((role, _)) => _ = self.roles.insert(role),
            None if self.unknown.len() < Self::UNKNOWN => _ = self.unknown.insert(tag.clone()),
            None => {}
        }
        position.tags.insert(tag, place);
        place
    }

    fn note_damage(&mut self, error: &EventsError) {
        match error {
            EventsError::Record { path, cause: RecordError::Truncated { .. } } => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
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
}

impl Position {
    fn new(facts: &Facts) -> Self {
        Self {
            names: Names::new(facts),
            tags: HashMap::new(),
            drafts: BTreeMap::new(),
            recent: VecDeque::new(),
            done: None,
            range: None,
            skipped: 0,
            late: 0,
            losses: Mean::default(),
            accuracies: Mean::default(),
        }
    }

    fn add(&mut self, step: u64, role: Role, place: usize, numbers: Numbers) {
        if self.done.is_some_and(|done| step <= done) {
            self.late += 1;
            return;
        }
        self.drafts.entry(step).or_default().add(role, place, numbers);
    }

    /// Notes where the file is. Returns the step before which nothing more is to be expected.
    fn move_to(&mut self, step: u64) -> Option<u64> {
        if self.recent.back() != Some(&step) {
            self.recent.push_back(step);
            if self.recent.len() > Replay::AHEAD {
                self.recent.pop_front();
                return self.recent.iter().min().copied();
            }
        }
        None
    }

    /// Hands out all steps before `end`.
    fn hand_out(&mut self, end: u64, facts: &Facts, each: &mut impl FnMut(Moment)) {
        while self.drafts.first_key_value().is_some_and(|(step, _)| *step < end) {
            let Some((step, draft)) = self.drafts.pop_first() else { return };
            self.done = Some(step);
            if let Some(mut evaluation) = draft.evaluation(step) {
                let (loss, accuracy) = (self.losses.take(), self.accuracies.take());
                let or = |value: f64, other: f64| if value.is_nan() { other } else { value };
                evaluation.train_loss = or(evaluation.train_loss, loss);
                evaluation.train_accuracy = or(evaluation.train_accuracy, accuracy);
                each(Moment::Evaluation(evaluation));
            }
            self.losses.add(draft.of_model(Role::Loss));
            self.accuracies.add(draft.of_model(Role::Accuracy));
            if let Some(sample) = draft.sample(step, &self.names, facts, self.skipped) {
                self.skipped = sample.skipped_in_a_row;
                each(Moment::Step(Box::new(sample)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
