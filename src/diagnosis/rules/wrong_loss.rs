//! A loss that does not go with what the net puts out: no logarithm of probabilities, or a softmax taken twice.
//!
//! Cross entropy, the negative likelihood of log-probabilities and a mean square are never below 0, whatever weighs or smooths the
//! labels. nll_loss of logits or probabilities is, and of logits it falls without end.
//!
//! Cross entropy takes a softmax of its own. Of outputs that went through one already it is ln(sum of e^p) - p of the label, with
//! all p from 0 to 1: at least ln(e + C - 1) - 1 (1.461 for ten classes), and at most 1 more. UMLAUT (CHI 2021) finds it in the
//! layers; here the loss gives it away. Learning drives every p to 0 or 1, so that an image that is right costs the least and one
//! that is wrong 1 more: the loss is the least + 1 - accuracy. Means over an epoch are so to within 0.013, from the second on to
//! within 0.01 (Fashion-MNIST, MLP and CNN, SGD and Adam). A healthy net crosses that line once on its way down, and is off it
//! by 0.06 again after 100 steps even at 1/500 of the right learning rate.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
use crate::{
    config::{ClassBalance, RuleName},
    diagnosis::{Evaluation, Figure, Observation, Remedy, Severity, Symptom},
};

/// How far the loss may be from the least + 1 - accuracy.
const OFF_LINE: f64 = 0.015;
/// The most that a calibrated classifier of this accuracy pays, over the loss: at the loss of a guess both are the same.
const UNSURE: f64 = 0.9;
/// Evaluations in a row, and readings from the first of them to the last, where there are any: nobody stays on the line for so long
/// by chance.
const LOOKS: u32 = 3;
const READINGS: u64 = 150;
/// Beyond the bounds of the loss, for the rounding of files and of low precision.
const ROUNDING: f64 = 1e-3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct WrongLoss {
    /// Whether a loss was where that of a softmax taken twice cannot be.
    has_left: bool,
    readings: u64,
    looks: u32,
    /// Readings before the first of these.
    first: u64,
}

impl Rule for WrongLoss {
    fn name(&self) -> RuleName {
        RuleName::WrongLoss
    }

