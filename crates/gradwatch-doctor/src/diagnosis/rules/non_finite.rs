//! NaN or infinite gradients. They never reach the weights, but their cause does not go away by itself.
//!
//! A sum over ranks is not finite on any rank if one of its summands is not. The local gradients, before they are summed,
//! tell which rank it was.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{ClippingMode, Precision, RuleName},
    diagnosis::{Figure, Finding, Observation, Remedy, Severity, Symptom},
    statistics::RankPlace,
};

/// Steps with finite gradients after which a run that learns has recovered.
const QUIET: u64 = 100;
/// This many consecutive steps end most runs.
const IN_A_ROW: u64 = 3;
/// Most images and micro-batches to name. `metrics.jsonl` has all of them.
const NAMED: usize = 8;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct NonFinite {}

impl Rule for NonFinite {
    fn name(&self) -> RuleName {
        RuleName::NonFinite
    }

    fn needs(&self) -> Ways {
        &[&[Need::TotalNorm], &[Need::StepLoss]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::GradientAccumulation,
            RuleName::LearningRate,
            RuleName::UpdateRatio,
            RuleName::Exploding,
            RuleName::WeightDecay,
            RuleName::Momentum,
            RuleName::Dropout,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
        ]
    }

    fn recovery(&self, finding: &Finding, step: u64, context: &RuleContext<'_>) -> Option<String> {
        let level = context.learned().filter(|_| step >= finding.last_step + QUIET)?;
        Some(format!("all gradients have been finite for {QUIET} steps, and the loss has fallen to {level:.3}"))
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let in_a_row = seen.skipped_in_a_row;
        let severity = match in_a_row {
            0 => return None,
            count if count < IN_A_ROW => Severity::Warning,
            _ => Severity::Critical,
        };
        let first = seen.gradients.and_then(|gradients| gradients.first_non_finite());
        let is_of_update = seen.has_finite_gradient();
        // Event files of other programs may have a loss and no gradient.
        let is_of_loss = first.is_none() && seen.total_norm == 0.0 && !seen.loss.is_finite();
        let of_rank = seen.ranks.and_then(|ranks| ranks.non_finite.as_ref()).filter(|_| !is_of_update);
        let place = match (of_rank, first) {
            _ if is_of_update => "the update of a finite gradient".to_owned(),
            (Some(place), _) => local_gradient(place, seen.step, context),
            (None, Some(first)) => format!("the gradient of {}", first.name),
            (None, None) if is_of_loss => "the loss".to_owned(),
            (None, None) => "the gradient".to_owned(),
        };
        let what =
            if is_of_loss { "consecutive steps with a loss that is not finite" } else { "consecutive skipped steps" };
        let figures = vec![Figure { name: what.into(), seen: in_a_row as f64, expected: "0".into() }];
        let how_often = if in_a_row == 1 { String::new() } else { format!(", {in_a_row} steps in a row") };
        // Other programs take such steps.
        let handling = match context.config {
            Some(_) => "; such steps are skipped",
            None => "; a step with such values destroys the weights",
        };
        let cause = format!("{place} is not finite{how_often}{handling}");
        let layer = of_rank.map(|place| &place.parameter).or_else(|| first.map(|first| &first.name));
        Some(Symptom {
            severity,
            layers: layer.cloned().into_iter().collect(),
            ranks: of_rank.map(|place| place.rank).into_iter().collect(),
            figures,
            cause,
            remedies: remedies(seen, of_rank, context),
        })
    }
}

fn remedies(seen: &Observation<'_>, of_rank: Option<&RankPlace>, context: &RuleContext<'_>) -> Vec<Remedy> {
    let is_of_gradient = !seen.has_finite_gradient();
    let mut remedies = Vec::new();
    // A cause that all ranks share reaches all of them within a few steps, if not in the same one.
    if let Some(place) = of_rank.filter(|place| are_others_finite(place.rank, seen)) {
        let name = context.facts.rank_name(place.rank);
        remedies.push(Remedy::advice(
            &format!("compute the gradient of these images on another rank than {name}"),
            "a finite gradient there points to the device or memory of this rank, and NaN to the images",
        ));
    }
    if is_of_gradient && context.config.is_some_and(|config| config.clipping.mode == ClippingMode::None) {
        remedies.push(Remedy::config(
            "clipping.mode",
            "norm",
            "clips a gradient that is too large before it overflows",
        ));
    }
    remedies.extend(Remedy::lower_learning_rate(context, "makes the weights grow more slowly"));
    if is_of_gradient && context.config.is_some_and(|config| config.run.precision == Precision::Fp16) {
        remedies.push(Remedy::config("run.precision", "bf16", "has the range of float32"));
    }
    remedies
}

/// Whether the local gradients of all other ranks with images are finite.
fn are_others_finite(rank: usize, seen: &Observation<'_>) -> bool {
    let ranks = seen.ranks.map_or(&[][..], |statistics| &statistics.ranks);
    let others = ranks.iter().enumerate().filter(|(other, step)| *other != rank && step.images > 0);
    let mut norms = others.map(|(_, step)| step.norm).peekable();
    norms.peek().is_some() && norms.all(f64::is_finite)
}

