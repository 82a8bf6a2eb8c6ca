//! First loss compared with that of a random guess, which is ln C for C classes, and ln 2 for binary cross-entropy.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{ClassBalance, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::Rounded,
};

/// First loss over ln C. Torch's default initialization is within 5% of 1; He's with standardized images reaches up to
/// 2.
pub(in super::super) const TOO_LARGE: f64 = 4.0;
/// Without a data leak, the model cannot know the labels before the first step.
const TOO_SMALL: f64 = 0.5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct InitialLoss {}

impl Rule for InitialLoss {
    fn name(&self) -> RuleName {
        RuleName::InitialLoss
    }

    fn needs(&self) -> Ways {
        &[&[Need::StepLoss, Need::Classes]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::Exploding,
            RuleName::LabelSmoothing,
        ]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        // The weighted loss of one batch is not a mean over the classes.
        let is_weighted = context.config.is_some_and(|config| config.loss.class_balance != ClassBalance::None);
        if seen.step > 0 || is_weighted || !seen.loss.is_finite() {
            return None;
        }
        let outcomes = if context.has_binary_loss() { 2 } else { context.facts.classes };
        let guess = (outcomes as f64).ln();
        if context.facts.classes < 2 {
            return None;
        }
        // Pretrained weights may already know the labels.
        let is_drawn = context.model().is_none_or(|model| model.weights.is_none());
        let ratio = seen.loss / guess;
        let loss = Rounded(seen.loss);
        let (cause, remedies) = if ratio > context.thresholds.initial_loss {
            let cause = format!(
                "the first loss is {loss:.2}, but a random guess costs {guess:.2}: the logits are large before any \
                 training, because the weights or the images are too large"
            );
            let images = Remedy::config("data.normalize", "computed", "scales the images to mean 0 and variance 1");
            let weights = Remedy::config("model.initialization", "default", "gives the last layer small weights");
            (cause, vec![images, weights])
        } else if ratio < TOO_SMALL && is_drawn {
            let cause = format!(
                "the first loss is {loss:.2}, but a random guess costs {guess:.2}: the weights already know the \
                 labels, or the images contain them"
            );
            (cause, Vec::new())
        } else {
            return None;
        };
        let figures = vec![Figure {
            name: "first loss".into(),
            seen: seen.loss,
            expected: format!("about ln {outcomes} = {guess:.2}"),
        }];
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    fn is_told(step: u64, loss: f64, more: &str) -> bool {
        let case = Case::new(more);
        let seen = Observation { step, loss, ..Observation::default() };
        InitialLoss::default().judge(&seen, &case.context()).is_some()
    }

    #[test]
    fn a_first_loss_far_from_that_of_a_guess_is_told() {
        assert!(!is_told(0, 2.3, "") && !is_told(0, 5.0, ""));
        assert!(is_told(0, 9.3, "") && is_told(0, 1.0, ""));
        assert!(!is_told(1, 9.3, "") && !is_told(0, f64::NAN, ""));
        assert!(!is_told(0, 9.3, "loss.class_balance = \"balanced\""));
        assert!(!is_told(0, 1.0, "model.weights = \"a.pth\"") && is_told(0, 9.3, "model.weights = \"a.pth\""));
    }
}
