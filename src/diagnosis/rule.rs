//! The rules: what follows from what, and all of them together.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::{
    Observation, Subject, Symptom, dead_relu::DeadRelu, exploding::Exploding, initial_loss::InitialLoss,
    missing_gradient::MissingGradient, non_finite::NonFinite, saturated::Saturated, update_ratio::UpdateRatio,
    vanishing::Vanishing,
};
use crate::config::RuleName;

/// Whether one is what a run shows that has the other fault.
pub(super) fn follows_from(symptom: RuleName, cause: RuleName) -> bool {
    match symptom {
        RuleName::NonFinite => matches!(cause, RuleName::Exploding | RuleName::UpdateRatio),
        RuleName::Vanishing => cause == RuleName::DeadRelu,
        RuleName::Exploding => cause == RuleName::UpdateRatio,
        _ => false,
    }
}

/// One way in which a run goes wrong. What a rule remembers is part of a checkpoint.
pub trait Rule: Debug {
    /// Its name.
    fn name(&self) -> RuleName;

    /// What it sees at this step, if anything.
    fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Option<Symptom>;
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Rules {
    missing_gradient: MissingGradient,
    initial_loss: InitialLoss,
    dead_relu: DeadRelu,
    saturated: Saturated,
    vanishing: Vanishing,
    update_ratio: UpdateRatio,
    exploding: Exploding,
    non_finite: NonFinite,
}

impl Rules {
    /// Causes before what follows from them.
    pub(super) fn in_order(&mut self) -> [&mut dyn Rule; 8] {
        [
            &mut self.missing_gradient,
            &mut self.initial_loss,
            &mut self.dead_relu,
            &mut self.saturated,
            &mut self.vanishing,
            &mut self.update_ratio,
            &mut self.exploding,
            &mut self.non_finite,
        ]
    }
}
