//! A loss that does not match the network's output: not log-probabilities, or a softmax applied twice.
//!
//! Cross-entropy, the negative log-likelihood of log-probabilities, and a mean square are never below 0, with any label
//! weights or smoothing. nll_loss of logits or probabilities is negative, and with logits it falls without limit.
//!
//! Cross-entropy applies its own softmax. On outputs p that already passed through a softmax, it is ln(sum of e^p) - p
//! of the label, with all p from 0 to 1: at least ln(e + C - 1) - 1 (1.461 for ten classes), and at most 1 more. UMLAUT
//! (CHI 2021) finds this in the layers; this rule finds it in the loss. Training drives each p to 0 or 1, so a correct
//! image costs the minimum and a wrong one costs 1 more: the loss is minimum + 1 - accuracy. Means over an epoch match
//! this to within 0.013, and from the second epoch to within 0.01 (Fashion-MNIST, MLP and CNN, SGD and Adam). A healthy
//! network crosses that line once, and is off it by 0.06 again after 100 steps, even at 1/500 of the right learning
//! rate.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{ClassBalance, RuleName},
    diagnosis::{Evaluation, Figure, Observation, Remedy, Severity, Symptom},
    number::Rounded,
};

/// Largest distance of the loss from minimum + 1 - accuracy.
const OFF_LINE: f64 = 0.015;
/// Largest expected loss of a calibrated classifier with this accuracy, over the loss. At the loss of a guess, both are
/// equal.
const UNSURE: f64 = 0.9;
/// Consecutive evaluations, and tracked steps between the first and the last of them if there are any. A healthy
/// network does not stay on the line that long.
const LOOKS: u32 = 3;
const READINGS: u64 = 150;
/// Tolerance beyond the bounds of the loss, for rounding in files and low precision.
const ROUNDING: f64 = 1e-3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct WrongLoss {
    /// Whether any loss was outside the range of a softmax applied twice.
    has_left: bool,
    readings: u64,
    looks: u32,
    /// Tracked steps before the first of these evaluations.
    first: u64,
}

impl Rule for WrongLoss {
    fn name(&self) -> RuleName {
        RuleName::WrongLoss
    }

    /// A negative loss shows in the steps and in evaluations, a second softmax only in evaluations.
    fn needs(&self) -> Ways {
        &[&[Need::StepLoss], &[Need::Evaluations]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        self.look_at(seen.loss, context);
        self.readings += 1;
        (seen.loss < 0.0 && seen.loss.is_finite()).then(|| negative(seen.loss, context))
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
        let of_training = (seen.train_loss, seen.train_accuracy);
        let (loss, accuracy) =
            if of_training.1.is_nan() { (seen.validation_loss, seen.validation_accuracy) } else { of_training };
        self.look_at(loss, context);
        if loss < 0.0 && loss.is_finite() {
            return Some(negative(loss, context));
        }
        let least = least(context)?;
        let line = least + 1.0 - accuracy;
        let is_unsure = calibrated(accuracy, context.facts.classes) < UNSURE * loss;
        let is_on_line = is_unsure && (loss - line).abs() < OFF_LINE && !self.has_left;
        (self.looks, self.first) = match self.looks {
            _ if !is_on_line => (0, 0),
            0 => (1, self.readings),
            looks => (looks + 1, self.first),
        };
        let is_long = self.readings == 0 || self.readings - self.first >= READINGS;
        (self.looks >= LOOKS && is_long).then(|| twice(loss, accuracy, least))
    }
}

impl WrongLoss {
    fn look_at(&mut self, loss: f64, context: &RuleContext<'_>) {
        if let Some(least) = least(context).filter(|_| !loss.is_nan()) {
            self.has_left |= loss < least - ROUNDING || loss > least + 1.0 + ROUNDING;
        }
    }
}

/// Minimum of cross-entropy over probabilities; `None` if the classes are unknown, or labels are smoothed or weighted.
fn least(context: &RuleContext<'_>) -> Option<f64> {
    let is_plain = context
        .config
        .is_none_or(|config| config.loss.label_smoothing == 0.0 && config.loss.class_balance == ClassBalance::None);
    let classes = context.facts.classes;
    (is_plain && classes >= 2).then(|| (std::f64::consts::E + classes as f64 - 1.0).ln() - 1.0)
}

/// Largest expected loss of a calibrated classifier with this accuracy: the entropy of being correct, plus the entropy
/// over the other classes if it is wrong.
fn calibrated(accuracy: f64, classes: usize) -> f64 {
    let entropy = |share: f64| if share > 0.0 { -share * share.ln() } else { 0.0 };
    let wrong = 1.0 - accuracy;
    entropy(accuracy) + entropy(wrong) + wrong * (classes as f64 - 1.0).ln()
}

fn negative(loss: f64, context: &RuleContext<'_>) -> Symptom {
    // Event files of other programs may contain any loss. An ELBO, a density likelihood, or a reward may be negative.
    let severity = if context.facts.classes > 0 { Severity::Critical } else { Severity::Warning };
    let figures = vec![Figure { name: "loss".into(), seen: loss, expected: "0 or more".into() }];
    let cause = format!(
        "the loss is {:.3}, but no cross-entropy, negative log-likelihood of log-probabilities, or mean square is \
         below 0: nll_loss of anything but log-probabilities falls without limit",
        Rounded(loss)
    );
    let remedies = vec![
        Remedy::advice("cross_entropy(logits, labels)", "combines log_softmax and nll_loss"),
        Remedy::advice("log_softmax before nll_loss", "nll_loss expects log-probabilities"),
    ];
    Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies }
}

