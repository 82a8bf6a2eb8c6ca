//! What all ranks do between two steps. Each of them may have a signal; the rest is rank 0's decision.

use super::{State, StopSignal, TrainError};
use crate::{config::RuleName, recording::Ending};

/// What all ranks do between two steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Agreement {
    pub evaluates: bool,
    pub saves: bool,
    pub ending: Option<Ending>,
}

/// The decision of a rank, as numbers.
struct Words {
    signal: i32,
    evaluates: bool,
    saves: bool,
    /// Whether to save if the run ends here.
    saves_at_end: bool,
    ending: Option<Ending>,
}

impl Words {
    fn numbers(&self) -> Vec<f64> {
        let flag = |flag: bool| f64::from(u8::from(flag));
        let place = |rule| RuleName::ALL.iter().position(|name| *name == rule).unwrap_or(0) as f64;
        let [kind, value] = self.ending.map_or([0.0, 0.0], |ending| match ending {
            Ending::MaxEpochs => [1.0, 0.0],
            Ending::MaxSteps => [2.0, 0.0],
            Ending::MaxMinutes => [3.0, 0.0],
            Ending::EarlyStopping => [4.0, 0.0],
            Ending::Finding(rule) => [5.0, place(rule)],
            Ending::Signal(signal) => [6.0, f64::from(signal)],
            Ending::Repair(rule) => [7.0, place(rule)],
            Ending::TrialOver => [8.0, 0.0],
            Ending::Unrepaired(rule) => [9.0, place(rule)],
        });
        vec![f64::from(self.signal), flag(self.evaluates), flag(self.saves), flag(self.saves_at_end), kind, value]
    }

    fn of(numbers: &[f64]) -> Self {
        let ending = match (numbers[4] as u8, numbers[5]) {
            (1, _) => Some(Ending::MaxEpochs),
            (2, _) => Some(Ending::MaxSteps),
            (3, _) => Some(Ending::MaxMinutes),
            (4, _) => Some(Ending::EarlyStopping),
            (5, rule) => RuleName::ALL.get(rule as usize).copied().map(Ending::Finding),
            (6, signal) => Some(Ending::Signal(signal as i32)),
            (7, rule) => RuleName::ALL.get(rule as usize).copied().map(Ending::Repair),
            (8, _) => Some(Ending::TrialOver),
            (9, rule) => RuleName::ALL.get(rule as usize).copied().map(Ending::Unrepaired),
            _ => None,
        };
        let flag = |index: usize| numbers[index] > 0.0;
        Self { signal: numbers[0] as i32, evaluates: flag(1), saves: flag(2), saves_at_end: flag(3), ending }
    }
}

impl State {
    /// Agrees on the work before the next step. `is_best`: the weights were just evaluated and are among the best ones
    /// that checkpoints keep.
    pub(super) fn agree(&self, stop: &StopSignal, is_best: bool) -> Result<Agreement, TrainError> {
        let ending =
            self.ending().or_else(|| self.evaluations.early_stopping.should_stop().then_some(Ending::EarlyStopping));
        let own = Words {
            signal: stop.signal().unwrap_or(0),
            evaluates: self.is_evaluation_due(),
            saves: self.is_checkpoint_due(ending.is_some(), is_best),
            saves_at_end: self.is_checkpoint_due(true, is_best),
            ending,
        };
        let told: Vec<Words> = self.ranks.gather(&own.numbers())?.iter().map(|words| Words::of(words)).collect();
        let first = &told[0];
        // The sender of a signal wants the process to end soon, so no evaluation follows it.
        Ok(match told.iter().map(|words| words.signal).max().filter(|signal| *signal > 0) {
            Some(signal) => {
                Agreement { evaluates: false, saves: first.saves_at_end, ending: Some(Ending::Signal(signal)) }
            }
            None => Agreement { evaluates: first.evaluates, saves: first.saves, ending: first.ending },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_arrives_as_it_was_told() {
        let endings = [
            None,
            Some(Ending::MaxEpochs),
            Some(Ending::MaxSteps),
            Some(Ending::MaxMinutes),
            Some(Ending::EarlyStopping),
            Some(Ending::Signal(15)),
            Some(Ending::TrialOver),
        ];
        let of_rule = |rule: &RuleName| [Ending::Finding, Ending::Repair, Ending::Unrepaired].map(|of| Some(of(*rule)));
        let rules = RuleName::ALL.iter().flat_map(of_rule);
        for ending in endings.into_iter().chain(rules) {
            let words = Words { signal: 10, evaluates: true, saves: false, saves_at_end: true, ending };
            let told = Words::of(&words.numbers());
            assert_eq!((told.signal, told.evaluates, told.saves, told.saves_at_end), (10, true, false, true));
            assert_eq!(told.ending, ending);
        }
    }
}
