//! Parameters that the loss does not depend on: they have no gradient and are not trained.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
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

    fn judge(&mut self, seen: &Observation<'_>, _known: &Known<'_>) -> Option<Symptom> {
        // At later steps, a model may leave out a part on purpose.
        let gradients = seen.gradients.filter(|_| seen.step == 0);
        let missing = gradients.map(|gradients| &gradients.missing).filter(|missing| !missing.is_empty())?;
        let figures = vec![Figure {
            name: "parameters without a gradient".into(),
            seen: missing.len() as f64,
            expected: "0".into(),
        }];
        let cause = format!(
            "{} parameter(s) got no gradient, first {}: the loss does not depend on them, so they are not trained",
            missing.len(),
            missing[0]
        );
        Some(Symptom { severity: Severity::Warning, layers: missing.clone(), figures, cause, remedies: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::fixture::{Case, gradients},
        gradient::GradientStatistics,
    };

    #[test]
    fn parameters_that_backward_did_not_reach_are_named() {
        let case = Case::new("");
        let judge = |missing: &[&str]| {
            let missing = missing.iter().map(|&name| name.into()).collect();
            let gradients = GradientStatistics { missing, ..gradients(&[]) };
            let seen = Observation { gradients: Some(&gradients), ..Observation::default() };
            MissingGradient::default().judge(&seen, &case.known())
        };
        assert!(judge(&[]).is_none());
        let symptom = judge(&["head.weight", "head.bias"]).unwrap();
        assert!(symptom.cause.starts_with("2 parameter(s) got no gradient, first head.weight"));
    }
}
