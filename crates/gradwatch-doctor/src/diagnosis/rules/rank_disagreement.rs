//! Gradients of ranks that contradict each other: other labels, classes, or preprocessing on some ranks, or a gradient
//! with the wrong sign.
//!
//! Ranks with images of the same data estimate the same gradient, so that the expected cosine of two of them is 0 or
//! more: near 1 if the signal outweighs the noise of their images, and near 0 if not. Noise alone gives single cosines
//! below 0, but no mean below 0. There is one exception. Ranks draw their images without replacement, so that images of
//! one rank are missing on the others. Close to an optimum, where the gradients of all images sum to 0, the expected
//! cosine is -1 / (P - 1) if an epoch has P parts of this size: the average over all pairs of P vectors whose sum is 0.
//! Twice this value is always allowed.
//!
//! The cosine of all pairs of W vectors is at least -1 / (W - 1). Disagreement is measured as a share of this bound. The
//! noise of a step is independent of that of others, because each step has other images, so that the scatter of the means
//! of blocks gives the standard error of the mean over all of them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::{count, two_digits},
};

/// Mean cosine below 0, as a share of the lowest possible one: a warning, and critical.
pub(in super::super) const SHARE: f64 = 0.1;
const CRITICAL: f64 = 0.5;
/// Standard errors between the mean and 0. Student's t with 39 degrees of freedom is as low once in 10^8 windows.
const ERRORS: f64 = 7.0;
/// Number of blocks, and of cosines per block.
const BLOCKS: usize = 40;
const BLOCK: u32 = 10;
/// Multiple of the cosine that sampling without replacement explains.
const SAMPLING: f64 = 2.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in super::super) struct RankDisagreement {
    /// Number of ranks.
    world: usize,
    /// Means of the last blocks, oldest first.
    means: VecDeque<f64>,
    /// Sum and number of the cosines of the open block.
    open: (f64, u32),
}

impl Rule for RankDisagreement {
    fn name(&self) -> RuleName {
        RuleName::RankDisagreement
    }

