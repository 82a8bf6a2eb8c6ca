//! What is open between two values: the steps that are not handed out yet.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Moment, Replay, Role,
    sample::{Draft, Names},
};
use crate::{diagnosis::Facts, events::Numbers};

/// Where the reading of a run is.
pub(super) struct Position {
    pub names: Names,
    drafts: BTreeMap<u64, Draft>,
    /// Evaluations whose numbers are no steps: by the step before which they were written, and their own number.
    unnumbered: BTreeMap<(u64, u64), Draft>,
    /// The last [`Replay::AHEAD`] steps that the files went through.
    recent: VecDeque<u64>,
    /// The last step that was handed out.
    done: Option<u64>,
    /// The first and the last step of the files that carry the run.
    pub range: Option<[u64; 2]>,
    skipped: u64,
    /// Whether the run is in float16, whose loss scale looks for its size.
    is_half: bool,
    /// Values that came too late.
    pub late: u64,
    /// Values that stand where they were written, since their numbers are no steps.
    pub moved: u64,
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

impl Position {
    /// Steps that may be open, however disorderly the files are.
    const OPEN: usize = 1024;

    pub fn new(facts: &Facts, is_half: bool) -> Self {
        Self::with(Names::new(facts), is_half)
    }

    /// The same before the first step of another run with these names.
    pub fn anew(&mut self) {
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

    /// Takes a value in. Whether its number is a step that is open, rather than one that the run has left behind.
    pub fn add(&mut self, step: u64, role: Role, place: usize, numbers: Numbers) -> bool {
        if self.done.is_none_or(|done| step > done) {
            self.drafts.entry(step).or_default().add(role, place, numbers);
            return true;
        }
        // Its number is that of an epoch, as often as not: it stands where it was written.
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

    /// Notes that the files of the run are at a step. Returns the step before which nothing more is to be expected.
    pub fn move_to(&mut self, step: u64) -> Option<u64> {
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

    /// Notes that the files of a run go on, from an earlier step.
    pub fn go_back_to(&mut self, step: u64) {
        self.recent.clear();
        self.done = step.checked_sub(1);
    }

    /// Hands out what is more than can be open.
    pub fn make_room(&mut self, facts: &Facts, each: &mut impl FnMut(Moment)) {
        while self.drafts.len() + self.unnumbered.len() > Self::OPEN {
            self.hand_out_one(u64::MAX, facts, each);
        }
    }

    /// Hands out all steps before `end`.
    pub fn hand_out(&mut self, end: u64, facts: &Facts, each: &mut impl FnMut(Moment)) {
        while self.hand_out_one(end, facts, each) {}
    }

    fn hand_out_one(&mut self, end: u64, facts: &Facts, each: &mut impl FnMut(Moment)) -> bool {
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
            // The loss is as it should be: what overflowed was its scale.
            if self.is_half && sample.loss.is_finite() && sample.skipped_in_a_row > 0 {
                sample.skipped_in_a_row = self.skipped;
            }
            self.skipped = sample.skipped_in_a_row;
            each(Moment::Step(Box::new(sample)));
        }
        true
    }

    fn evaluate(&mut self, step: u64, draft: &Draft, each: &mut impl FnMut(Moment)) {
        let Some(mut evaluation) = draft.evaluation(step) else { return };
        let (loss, accuracy) = (self.losses.take(), self.accuracies.take());
        let or = |value: f64, other: f64| if value.is_nan() { other } else { value };
        evaluation.train_loss = or(evaluation.train_loss, loss);
        evaluation.train_accuracy = or(evaluation.train_accuracy, accuracy);
        each(Moment::Evaluation(evaluation));
    }

    /// Steps and evaluations that are open.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.drafts.len() + self.unnumbered.len() + self.recent.len()
    }
}
