//! Dropout that leaves too little of the signal.
//!
//! Dropout of 0.5 is common before a classifier. At 0.9, one unit in ten is left, and what one pass learns is lost in
//! the noise of the next.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Figure, Observation, Remedy, Severity, Symptom},
};

/// Dropout above which it may keep a network from learning.
const HIGH: f64 = 0.7;
/// Tracked steps after which a run must have learned something.
const READINGS: u64 = 40;
/// Dropout that scales what is left so much that the first loss is far above that of a guess: this many times.
const EXTREME: f64 = 0.9;
const LOUD: f64 = 1.5;
/// Training accuracy, with dropout, over validation accuracy, without it.
const BEHIND: f64 = 0.6;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Dropout {}

impl Rule for Dropout {
    fn name(&self) -> RuleName {
        RuleName::Dropout
    }

    fn needs(&self) -> Ways {
        &[&[Need::StepLoss, Need::ModelConfig], &[Need::Evaluations, Need::ModelConfig]]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let dropout = high(context)?;
        let first = context.course.first;
        if dropout > EXTREME && context.course.readings() <= READINGS && first > LOUD * context.guess() {
            return Some(symptom(
                dropout,
                "and scales the rest up, so that the first loss is far above that of a guess",
            ));
        }
        let is_late = context.course.readings() >= READINGS && context.has_learned_little(seen);
        is_late.then(|| symptom(dropout, "and the training loss is still close to that of a random guess"))
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
        let dropout = high(context)?;
        let is_behind = seen.train_accuracy < BEHIND * seen.validation_accuracy;
        is_behind.then(|| symptom(dropout, "so the network does far worse in training than in evaluation"))
    }
}

fn high(context: &RuleContext<'_>) -> Option<f64> {
    Some(context.model()?.dropout).filter(|dropout| *dropout > HIGH)
}

fn symptom(dropout: f64, consequence: &str) -> Symptom {
    let figures = vec![Figure { name: "dropout".into(), seen: dropout, expected: "0 to 0.5".into() }];
    let cause = format!("dropout sets {:.0}% of the units to 0, {consequence}", 100.0 * dropout);
    let remedies = vec![
        Remedy::config("model.dropout", 0.0, "keeps the whole signal"),
        Remedy::config("model.dropout", 0.2, "keeps most of it"),
    ];
    Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    #[test]
    fn a_high_dropout_counts_if_the_run_does_not_learn() {
        let is_told = |dropout: f64, losses: f64| {
            let mut case = Case::with_losses([losses; 40]);
            case.config.model.dropout = dropout;
            let seen = Observation { loss: losses, ..Observation::default() };
            Dropout::default().judge(&seen, &case.context()).is_some()
        };
        assert!(is_told(0.95, 2.2));
        assert!(!is_told(0.5, 2.2) && !is_told(0.95, 1.0));
    }

    #[test]
    fn an_extreme_dropout_that_raises_the_first_loss_is_told_at_once() {
        let is_told = |dropout: f64, loss: f64| {
            let mut case = Case::with_losses([loss]);
            case.config.model.dropout = dropout;
            Dropout::default().judge(&Observation { loss, ..Observation::default() }, &case.context()).is_some()
        };
        assert!(is_told(0.95, 5.0));
        assert!(!is_told(0.95, 2.4) && !is_told(0.8, 5.0));
    }

    #[test]
    fn training_far_behind_validation_counts_too() {
        let case = Case::new("model.dropout = 0.9");
        let judge = |train_accuracy: f64| {
            let seen = Evaluation { train_accuracy, validation_accuracy: 0.7, ..evaluation(40) };
            Dropout::default().judge_evaluation(&seen, &case.context()).is_some()
        };
        assert!(judge(0.3) && !judge(0.6) && !judge(f64::NAN));
    }
}