    fn needs(&self) -> Ways {
        &[&[Need::Ranks]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[RuleName::WeightMismatch]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let statistics = seen.ranks?;
        let world = statistics.ranks.len();
        if self.world != world {
            *self = Self { world, ..Self::default() };
        }
        let (mean, error) = self.add(statistics.cosine.filter(|cosine| cosine.is_finite())?)?;
        let lowest = -1.0 / (world.max(2) - 1) as f64;
        let allowed = context.thresholds.rank_disagreement * lowest + sampling(world, context.facts.steps_per_epoch);
        if mean >= allowed || mean >= -ERRORS * error {
            return None;
        }
        let severity = if mean < CRITICAL * lowest { Severity::Critical } else { Severity::Warning };
        let window = BLOCKS * BLOCK as usize;
        let figures = vec![
            Figure {
                name: format!("mean cosine between the gradients of the ranks over {window} tracked steps"),
                seen: mean,
                expected: "0 or more".into(),
            },
            Figure { name: "standard error of this mean".into(), seen: error, expected: String::new() },
        ];
        let cause = format!(
            "the gradients of the {} contradict each other: their mean cosine over the last {window} tracked steps up to \
             step {} is {} ± {}, and the noise of their images gives 0 or more; the ranks have other labels, classes, or \
             preprocessing, or a gradient has the wrong sign",
            count(world, "rank"),
            seen.step,
            two_digits(mean),
            two_digits(error)
        );
        let remedies = vec![
            Remedy::advice(
                "compare the labels and the first batches of all ranks",
                "all ranks must draw from the same shuffled data",
            ),
            Remedy::advice(
                "train each rank's data with one process",
                "a rank whose loss does not fall alone has wrong data",
            ),
        ];
        Some(Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

impl RankDisagreement {
    /// Adds a cosine. Returns the mean and its standard error when a block is complete, if there are enough.
    fn add(&mut self, cosine: f64) -> Option<(f64, f64)> {
        self.open = (self.open.0 + cosine, self.open.1 + 1);
        if self.open.1 < BLOCK {
            return None;
        }
        let (sum, readings) = std::mem::take(&mut self.open);
        if self.means.len() == BLOCKS {
            self.means.pop_front();
        }
        self.means.push_back(sum / f64::from(readings));
        if self.means.len() < BLOCKS {
            return None;
        }
        let blocks = BLOCKS as f64;
        let mean = self.means.iter().sum::<f64>() / blocks;
        let variance = self.means.iter().map(|block| (block - mean).powi(2)).sum::<f64>() / (blocks - 1.0);
        Some((mean, (variance / blocks).sqrt()))
    }
}

/// The lowest mean cosine that sampling without replacement explains; 0 if the length of an epoch is not known.
fn sampling(world: usize, steps_per_epoch: u64) -> f64 {
    match steps_per_epoch {
        0 => 0.0,
        steps => -SAMPLING / ((world as u64).saturating_mul(steps).max(2) - 1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{
            fixture::Case,
            rules::{noise::Noise, rank_runs::mean_cosine},
        },
        statistics::{RankStatistics, RankStep},
    };

    /// First step with a symptom, and its severity.
    fn judged(world: usize, steps_per_epoch: u64, cosines: impl IntoIterator<Item = f64>) -> Option<(u64, Severity)> {
        let (mut case, mut rule) = (Case::new(""), RankDisagreement::default());
        case.facts.steps_per_epoch = steps_per_epoch;
        cosines.into_iter().zip(0..).find_map(|(cosine, step)| {
            let ranks = vec![RankStep::default(); world];
            let statistics = RankStatistics { ranks, cosine: Some(cosine), ..RankStatistics::default() };
            let seen = Observation { step, ranks: Some(&statistics), ..Observation::default() };
            rule.judge(&seen, &case.context()).map(|symptom| (step, symptom.severity))
        })
    }

    #[test]
    fn cosines_that_stay_below_zero_are_told_after_400_readings() {
        let noise = |mean: f64| (0..500).map(move |step| mean + if step % 2 == 0 { 0.1 } else { -0.1 });
        assert_eq!(judged(2, 100, noise(-0.3)), Some((399, Severity::Warning)));
        assert_eq!(judged(2, 100, noise(-0.6)), Some((399, Severity::Critical)));
        // Of four ranks, the mean cosine is at least -1/3.
        assert_eq!(judged(4, 100, noise(-0.3)), Some((399, Severity::Critical)));
        // -0.05 is less than a tenth of what two ranks can disagree, but more than that of eight.
        assert_eq!(judged(2, 1000, noise(-0.05)), None);
        assert_eq!(judged(8, 1000, noise(-0.05)), Some((399, Severity::Warning)));
    }

    #[test]
    fn a_run_that_goes_on_with_other_ranks_starts_again() {
        let (case, mut rule) = (Case::new(""), RankDisagreement::default());
        let mut is_told = |world: usize| {
            let ranks = vec![RankStep::default(); world];
            let statistics = RankStatistics { ranks, cosine: Some(-0.9), ..RankStatistics::default() };
            let seen = Observation { ranks: Some(&statistics), ..Observation::default() };
            rule.judge(&seen, &case.context()).is_some()
        };
        assert!((0..399).all(|_| !is_told(2)));
        assert!((0..399).all(|_| !is_told(3)) && is_told(3));
    }

    #[test]
    fn ranks_with_parts_of_a_small_data_set_may_disagree_at_its_optimum() {
        // An epoch of two ranks and two steps has four parts: -1/3 at the optimum, where noise adds nothing.
        assert_eq!(judged(2, 2, vec![-0.34; 500]), None);
        assert_eq!(judged(2, 1, vec![-1.0; 500]), None);
        assert_eq!(judged(2, 20, vec![-0.34; 500]), Some((399, Severity::Warning)));
    }

    /// Mean cosines of gradients that are a signal with noise; the sign of the last rank is given.
    fn cosines(world: usize, dimensions: usize, signal: f64, sign: f64, steps: usize) -> Vec<f64> {
        let mut noise = Noise(7);
        let cosine = |_| {
            let sign = |rank: usize| if rank + 1 == world { sign } else { 1.0 };
            let mut gradient =
                |rank| (0..dimensions).map(|_| sign(rank) * (signal + noise.normal())).collect::<Vec<f64>>();
            let gradients: Vec<Vec<f64>> = (0..world).map(&mut gradient).collect();
            mean_cosine(&gradients.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
        };
        (0..steps).map(cosine).collect()
    }

    #[test]
    fn gradients_with_healthy_noise_over_10_000_steps_cause_no_alarm() {
        for (world, dimensions, signal) in [(2, 3, 0.0), (2, 30, 0.3), (3, 2, 0.0), (8, 5, 0.0)] {
            let cosines = cosines(world, dimensions, signal, 1.0, 10_000);
            assert_eq!(judged(world, 1000, cosines), None, "{world} ranks, {dimensions} dimensions");
        }
        // A signal that comes and goes.
        let (mut noise, mut signal) = (Noise(7), 0.0f64);
        let cosine = |_| {
            signal = 0.99 * signal + 0.05 * noise.normal();
            (signal.max(0.0) + 0.5 * noise.normal()).clamp(-1.0, 1.0)
        };
        assert_eq!(judged(2, 1000, (0..10_000).map(cosine)), None);
    }

    #[test]
    fn a_rank_with_the_wrong_sign_among_two_is_told() {
        assert!(matches!(judged(2, 1000, cosines(2, 30, 0.6, -1.0, 500)), Some((399, _))));
        // Of eight ranks, one does not outweigh the others.
        assert_eq!(judged(8, 1000, cosines(8, 30, 0.6, -1.0, 500)), None);
    }
}