fn twice(loss: f64, accuracy: f64, least: f64) -> Symptom {
    let figures = vec![
        Figure {
            name: "loss - (1 - accuracy)".into(),
            seen: loss - 1.0 + accuracy,
            expected: format!("anything but {least:.3}"),
        },
        Figure { name: "loss".into(), seen: loss, expected: format!("below {least:.3} eventually") },
    ];
    let cause = format!(
        "the loss is {loss:.3} with {:.0}% of the images correct, which is {least:.3} plus the error rate, and it was \
         never below {least:.3}: this is cross-entropy of outputs that already passed through a softmax, and it cannot \
         drop below that bound",
        100.0 * accuracy
    );
    let remedies = vec![Remedy::advice("cross_entropy(logits, labels)", "applies the softmax itself; remove yours")];
    Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{
        Facts,
        fixture::{Case, evaluation},
    };

    fn step(loss: f64) -> Observation<'static> {
        Observation { loss, ..Observation::default() }
    }

    /// Checks the rule at evaluations (training loss, training accuracy), each after `steps` steps with the loss of a
    /// guess.
    fn told_after(steps: u32, case: &Case, seen: &[(f64, f64)]) -> Vec<Option<Severity>> {
        let mut rule = WrongLoss::default();
        let judge = |&(train_loss, train_accuracy): &(f64, f64)| {
            (0..steps).for_each(|_| assert!(rule.judge(&step(2.303), &case.context()).is_none()));
            let seen = Evaluation { train_loss, train_accuracy, ..evaluation(100) };
            rule.judge_evaluation(&seen, &case.context()).map(|symptom| symptom.severity)
        };
        seen.iter().map(judge).collect()
    }

    fn judged(case: &Case, seen: &[(f64, f64)]) -> Vec<Option<Severity>> {
        told_after(75, case, seen)
    }

    #[test]
    fn a_loss_below_0_is_critical_where_it_is_of_classes_and_a_warning_where_nobody_knows() {
        let case = Case::new("loss.label_smoothing = 0.1");
        let unknown = Facts::default();
        let of_others = RuleContext { config: None, facts: &unknown, ..case.context() };
        for (context, severity) in [(case.context(), Severity::Critical), (of_others, Severity::Warning)] {
            let judge = |loss| WrongLoss::default().judge(&step(loss), &context).map(|symptom| symptom.severity);
            assert_eq!([-0.1, 0.0, -0.0, f64::NAN].map(judge), [Some(severity), None, None, None]);
            let seen = Evaluation { validation_loss: -3.0, validation_accuracy: 0.1, ..evaluation(100) };
            assert!(WrongLoss::default().judge_evaluation(&seen, &context).is_some());
        }
    }

    /// The minimum for ten classes is ln(e + 9) - 1 = 1.46117.
    const TWICE: [(f64, f64); 3] = [(1.716, 0.750), (1.680, 0.785), (1.671, 0.792)];

    #[test]
    fn a_loss_that_is_the_least_and_1_for_every_wrong_image_at_three_evaluations_has_two_softmaxes() {
        assert_eq!(judged(&Case::new(""), &TWICE), [None, None, Some(Severity::Warning)]);
        // Off the line; then on it by chance, because a calibrated network has a similar loss: 1.897 against 2.011 at
        // 45%.
        assert_eq!(judged(&Case::new(""), &TWICE.map(|(loss, accuracy)| (loss + 0.05, accuracy))), [None; 3]);
        assert_eq!(judged(&Case::new(""), &[(2.011, 0.45); 3]), [None; 3]);
        // Three evaluations within 148 steps; then epochs without steps.
        assert_eq!(told_after(74, &Case::new(""), &TWICE), [None; 3]);
        assert_eq!(told_after(0, &Case::new(""), &TWICE), [None, None, Some(Severity::Warning)]);
    }

    #[test]
    fn one_loss_beyond_the_bounds_acquits_for_good() {
        for beyond in [1.45, 2.47, f64::INFINITY] {
            let (case, mut rule) = (Case::new(""), WrongLoss::default());
            rule.judge(&step(beyond), &case.context());
            let judge = |&(train_loss, train_accuracy): &(f64, f64)| {
                let seen = Evaluation { train_loss, train_accuracy, ..evaluation(100) };
                rule.judge_evaluation(&seen, &case.context()).is_none()
            };
            assert!(TWICE.iter().all(judge), "{beyond}");
        }
    }

    #[test]
    fn smoothed_or_weighted_labels_and_unknown_classes_are_not_judged() {
        for more in ["loss.label_smoothing = 0.1", "loss.class_balance = \"balanced\""] {
            assert_eq!(judged(&Case::new(more), &TWICE), [None; 3], "{more}");
        }
        let case = Case { facts: Facts::default(), ..Case::new("") };
        assert_eq!(judged(&case, &TWICE), [None; 3]);
    }

    #[test]
    fn a_calibrated_classifier_pays_at_most_what_is_derived_by_hand() {
        // 1/2 ln 2 + 1/2 ln 2 + 1/2 ln 9; 0 if always correct; ln 4 for a guess among four classes.
        assert!((calibrated(0.5, 10) - (2f64.ln() + 3f64.ln())).abs() < 1e-12);
        assert_eq!(calibrated(1.0, 10), 0.0);
        assert!((calibrated(0.25, 4) - 4f64.ln()).abs() < 1e-12);
    }
}
