//! Training that waits for images.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Fraction of the time spent waiting.
const SHARE: f64 = 0.3;
/// Number of tracked steps to average over.
const READINGS: u32 = 200;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Starvation {
    // The wait time on one machine says nothing about another, so a checkpoint does not keep it.
    #[serde(skip)]
    sum: f64,
    #[serde(skip)]
    readings: u32,
}

impl Rule for Starvation {
    fn name(&self) -> RuleName {
        RuleName::Starvation
    }

    fn needs(&self) -> Ways {
        &[&[Need::WaitTime]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        (self.sum, self.readings) = (self.sum + seen.wait_fraction?, self.readings + 1);
        if self.readings < READINGS {
            return None;
        }
        let share = self.sum / f64::from(self.readings);
        (self.sum, self.readings) = (0.0, 0);
        if share <= SHARE {
            return None;
        }
        let figures = vec![Figure {
            name: "share of the time spent waiting for images".into(),
            seen: share,
            expected: "about 0".into(),
        }];
        let cause = format!(
            "training waits for images {:.0}% of the time: decoding and augmentation are too slow",
            100.0 * share
        );
        let remedies = context.config.map(|config| {
            let more = 2 * config.data.workers.max(1);
            Remedy::config("data.workers", more, "decodes and augments images with more threads")
        });
        Some(Symptom {
            severity: Severity::Info,
            layers: Vec::new(),
            ranks: Vec::new(),
            figures,
            cause,
            remedies: remedies.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    #[test]
    fn half_of_the_time_over_200_readings_is_told() {
        let told_at = |share: f64| {
            let (case, mut rule) = (Case::new(""), Starvation::default());
            let seen = Observation { wait_fraction: Some(share), ..Observation::default() };
            (0..500).position(|_| rule.judge(&seen, &case.context()).is_some())
        };
        assert_eq!((told_at(0.5), told_at(0.1)), (Some(199), None));
    }
}
