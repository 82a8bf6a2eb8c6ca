//! State between two values: the steps not yet passed on.

use std::collections::{BTreeMap, VecDeque};

use gradwatch_events::Numbers;

use super::{
    Replay, ReplayEvent, Role,
    sample::{Draft, Names},
};
use crate::diagnosis::Facts;

/// Position in a run while reading it.
#[derive(Clone)]
pub(super) struct Position {
    pub names: Names,
    drafts: BTreeMap<u64, Draft>,
    /// Evaluations numbered by epoch instead of by step. The key is the step before which they were written, and their
    /// own number.
    unnumbered: BTreeMap<(u64, u64), Draft>,
    /// The last [`Replay::AHEAD`] steps in the files.
    recent: VecDeque<u64>,
    /// Last step passed on.
    done: Option<u64>,
    /// First and last step in the files with the training steps.
    pub range: Option<[u64; 2]>,
    skipped: u64,
    /// Whether the run uses float16 with a dynamic loss scale.
    is_half: bool,
    /// Number of values that came too late.
    pub late: u64,
    /// Number of values assigned to the step at which they were written, because their own numbers are not steps.
    pub moved: u64,
    /// Means of step losses and accuracies since the last evaluation, for files without these means.
    losses: Mean,
    accuracies: Mean,
}

#[derive(Clone, Default)]
struct Mean(f64, u64);

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            (self.0, self.1) = (self.0 + value, self.1 + 1);
        }
    }

    /// Returns the mean (NaN without values) and starts again.
    fn take(&mut self) -> f64 {
        let Self(sum, count) = std::mem::take(self);
        sum / count as f64
    }
}

impl Position {
    /// Maximum number of open steps, regardless of the order in the files.
    const OPEN: usize = 1024;

    pub(super) fn new(facts: &Facts, is_half: bool) -> Self {
        Self::with(Names::new(facts), is_half)
    }

    /// Resets everything except the names, before the first step of another run.
    pub(super) fn reset(&mut self) {
        *self = Self::with(std::mem::take(&mut self.names), self.is_half);
    }

    fn with(names: Names, is_half: bool) -> Self {
        Self {
            names,
            is_half,
            drafts: BTreeMap::new(),
            unnumbered: BTreeMap::new(),
            recent: VecDeque::new(),
            done: None,
            range: None,
            skipped: 0,
            late: 0,
            moved: 0,
            losses: Mean::default(),
            accuracies: Mean::default(),
        }
    }

    /// Adds a value. Returns whether its number is an open step, and not one already passed on.
    pub(super) fn add(&mut self, step: u64, role: Role, place: usize, numbers: Numbers) -> bool {
        if self.done.is_none_or(|done| step > done) {
            self.drafts.entry(step).or_default().add(role, place, numbers);
            return true;
        }
        // The number is probably an epoch, so the value belongs to the step at which it was written.
        let now = self.recent.iter().max().copied().max(self.done).unwrap_or(step);
        let is_taken = match role {
            Role::Loss | Role::Accuracy => false,
            role if role.is_of_evaluation() => {
                let known = self.unnumbered.keys().rfind(|(_, number)| *number == step).copied();
                let draft = self.unnumbered.entry(known.unwrap_or((now.saturating_add(1), step))).or_default();
                draft.add(role, place, numbers);
                true
            }
            role => self.drafts.get_mut(&now).is_some_and(|draft| draft.add_new(role, place, numbers)),
        };
        *(if is_taken { &mut self.moved } else { &mut self.late }) += 1;
        false
    }

    /// Records when a value of an open step was written, in seconds since 1970.
    pub(super) fn note_time(&mut self, step: u64, wall_time: f64) {
        self.drafts.entry(step).or_default().note_time(wall_time);
    }

    /// Records that the files are at a step. Returns the step before which no more values are expected.
    pub(super) fn move_to(&mut self, step: u64) -> Option<u64> {
        let [first, last] = self.range.unwrap_or([step; 2]);
        self.range = Some([first.min(step), last.max(step)]);
        if self.recent.back() != Some(&step) {
            self.recent.push_back(step);
            if self.recent.len() > Replay::AHEAD {
                self.recent.pop_front();
                return self.recent.iter().min().copied();
            }
        }
        None
    }

    /// Records that the files continue from an earlier step.
    pub(super) fn go_back_to(&mut self, step: u64) {
        self.recent.clear();
        self.done = step.checked_sub(1);
    }

    /// Passes on steps that exceed the limit.
    pub(super) fn make_room(&mut self, facts: &Facts, each: &mut impl FnMut(ReplayEvent)) {
        while self.drafts.len() + self.unnumbered.len() > Self::OPEN {
            self.pass_on_one(u64::MAX, facts, each);
        }
    }

    /// The last open step.
    pub(super) fn last_open(&self) -> Option<u64> {
        self.drafts.last_key_value().map(|(step, _)| *step)
    }

    /// Passes on all steps before `end`.
    pub(super) fn pass_on(&mut self, end: u64, facts: &Facts, each: &mut impl FnMut(ReplayEvent)) {
        while self.pass_on_one(end, facts, each) {}
    }

    fn pass_on_one(&mut self, end: u64, facts: &Facts, each: &mut impl FnMut(ReplayEvent)) -> bool {
        let step = self.drafts.first_key_value().map(|(step, _)| *step).filter(|step| *step < end);
        let unnumbered = self.unnumbered.first_key_value().map(|((step, _), _)| *step);
        if unnumbered.is_some_and(|before| before < end && step.is_none_or(|step| before <= step)) {
            if let Some(((before, _), draft)) = self.unnumbered.pop_first() {
                self.evaluate(before, &draft, each);
            }
            return true;
        }
        let Some((step, draft)) = step.and_then(|_| self.drafts.pop_first()) else { return false };
        self.done = Some(step);
        self.evaluate(step, &draft, each);
        self.losses.add(draft.of_model(Role::Loss));
        self.accuracies.add(draft.of_model(Role::Accuracy));
        if let Some(mut sample) = draft.sample(step, &self.names, facts, self.skipped) {
            // The loss is finite, so only the scaled gradient overflowed.
            if self.is_half && sample.loss.is_finite() && sample.skipped_in_a_row > 0 {
                sample.skipped_in_a_row = self.skipped;
            }
            self.skipped = sample.skipped_in_a_row;
            each(ReplayEvent::Step(Box::new(sample)));
        }
        true
    }

    fn evaluate(&mut self, step: u64, draft: &Draft, each: &mut impl FnMut(ReplayEvent)) {
        let Some(mut evaluation) = draft.evaluation(step) else { return };
        let (loss, accuracy) = (self.losses.take(), self.accuracies.take());
        let or = |value: f64, other: f64| if value.is_nan() { other } else { value };
        evaluation.train_loss = or(evaluation.train_loss, loss);
        evaluation.train_accuracy = or(evaluation.train_accuracy, accuracy);
        each(ReplayEvent::Evaluation(evaluation));
    }

    /// Number of open steps and evaluations.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.drafts.len() + self.unnumbered.len() + self.recent.len()
    }
}
