//! Frozen layers that were never trained.
//!
//! Freezing pretrained layers and training the last one is common. Frozen layers with random weights only mix up the
//! images for the layers that train.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Figure, Observation, Remedy, Severity, Symptom},
};

/// Fraction of the parameters to mention.
const MOST: f64 = 0.5;
/// Accuracy from which a run with frozen random layers is fine, as a fraction of the way from a guess to 1.
const FINE: f64 = 0.8;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct FrozenParameters {}

impl Rule for FrozenParameters {
    fn name(&self) -> RuleName {
        RuleName::FrozenParameters
    }

    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts, Need::ModelConfig]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let frozen = context.facts.frozen_fraction;
        (seen.step == 0 && frozen > MOST).then(|| symptom(Severity::Info, frozen, context))
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
        let (frozen, chance) = (context.facts.frozen_fraction, context.most_frequent()?);
        let accuracy = seen.train_accuracy.max(seen.validation_accuracy);
        let is_poor = accuracy < chance + FINE * (1.0 - chance);
        (frozen > MOST && is_poor && is_random(context)).then(|| symptom(Severity::Warning, frozen, context))
    }
}

/// Whether the frozen layers are known to have random weights.
fn is_random(context: &RuleContext<'_>) -> bool {
    context.model().is_some_and(|model| model.weights.is_none())
}

fn symptom(severity: Severity, frozen: f64, context: &RuleContext<'_>) -> Symptom {
    let figures =
        vec![Figure { name: "fraction of the parameters that are frozen".into(), seen: frozen, expected: "0".into() }];
    let percent = 100.0 * frozen;
    let (cause, remedies) = if is_random(context) {
        let cause = format!("{percent:.1}% of the parameters are frozen at their random initialization");
        (
            cause,
            vec![
                Remedy::config("optimizer.groups", [], "trains all layers"),
                Remedy::advice("model.weights = \"FILE\"", "freezes trained layers instead of random ones"),
            ],
        )
    } else {
        (format!("{percent:.1}% of the parameters are frozen, so only the others train"), Vec::new())
    };
    Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    #[test]
    fn frozen_layers_are_mentioned_and_frozen_random_layers_of_a_poor_run_are_a_problem() {
        let mut case = Case::new("");
        let at_start = |case: &Case| {
            FrozenParameters::default().judge(&Observation::default(), &case.context()).map(|symptom| symptom.severity)
        };
        let later = |case: &Case, accuracy: f64| {
            let seen = Evaluation { validation_accuracy: accuracy, ..evaluation(40) };
            FrozenParameters::default().judge_evaluation(&seen, &case.context()).map(|symptom| symptom.severity)
        };
        assert_eq!((at_start(&case), later(&case, 0.3)), (None, None));
        case.facts.frozen_fraction = 0.99;
        assert_eq!(at_start(&case), Some(Severity::Info));
        assert_eq!((later(&case, 0.3), later(&case, 0.95)), (Some(Severity::Warning), None));
        case.config.model.weights = Some("net.pth".into());
        assert_eq!((at_start(&case), later(&case, 0.3)), (Some(Severity::Info), None));
    }
}
