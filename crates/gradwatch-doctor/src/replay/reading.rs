//! Position in the files of a run while they are read.

use std::collections::{BTreeSet, HashMap};

use gradwatch_events::{
    EventsError, Numbers,
    proto::{Event, SummaryValue, What},
};

use super::{Replay, ReplayEvent, Role, known_tags::KnownTag, merge::Merge, position::Position};
use crate::{config::Precision, number::count};

/// Values read so far, and the files that they come from.
pub(super) struct Reading {
    pub position: Position,
    pub events: Merge,
    steps: Steps,
    /// Files of this run so far, and files already checked for whether they continue the run or start a new one.
    begun: BTreeSet<usize>,
    compared: BTreeSet<usize>,
    negative: usize,
}

impl Reading {
    pub(super) fn new(replay: &Replay) -> Self {
        let is_half = replay.config.as_ref().is_some_and(|config| config.run.precision == Precision::Fp16);
        let paths = replay.sources.iter().map(|source| source.path.clone());
        Self {
            position: Position::new(&replay.facts, is_half),
            events: Merge::new(paths, replay.config.is_some()),
            steps: Steps::default(),
            begun: BTreeSet::new(),
            compared: BTreeSet::new(),
            negative: 0,
        }
    }

    /// Keeps files open at their ends, because they may grow.
    pub(super) fn follow(&mut self) {
        let events = std::mem::replace(&mut self.events, Merge::new([], false));
        self.events = events.following();
    }

    /// Adds an event of a file, and passes on the steps that are complete.
    pub(super) fn add(
        &mut self,
        replay: &mut Replay,
        (source, event): (usize, Result<Event, EventsError>),
        each: &mut impl FnMut(ReplayEvent),
    ) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return replay.note_damage(&error),
        };
        let Some(What::Summary(summary)) = event.what else { return };
        let Ok(step) = u64::try_from(event.step) else {
            self.negative += summary.value.len();
            return;
        };
        for value in summary.value {
            let Some((before, place, role, numbers)) = self.read(replay, source, value) else { continue };
            let step = self.steps.of(step, source, role, place);
            let is_of_run = replay.sources[source].is_of_run;
            // The first tag that also appears in an earlier file shows whether this file continues the run or starts a
            // new one.
            if is_of_run
                && before < source
                && self.compared.insert(source)
                && self.starts_new_run(replay, source, step, each)
            {
                self.events.stop_reading(&std::mem::take(&mut self.begun));
                each(ReplayEvent::Restart);
            }
            if is_of_run {
                self.begun.insert(source);
            }
            let is_open = self.position.add(step, role, place, numbers);
            if is_open && is_of_run {
                self.position.note_time(step, event.wall_time);
                if let Some(end) = self.position.move_to(step) {
                    self.position.pass_on(end, &replay.facts, each);
                }
            }
            self.position.make_room(&replay.facts, each);
        }
    }

    /// Looks up a value. Returns the file that contained its tag before, the index of its name, its role, and its
    /// numbers.
    fn read(
        &mut self,
        replay: &mut Replay,
        source: usize,
        mut value: SummaryValue,
    ) -> Option<(usize, usize, Role, Numbers)> {
        let (part, tag) = (&replay.sources[source].part, std::mem::take(&mut value.tag));
        let known = replay.tags.find(part, tag, source, &mut self.position.names)?;
        let KnownTag { role, is_parameter, place, source } = known;
        let numbers = Numbers::of(value)?;
        let role = role.of_value(is_parameter, &numbers)?;
        replay.roles.insert(role);
        Some((source, place, role, numbers))
    }

    /// Whether a file starts the run again instead of continuing the files before it.
    fn starts_new_run(
        &mut self,
        replay: &mut Replay,
        source: usize,
        step: u64,
        each: &mut impl FnMut(ReplayEvent),
    ) -> bool {
        let range = self.position.range.filter(|[first, last]| step < *last || step == *first);
        let Some([first, last]) = range else { return false };
        let name = replay.sources[source].name();
        if step > first {
            replay.notes.push(format!(
                "{name} starts at step {step}, but the previous file ends at step {last}: the rules check the steps in \
                 between twice"
            ));
            self.position.pass_on(u64::MAX, &replay.facts, each);
            self.position.go_back_to(step);
            return false;
        }
        replay.notes.push(format!(
            "{name} starts again at step {step}: the files before it belong to another run and are skipped"
        ));
        self.position.reset();
        true
    }

    /// Notes about values that were skipped or moved.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.negative > 0 {
            notes.push(format!("{} with a negative step: skipped", count(self.negative, "value")));
        }
        if self.steps.is_made_up() {
            notes.push("the values have no steps: they are numbered in their order".into());
        }
        notes
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
