//! Momentum that sums gradients over too many steps.
//!
//! With momentum m, a gradient counts for about 1 / (1 - m) steps, and the steps of SGD are that many times as long as
//! one gradient. At 0.9 these are 10 steps, at 0.999 they are 1000: the run overshoots, and cannot turn for a thousand
//! steps. A high momentum with a rate to match trains well, so the loss decides.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::Rounded,
};

/// Momentum from which a gradient counts for 50 steps.
const HIGH: f64 = 0.98;
/// Tracked steps after which a run must have learned something.
const READINGS: u64 = 40;
/// Loss over that of the first tracked step, or over that of a guess if it is higher.
const LEAP: f64 = 1.5;
/// Consecutive tracked steps with such a loss.
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Momentum {
    leaps: u32,
}

impl Rule for Momentum {
    fn name(&self) -> RuleName {
        RuleName::Momentum
    }

    fn needs(&self) -> Ways {
        &[&[Need::StepLoss, Need::ModelConfig]]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let optimizer = &context.config?.optimizer;
        let (key, momentum) = match optimizer.name {
            // Lion's sign is of the mean with the first beta.
            name if name.has_momentum() => ("optimizer.momentum", optimizer.momentum),
            _ => ("the first of optimizer.betas", optimizer.betas[0]),
        };
        if momentum < HIGH {
            return None;
        }
        let base = context.course.first.max(context.guess());
        self.leaps = if seen.loss > LEAP * base || seen.loss.is_nan() { self.leaps + 1 } else { 0 };
        let is_late = context.course.readings() >= READINGS && context.has_learned_little(seen);
        if !is_late && self.leaps < LOOKS {
            return None;
        }
        let steps = 1.0 / (1.0 - momentum);
        let figures = vec![
            Figure { name: key.to_owned(), seen: momentum, expected: "about 0.9".into() },
            Figure { name: "loss".into(), seen: seen.loss, expected: format!("below {:.2}", Rounded(base)) },
        ];
        let cause = format!(
            "with momentum {momentum}, each gradient counts for {steps:.0} steps, so the steps overshoot and cannot \
             turn"
        );
        let mut remedies = match optimizer.name {
            name if name.has_momentum() => vec![Remedy::config("optimizer.momentum", 0.9, "averages over ten steps")],
            // The second one stays.
            _ => vec![Remedy::config("optimizer.betas", [0.9, optimizer.betas[1]], "averages over ten steps")],
        };
        remedies.extend(Remedy::lower_learning_rate(context, "makes up for longer steps"));
        Some(Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    fn is_told(more: &str, losses: f64, loss: f64) -> bool {
        let mut case = Case::with_losses([losses; 40]);
        case.config = Case::new(more).config;
        let (mut rule, seen) = (Momentum::default(), Observation { loss, ..Observation::default() });
        (0..LOOKS).any(|_| rule.judge(&seen, &case.context()).is_some())
    }

    #[test]
    fn a_high_momentum_counts_if_the_run_has_learned_nothing_or_leaps() {
        let high = "optimizer.momentum = 0.999";
        assert!(is_told(high, 2.3, 2.3) && is_told(high, 1.0, 9.0));
        assert!(!is_told(high, 0.5, 0.5), "it trains");
        assert!(!is_told("optimizer.momentum = 0.95", 2.3, 9.0));
        assert!(is_told("optimizer = { name = \"adam\", betas = [0.999, 0.999] }", 2.3, 2.3));
        assert!(!is_told("optimizer = { name = \"adam\", momentum = 0.999 }", 2.3, 2.3));
    }
}
