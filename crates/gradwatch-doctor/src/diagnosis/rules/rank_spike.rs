//! A rank whose gradient norm or loss is far from those of all other ranks in the same step, while these are as usual.
//!
//! Healthy ranks differ by the noise of their images, and which rank is farthest off is a matter of chance. So a
//! deviation counts as an outlier only if it is larger than those of all other ranks: by half more than any of theirs in
//! the current step, and in the last steps (a maximum that fades slowly), all as logarithms. This adapts to few images
//! per rank, and to the rare large losses of a network that has fitted its images.
//!
//! If ranks are alike, an outlier is on each of W ranks equally often, and the chance of k outliers in a row on one rank
//! is W^-(k-1). It takes as many of them as make this chance less than one in a hundred thousand, and at least three: a
//! single odd image is no finding. One outlier is enough if its value is a hundred times as large as any value of
//! any rank before, as after a bit flip in an exponent.
//!
//! With two ranks, the median of the step does not tell which one is off. They are compared with the last values of both.

mod track;

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{ClippingMode, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::{count, two_digits},
    statistics::RankStep,
};
use track::{EXTREME, Spike, Track};

/// Factor between a rank and the others, in either direction. Batches of a few images differ by a factor of up to 3.
pub(in super::super) const FACTOR: f64 = 4.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in super::super) struct RankSpike {
    norms: Track,
    losses: Track,
}

impl Rule for RankSpike {
    fn name(&self) -> RuleName {
        RuleName::RankSpike
    }

    fn needs(&self) -> Ways {
        &[&[Need::Ranks]]
    }

    fn start_task(&mut self) {
        *self = Self::default();
    }

    fn causes(&self) -> &'static [RuleName] {
        &[RuleName::WeightMismatch]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let statistics = seen.ranks?.recorded();
        let factor = context.thresholds.rank_spike;
        let values = |value: fn(&RankStep) -> f64| -> Vec<Option<f64>> {
            statistics.ranks.iter().map(|rank| (rank.images > 0).then(|| value(rank))).collect()
        };
        let norm = self.norms.add(&values(|rank| rank.norm), factor);
        let loss = self.losses.add(&values(|rank| rank.loss), factor);
        let (what, spike) = norm.map(|spike| ("gradient norm", spike)).or_else(|| loss.map(|spike| ("loss", spike)))?;
        Some(symptom(what, spike, factor, seen.step, statistics.ranks.len(), context))
    }
}

fn symptom(what: &str, spike: Spike, factor: f64, step: u64, world: usize, context: &RuleContext<'_>) -> Symptom {
    let name = context.facts.rank_name(spike.rank);
    let usual = if world == 2 { "the usual one of both ranks" } else { "the median of all ranks" };
    let figures = vec![
        Figure {
            name: format!("{what} of rank {} over {usual}", spike.rank),
            seen: spike.factor,
            expected: format!("{} to {}", two_digits(1.0 / factor), two_digits(factor)),
        },
        Figure { name: format!("{what} of rank {}", spike.rank), seen: spike.value, expected: String::new() },
    ];
    let (how_often, remedies) = if spike.is_extreme {
        let remedies = vec![Remedy::advice(
            &format!("test the memory and the device of {name}"),
            "a single value that is so far off is usually a bit flip",
        )];
        (format!(", and more than {EXTREME} times as large as any before"), remedies)
    } else {
        let remedies = vec![Remedy::advice(
            &format!("compare the images and labels of {name} with those of the other ranks"),
            "a rank that stays apart usually has other data or preprocessing",
        )];
        (format!(", as in {} of the last {}", spike.outliers, count(spike.steps, "tracked step")), remedies)
    };
    let clip = context.config.filter(|config| config.clipping.mode == ClippingMode::None && spike.factor > 1.0);
    let clip = clip.map(|_| Remedy::config("clipping.mode", "norm", "limits the step that one rank can cause"));
    let cause = format!(
        "the {what} of {name} at step {step} is {} times {usual}{how_often}, while the other ranks are as usual",
        two_digits(spike.factor)
    );
    let (layers, ranks) = (Vec::new(), vec![spike.rank]);
    Symptom {
        severity: Severity::Warning,
        layers,
        ranks,
        figures,
        cause,
        remedies: remedies.into_iter().chain(clip).collect(),
    }
}

#[cfg(test)]
mod tests;
