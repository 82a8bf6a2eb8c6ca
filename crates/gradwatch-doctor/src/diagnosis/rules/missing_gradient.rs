//! Parameters that the loss does not depend on: they have no gradient and are not trained.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Severity, Symptom},
};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct MissingGradient {}

impl Rule for MissingGradient {
    fn name(&self) -> RuleName {
        RuleName::MissingGradient
    }

    fn needs(&self) -> Ways {
        &[&[Need::Gradients, Need::InitialFacts]]
    }

    fn judge(&mut self, seen: &Observation<'_>, _context: &RuleContext<'_>) -> Option<Symptom> {
        // At later steps, a model may leave out a part on purpose.
        let gradients = seen.gradients.filter(|_| seen.step == 0);
        let missing = gradients.map(|gradients| &gradients.missing).filter(|missing| !missing.is_empty())?;
        let figures = vec![Figure {
            name: "parameters without a gradient".into(),
            seen: missing.len() as f64,
            expected: "0".into(),
        }];
        let cause = match &missing[..] {
            [one] => format!("{one} got no gradient: the loss does not depend on it, so it is not trained"),
            all => format!(
                "{} parameters got no gradient, first {}: the loss does not depend on them, so they are not trained",
                all.len(),
                all[0]
            ),
        };
        Some(Symptom {
            severity: Severity::Warning,
            layers: missing.clone(),
            ranks: Vec::new(),
            figures,
            cause,
            remedies: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::fixture::{Case, gradients},
        statistics::GradientStatistics,
    };

    #[test]
    fn parameters_that_backward_did_not_reach_are_named() {
        let case = Case::new("");
        let judge = |missing: &[&str]| {
            let missing = missing.iter().map(|&name| name.into()).collect();
            let gradients = GradientStatistics { missing, ..gradients(&[]) };
            let seen = Observation { gradients: Some(&gradients), ..Observation::default() };
            MissingGradient::default().judge(&seen, &case.context())
        };
        assert!(judge(&[]).is_none());
        let symptom = judge(&["head.weight", "head.bias"]).unwrap();
        assert!(symptom.cause.starts_with("2 parameters got no gradient, first head.weight"));
        assert!(judge(&["head.bias"]).unwrap().cause.starts_with("head.bias got no gradient: "));
    }
}
