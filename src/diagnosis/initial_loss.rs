//! The first loss against that of a guess at random, which is ln C for C classes.

use serde::{Deserialize, Serialize};

use super::{Figure, Observation, Remedy, Rule, RuleName, Severity, Subject, Symptom};
use crate::config::ClassBalance;

/// The first loss over ln C. Torch's default initialization is within 5 % of 1, He's with standardised images at up to 2.
const TOO_LARGE: f64 = 4.0;
/// Nobody knows the labels before the first step.
const TOO_SMALL: f64 = 0.5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct InitialLoss {}

impl Rule for InitialLoss {
    fn name(&self) -> RuleName {
        RuleName::InitialLoss
    }

    fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Option<Symptom> {
        // A weighted loss of one batch is no mean over the classes.
        if seen.step > 0 || subject.config.loss.class_balance != ClassBalance::None || !seen.loss.is_finite() {
            return None;
        }
        let guess = (subject.classes as f64).ln();
        let ratio = seen.loss / guess;
        let loss = seen.loss;
        let (cause, remedies) = if ratio > TOO_LARGE {
            let cause = format!(
                "the first loss is {loss:.2}, and a guess at random costs {guess:.2}: the logits are large before anything is \
                 learned, from weights or images that are too large"
            );
            let images = Remedy::new("data.normalize = \"computed\"", "images of mean 0 and standard deviation 1");
            let weights = Remedy::new("model.initialization = \"default\"", "a last layer with small weights");
            (cause, vec![images, weights])
        } else if ratio < TOO_SMALL {
            let cause = format!(
                "the first loss is {loss:.2}, and a guess at random costs {guess:.2}: the weights know the labels already, or \
                 the images give them away"
            );
            (cause, Vec::new())
        } else {
            return None;
        };
        let figures = vec![Figure {
            name: "first loss".into(),
            seen: loss,
            expected: format!("about ln {} = {guess:.2}", subject.classes),
        }];
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::config, *};

    fn is_told(step: u64, loss: f64, more: &str) -> bool {
        let config = config(more);
        let seen = Observation { step, loss, ..Observation::default() };
        InitialLoss::default().judge(&seen, &Subject { config: &config, classes: 10 }).is_some()
    }

    #[test]
    fn a_first_loss_far_from_that_of_a_guess_is_told() {
        assert!(!is_told(0, 2.3, "") && !is_told(0, 5.0, ""));
        assert!(is_told(0, 9.3, "") && is_told(0, 1.0, ""));
        assert!(!is_told(1, 9.3, "") && !is_told(0, f64::NAN, ""));
        assert!(!is_told(0, 9.3, "loss.class_balance = \"balanced\""));
    }
}
