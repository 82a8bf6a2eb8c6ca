//! Exploding gradients, from layer to layer or from step to step, before any value is NaN.
//!
//! In healthy training, the total norm varies by a small factor. The robust z-score of its logarithm (median and median
//! absolute deviation of the last tracked steps) detects a spike at any scale. For the depth profile, the critical
//! threshold is the inverse of that of vanishing. Batch normalization without shortcuts makes the squared gradient grow
//! by 1.467 per layer (arXiv:1902.08129), which is 1e2 after 24 layers.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    Need, Rule, RuleContext, Ways,
    depth_ends::{DepthEnds, is_adaptive, is_plain, is_stuck},
};
use crate::{
    config::{ClippingMode, Normalization, RuleName},
    diagnosis::{Figure, Finding, Observation, Remedy, Severity, Symptom, course::median},
    number::{Rounded, count, two_digits},
};

/// First layer's gradient over the last layer's.
pub(in super::super) const DEPTH_WARNING: f64 = 1e2;
const DEPTH_CRITICAL: f64 = 1e3;
/// Factor of the threshold for networks with normalization or shortcuts, and with an adaptive optimizer before the loss
/// shows that the run does not learn.
const NORMALIZED: f64 = 30.0;
/// A spike is this many robust standard deviations above the median of the logarithms, and at least [`SPIKE_FACTOR`]
/// times the usual norm.
const SPIKE_Z: f64 = 8.0;
const SPIKE_FACTOR: f64 = 20.0;
/// Loss over the median of the last losses.
const LOSS_FACTOR: f64 = 1.1;
/// Number of consecutive spikes that count as an explosion.
const IN_A_ROW: u32 = 3;
/// Number of tracked steps to remember, and number required before the first check.
const REMEMBERED: usize = 64;
const LEAST: usize = 20;
/// Steps without a spike after which a run that learns has recovered.
const QUIET: u64 = 50;
/// Lower bound on the deviation of natural logarithms: 10%.
const LEAST_DEVIATION: f64 = 0.1;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Exploding {
    /// Natural logarithms of the last norms that were not spikes, oldest first.
    norms: VecDeque<f64>,
    /// Losses of these tracked steps, if measured.
    losses: VecDeque<f64>,
    in_a_row: u32,
}

impl Rule for Exploding {
    fn name(&self) -> RuleName {
        RuleName::Exploding
    }

    fn needs(&self) -> Ways {
        &[&[Need::TotalNorm], &[Need::DepthProfile]]
    }

    fn start_task(&mut self) {
        *self = Self::default();
    }

    fn causes(&self) -> &'static [RuleName] {
        // If a parameter is not in the optimizer, its zero_grad does not clear the gradient, and the sum grows.
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::UnchangedParameter,
            RuleName::GradientAccumulation,
            RuleName::LearningRate,
            RuleName::UpdateRatio,
            RuleName::WeightDecay,
            RuleName::Momentum,
            RuleName::Dropout,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
        ]
    }

    fn recovery(&self, finding: &Finding, step: u64, context: &RuleContext<'_>) -> Option<String> {
        let level = context.learned().filter(|_| step >= finding.last_step + QUIET)?;
        Some(format!(
            "the gradient norm has been at its usual size for {QUIET} steps, and the loss has fallen to {level:.3}"
        ))
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let over_steps = self.over_steps(seen, context);
        over_steps.or_else(|| over_depth(seen, context))
    }
}