    fn judge(&mut self, seen: &Observation<'_>, known: &Known<'_>) -> Option<Symptom> {
        self.look_at(seen.loss, known);
        self.readings += 1;
        (seen.loss < 0.0).then(|| negative(seen.loss, known))
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, known: &Known<'_>) -> Option<Symptom> {
        let of_training = (seen.train_loss, seen.train_accuracy);
        let (loss, accuracy) =
            if of_training.1.is_nan() { (seen.validation_loss, seen.validation_accuracy) } else { of_training };
        self.look_at(loss, known);
        if loss < 0.0 {
            return Some(negative(loss, known));
        }
        let least = least(known)?;
        let line = least + 1.0 - accuracy;
        let is_unsure = calibrated(accuracy, known.facts.classes) < UNSURE * loss;
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
    fn look_at(&mut self, loss: f64, known: &Known<'_>) {
        if let Some(least) = least(known).filter(|_| !loss.is_nan()) {
            self.has_left |= loss < least - ROUNDING || loss > least + 1.0 + ROUNDING;
        }
    }
}

/// The least that cross entropy over probabilities can be; `None` where classes are unknown, or labels are smoothed or weighted.
fn least(known: &Known<'_>) -> Option<f64> {
    let is_plain = known
        .config
        .is_none_or(|config| config.loss.label_smoothing == 0.0 && config.loss.class_balance == ClassBalance::None);
    let classes = known.facts.classes;
    (is_plain && classes >= 2).then(|| (std::f64::consts::E + classes as f64 - 1.0).ln() - 1.0)
}

/// The most that a classifier pays that is right as often as it says, this often: the entropy of being right, and of the other
/// classes where it is not.
fn calibrated(accuracy: f64, classes: usize) -> f64 {
    let entropy = |share: f64| if share > 0.0 { -share * share.ln() } else { 0.0 };
    let wrong = 1.0 - accuracy;
    entropy(accuracy) + entropy(wrong) + wrong * (classes as f64 - 1.0).ln()
}

fn negative(loss: f64, known: &Known<'_>) -> Symptom {
    // Files of others may be of anything: an ELBO, a likelihood of densities and a reward are below 0 by right.
    let severity = if known.facts.classes > 0 { Severity::Critical } else { Severity::Warning };
    let figures = vec![Figure { name: "loss".into(), seen: loss, expected: "0 or more".into() }];
    let cause = format!(
        "the loss is {loss:.3}, and no cross entropy, likelihood of log-probabilities or mean square is below 0: nll_loss of what \
         is no logarithm of probabilities falls without end"
    );
    let remedies = vec![
        Remedy::new("cross_entropy(logits, labels)", "log_softmax and nll_loss in one"),
        Remedy::new("log_softmax before nll_loss", "it wants logarithms of probabilities"),
    ];
    Symptom { severity, layers: Vec::new(), figures, cause, remedies }
}

fn twice(loss: f64, accuracy: f64, least: f64) -> Symptom {
    let figures = vec![
        Figure {
            name: "loss less 1 - accuracy".into(),
            seen: loss - 1.0 + accuracy,
            expected: format!("anything but {least:.3}"),
        },
        Figure { name: "loss".into(), seen: loss, expected: format!("below {least:.3} in time") },
    ];
    let cause = format!(
        "the loss is {loss:.3} where {:.0} % of the images are right, {least:.3} and 1 for every wrong one, and was never below \
         {least:.3}: that is cross entropy over outputs that went through a softmax already, and cannot fall further",
        100.0 * accuracy
    );
    let remedies = vec![Remedy::new("cross_entropy(logits, labels)", "it takes the softmax itself; none before it")];
    Symptom { severity: Severity::Warning, layers: Vec::new(), figures, cause, remedies }
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

    /// What is said at each evaluation, (training loss, training accuracy), each after so many steps with the loss of a guess.
    fn told_after(steps: u32, case: &Case, seen: &[(f64, f64)]) -> Vec<Option<Severity>> {
        let mut rule = WrongLoss::default();
        let judge = |&(train_loss, train_accuracy): &(f64, f64)| {
            (0..steps).for_each(|_| assert!(rule.judge(&step(2.303), &case.known()).is_none()));
            let seen = Evaluation { train_loss, train_accuracy, ..evaluation(100) };
            rule.judge_evaluation(&seen, &case.known()).map(|symptom| symptom.severity)
        };
        seen.iter().map(judge).collect()
    }

    fn told(case: &Case, seen: &[(f64, f64)]) -> Vec<Option<Severity>> {
        told_after(75, case, seen)
    }

    #[test]
    fn a_loss_below_0_is_critical_where_it_is_of_classes_and_a_warning_where_nobody_knows() {
        let case = Case::new("loss.label_smoothing = 0.1");
        let unknown = Facts::default();
        let of_others = Known { config: None, facts: &unknown, ..case.known() };
        for (known, severity) in [(case.known(), Severity::Critical), (of_others, Severity::Warning)] {
            let judge = |loss| WrongLoss::default().judge(&step(loss), &known).map(|symptom| symptom.severity);
            assert_eq!([-0.1, 0.0, -0.0, f64::NAN].map(judge), [Some(severity), None, None, None]);
            let seen = Evaluation { validation_loss: -3.0, validation_accuracy: 0.1, ..evaluation(100) };
            assert!(WrongLoss::default().judge_evaluation(&seen, &known).is_some());
        }
    }

    /// Ten classes: the least is ln(e + 9) - 1 = 1.46117.
    const TWICE: [(f64, f64); 3] = [(1.716, 0.750), (1.680, 0.785), (1.671, 0.792)];

    #[test]
    fn a_loss_that_is_the_least_and_1_for_every_wrong_image_at_three_evaluations_has_two_softmaxes() {
        assert_eq!(told(&Case::new(""), &TWICE), [None, None, Some(Severity::Warning)]);
        // Off the line, and on it by chance where a calibrated net pays as much: 1.897 against 2.011 at 45 %.
        assert_eq!(told(&Case::new(""), &TWICE.map(|(loss, accuracy)| (loss + 0.05, accuracy))), [None; 3]);
        assert_eq!(told(&Case::new(""), &[(2.011, 0.45); 3]), [None; 3]);
        // Three looks within 148 steps, and epochs without steps.
        assert_eq!(told_after(74, &Case::new(""), &TWICE), [None; 3]);
        assert_eq!(told_after(0, &Case::new(""), &TWICE), [None, None, Some(Severity::Warning)]);
    }

    #[test]
    fn one_loss_beyond_the_bounds_acquits_for_good() {
        for beyond in [1.45, 2.47, f64::INFINITY] {
            let (case, mut rule) = (Case::new(""), WrongLoss::default());
            rule.judge(&step(beyond), &case.known());
            let judge = |&(train_loss, train_accuracy): &(f64, f64)| {
                let seen = Evaluation { train_loss, train_accuracy, ..evaluation(100) };
                rule.judge_evaluation(&seen, &case.known()).is_none()
            };
            assert!(TWICE.iter().all(judge), "{beyond}");
        }
    }

    #[test]
    fn smoothed_or_weighted_labels_and_unknown_classes_are_not_judged() {
        for more in ["loss.label_smoothing = 0.1", "loss.class_balance = \"balanced\""] {
            assert_eq!(told(&Case::new(more), &TWICE), [None; 3], "{more}");
        }
        let case = Case { facts: Facts::default(), ..Case::new("") };
        assert_eq!(told(&case, &TWICE), [None; 3]);
    }

    #[test]
    fn a_calibrated_classifier_pays_at_most_what_is_derived_by_hand() {
        // 1/2 ln 2 + 1/2 ln 2 + 1/2 ln 9; nothing where it is always right; a guess among four costs ln 4.
        assert!((calibrated(0.5, 10) - (2f64.ln() + 3f64.ln())).abs() < 1e-12);
        assert_eq!(calibrated(1.0, 10), 0.0);
        assert!((calibrated(0.25, 4) - 4f64.ln()).abs() < 1e-12);
    }
}