/// The gradient of a rank before the sum over the ranks: rank, parameter, step, micro-batches, and images.
fn local_gradient(place: &RankPlace, step: u64, context: &RuleContext<'_>) -> String {
    let RankPlace { rank, parameter, micro_batches, images } = place;
    let parts = [
        listed("micro-batch", "micro-batches", micro_batches.iter().map(|&index| index as u64)),
        listed("image", "images", images.iter().map(|&index| index.into())),
    ];
    let parts = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let parts = if parts.is_empty() { String::new() } else { format!(" ({parts})") };
    let name = context.facts.rank_name(*rank);
    format!("the gradient of {parameter} at step {step} on {name}{parts}, before the sum over the ranks,")
}

/// Up to eight numbers with their noun: `images 3, 8`; `None` without any.
fn listed(one: &str, several: &str, mut numbers: impl ExactSizeIterator<Item = u64>) -> Option<String> {
    let noun = if numbers.len() == 1 { one } else { several };
    let named = numbers.by_ref().take(NAMED).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    match numbers.len() {
        _ if named.is_empty() => None,
        0 => Some(format!("{noun} {named}")),
        more => Some(format!("{noun} {named} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{RankFacts, fixture::Case},
        statistics::{RankStatistics, RankStep},
    };

    fn severity(more: &str, skipped_in_a_row: u64) -> Option<Severity> {
        let case = Case::new(more);
        let seen = Observation { skipped_in_a_row, ..Observation::default() };
        NonFinite::default().judge(&seen, &case.context()).map(|symptom| symptom.severity)
    }

    #[test]
    fn one_is_a_warning_and_three_in_a_row_are_critical() {
        assert_eq!(
            [0, 1, 2, 3].map(|count| severity("", count)),
            [None, Some(Severity::Warning), Some(Severity::Warning), Some(Severity::Critical)]
        );
    }

    #[test]
    fn a_loss_scale_that_looks_for_its_size_is_healthy() {
        // The gradient overflows, but the step does not count as skipped.
        let case = Case::new("run.precision = \"fp16\"");
        let seen = Observation { total_norm: f64::INFINITY, skipped_in_a_row: 0, ..Observation::default() };
        assert_eq!(NonFinite::default().judge(&seen, &case.context()), None);
        assert_eq!(severity("run.precision = \"fp16\"", 3), Some(Severity::Critical));
    }

    #[test]
    fn a_gradient_that_is_finite_is_not_what_was_wrong_with_a_step() {
        let case = Case::new("");
        let seen = Observation { total_norm: 1e3, skipped_in_a_row: 1, ..Observation::default() };
        let symptom = NonFinite::default().judge(&seen, &case.context()).unwrap();
        assert!(
            symptom.cause.starts_with("the update of a finite gradient is not finite; such steps"),
            "{}",
            symptom.cause
        );
        let keys: Vec<String> = symptom.remedies.iter().map(|remedy| remedy.change.to_string()).collect();
        assert!(!keys.iter().any(|key| key.contains("clipping")), "{keys:?}");
    }

    #[test]
    fn the_rank_is_named_with_host_device_parameter_micro_batches_and_images() {
        let mut case = Case::new("");
        case.facts.ranks = vec![RankFacts { host: "node-a".into(), device: "cuda:1".into() }; 2];
        let judge = |norms: [f64; 2], images: Vec<u32>| {
            let rank = |norm| RankStep { images: 8, norm, ..RankStep::default() };
            let place = RankPlace { rank: 1, parameter: "fc.weight".into(), micro_batches: vec![2], images };
            let ranks = RankStatistics {
                ranks: norms.map(rank).to_vec(),
                non_finite: Some(place),
                ..RankStatistics::default()
            };
            let seen = Observation {
                step: 40,
                skipped_in_a_row: 1,
                total_norm: f64::NAN,
                ranks: Some(&ranks),
                ..Observation::default()
            };
            NonFinite::default().judge(&seen, &case.context()).unwrap()
        };
        let symptom = judge([1.0, f64::NAN], vec![17, 4]);
        assert_eq!(
            symptom.cause,
            "the gradient of fc.weight at step 40 on rank 1 (host node-a, cuda:1) (micro-batch 2, images 17, 4), before \
             the sum over the ranks, is not finite; such steps are skipped"
        );
        assert_eq!((&*symptom.layers[0], &symptom.ranks[..]), ("fc.weight", &[1][..]));
        assert!(symptom.remedies[0].change.to_string().contains("on another rank than rank 1 (host node-a"));
        // If other ranks are not finite either, no device is to blame.
        let symptom = judge([f64::INFINITY, f64::NAN], (0..11).collect());
        assert!(symptom.cause.contains("images 0, 1, 2, 3, 4, 5, 6, 7 and 3 more)"), "{}", symptom.cause);
        assert!(!symptom.remedies[0].change.to_string().contains("another rank"));
    }
}