impl Exploding {
    fn over_steps(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        if !seen.total_norm.is_finite() || seen.total_norm <= 0.0 {
            return None;
        }
        let log = seen.total_norm.ln();
        let spike = self.robust().filter(|(median, deviation)| {
            let stands_out = log - median > SPIKE_Z * deviation && log - median > SPIKE_FACTOR.ln();
            // Without any losses, the norm alone decides. With losses, the loss must have risen too.
            let has_risen = self.losses.is_empty() || seen.loss > LOSS_FACTOR * middle(&self.losses);
            stands_out && has_risen
        });
        let Some((median, deviation)) = spike else {
            self.in_a_row = 0;
            if !seen.loss.is_infinite() {
                remember(&mut self.norms, log);
            }
            if seen.loss.is_finite() {
                remember(&mut self.losses, seen.loss);
            }
            return None;
        };
        self.in_a_row += 1;
        let (usual, norm, in_a_row) = (median.exp(), seen.total_norm, self.in_a_row);
        let severity = match in_a_row {
            // Training usually recovers from a single spike.
            1 => Severity::Info,
            count if count < IN_A_ROW => Severity::Warning,
            _ => Severity::Critical,
        };
        let (seen_norm, usual_norm) = (two_digits(norm), two_digits(usual));
        let figures = vec![
            Figure { name: "total gradient norm".into(), seen: norm, expected: format!("about {usual_norm}") },
            Figure { name: "robust z-score".into(), seen: (log - median) / deviation, expected: "below 8".into() },
        ];
        let cause = format!(
            "the gradient norm is {:.0} times its usual value ({seen_norm}, usually {usual_norm}), for {}{}",
            Rounded(norm / usual),
            count(in_a_row, "tracked step"),
            if in_a_row == 1 { "" } else { " in a row" }
        );
        Some(Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies: remedies(context) })
    }

    /// Median and robust standard deviation of the logarithms; `None` if there are too few.
    fn robust(&self) -> Option<(f64, f64)> {
        if self.norms.len() < LEAST {
            return None;
        }
        let median = middle(&self.norms);
        // The standard deviation of a normal distribution is 1.4826 times this.
        let deviation = 1.4826 * middle(&self.norms.iter().map(|norm| (norm - median).abs()).collect());
        Some((median, deviation.max(LEAST_DEVIATION)))
    }
}

fn remember(values: &mut VecDeque<f64>, value: f64) {
    if values.len() == REMEMBERED {
        values.pop_front();
    }
    values.push_back(value);
}

fn middle(values: &VecDeque<f64>) -> f64 {
    median(values.iter().copied().collect())
}

fn over_depth(seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
    let profile = seen.depth_profile.as_ref()?;
    let ends = DepthEnds::of(profile, context)?;
    // Batch normalization alone gives a ratio of 100 over 30 layers, in networks that train well, so that a run which does
    // not learn has another cause.
    let is_enough = is_plain(seen, context) && (!is_adaptive(context) || is_stuck(seen, context));
    let least = if is_enough { 1.0 } else { NORMALIZED };
    if ends.ratio <= least * context.thresholds.exploding {
        return None;
    }
    let figures = ends.figures("100 or less");
    let DepthEnds { ratio, per_layer, count: layer_count, layers } = ends;
    let severity = if ratio > DEPTH_CRITICAL { Severity::Critical } else { Severity::Warning };
    let cause = format!(
        "the gradient grows by a factor of {:.2} per layer, to {} times its size over {layer_count} layers",
        Rounded(per_layer),
        two_digits(ratio)
    );
    Some(Symptom { severity, layers, ranks: Vec::new(), figures, cause, remedies: remedies(context) })
}

fn remedies(context: &RuleContext<'_>) -> Vec<Remedy> {
    let Some(config) = context.config else { return Vec::new() };
    let mut remedies = Vec::new();
    if config.clipping.mode == ClippingMode::None {
        remedies.push(Remedy::config("clipping.mode", "agc", "clips a unit's gradient to a hundredth of its weights"));
    }
    remedies.extend(Remedy::lower_learning_rate(context, "smaller steps do not overshoot"));
    if !config.model.residual && config.model.normalization != Normalization::None {
        remedies.push(Remedy::config(
            "model.residual",
            true,
            "without shortcuts, each normalization makes gradients grow",
        ));
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, profile};

    /// Checks the rule at each step of a run with these total norms, in which the loss follows the norm.
    fn over(norms: impl IntoIterator<Item = f64>) -> Vec<Option<Severity>> {
        judged(norms.into_iter().map(|norm| (norm, 1.0 + norm)))
    }

    /// The same, with separate losses.
    fn judged(readings: impl IntoIterator<Item = (f64, f64)>) -> Vec<Option<Severity>> {
        let (case, mut rule) = (Case::new(""), Exploding::default());
        let judge = |(step, (total_norm, loss)): (usize, (f64, f64))| {
            let seen = Observation { step: step as u64, total_norm, loss, ..Observation::default() };
            rule.judge(&seen, &case.context()).map(|symptom| symptom.severity)
        };
        readings.into_iter().enumerate().map(judge).collect()
    }

    /// Norms that vary by a factor of 2 around a level.
    fn healthy(level: f64, count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |step| level * 2f64.powf(((step * 7) % 11) as f64 / 5.0 - 1.0))
    }

    #[test]
    fn a_norm_far_above_the_last_ones_is_a_spike_and_three_are_an_explosion_whatever_the_scale() {
        for level in [1e-6, 1.0, 1e6] {
            let norms = healthy(level, 40).chain([1e3, 1e4, 1e5].map(|factor| factor * level));
            let judged = judged(norms.map(|norm| (norm, 1.0 + norm / level)));
            assert!(judged[..40].iter().all(Option::is_none));
            assert_eq!(judged[40..], [Some(Severity::Info), Some(Severity::Warning), Some(Severity::Critical)]);
        }
    }

    #[test]
    fn norms_that_scatter_rise_slowly_or_fall_are_healthy() {
        assert!(over(healthy(1.0, 500)).iter().all(Option::is_none));
        // A hundredfold rise over 200 steps, as in a warm-up, and then a fall.
        let rise = (0..200).map(|step| 100f64.powf(f64::from(step) / 200.0));
        assert!(over(rise.chain(healthy(1e-3, 50))).iter().all(Option::is_none));
        // Too few tracked steps to decide.
        assert!(over([1.0, 1e9, 1e-3]).iter().all(Option::is_none));
        assert!(over((0..30).map(|_| 1.0).chain([f64::NAN, f64::INFINITY, 0.0])).iter().all(Option::is_none));
    }

    #[test]
    fn a_net_that_leaves_its_first_plateau_is_healthy() {
        let plateau = healthy(0.1, 40).map(|norm| (norm, 2.3));
        assert!(judged(plateau.chain([(30.0, 2.25), (30.0, 2.0), (30.0, 1.5)])).iter().all(Option::is_none));
        let diverging = healthy(0.1, 40).map(|norm| (norm, 2.3)).chain([(30.0, 2.9), (90.0, f64::INFINITY)]);
        assert_eq!(judged(diverging)[40..], [Some(Severity::Info), Some(Severity::Warning)]);
    }

    #[test]
    fn a_run_without_losses_is_judged_by_its_norms_and_one_with_them_only_where_they_are_seen() {
        let spikes = [30.0, 90.0, 300.0];
        let alone = healthy(0.1, 40).chain(spikes).map(|norm| (norm, f64::NAN));
        assert_eq!(judged(alone)[40..], [Some(Severity::Info), Some(Severity::Warning), Some(Severity::Critical)]);
        let between = healthy(0.1, 40).map(|norm| (norm, 2.3)).chain(spikes.map(|norm| (norm, f64::NAN)));
        assert!(judged(between).iter().all(Option::is_none));
    }

    #[test]
    fn a_gradient_that_grows_over_depth_shows_at_once() {
        let case = Case::new("model.normalization = \"batch\"\nclipping.mode = \"norm\"");
        let judge = |sizes: &[f64]| {
            let seen = Observation { depth_profile: Some(profile(sizes)), ..Observation::default() };
            Exploding::default().judge(&seen, &case.context())
        };
        assert!(judge(&[50.0, 5.0, 1.0]).is_none());
        let symptom = judge(&[4e3, 5.0, 1.0]).unwrap();
        assert_eq!(symptom.severity, Severity::Critical);
        let changes: Vec<String> = symptom.remedies.iter().map(|remedy| remedy.change.to_string()).collect();
        assert_eq!(changes, ["optimizer.learning_rate = 0.01", "model.residual = true"]);
    }
}
