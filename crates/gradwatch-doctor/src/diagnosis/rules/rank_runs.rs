//! Data-parallel runs of a small model, healthy and faulty, as a test of all rules about ranks together.

use super::noise::Noise;
use crate::{
    diagnosis::{Diagnosis, Facts, Observation, RuleName, Subject},
    statistics::{RankStatistics, RankStep},
};

const FEATURES: usize = 12;

/// Logistic regression by SGD, with the images of each step dealt out to the ranks.
struct Run {
    ranks: usize,
    /// Images of each rank in a step, and of the data set.
    batch: usize,
    images: usize,
    /// Fraction of wrong labels.
    wrong: f64,
    /// Changes the features and the label that a rank sees at a step.
    fault: fn(usize, u64, &mut [f64], &mut f64),
}

impl Run {
    const HEALTHY: Self = Self { ranks: 4, batch: 8, images: 4096, wrong: 0.05, fault: |_, _, _, _| () };

    fn steps_per_epoch(&self) -> usize {
        self.images / (self.ranks * self.batch)
    }

    /// The rules with findings about ranks after this many steps, each with its first step.
    fn findings(&self, steps: u64) -> Vec<(RuleName, u64, Vec<usize>)> {
        let mut noise = Noise(3);
        let data: Vec<(Vec<f64>, f64)> = (0..self.images)
            .map(|_| {
                let features: Vec<f64> = (0..FEATURES).map(|_| noise.normal()).collect();
                let is_right = noise.uniform() >= self.wrong;
                let is_one = (features.iter().sum::<f64>() > 0.0) == is_right;
                (features, f64::from(u8::from(is_one)))
            })
            .collect();
        let facts = Facts { classes: 2, steps_per_epoch: self.steps_per_epoch() as u64, ..Facts::default() };
        let (mut diagnosis, mut weights) = (Diagnosis::default(), vec![0.0; FEATURES]);
        let mut order: Vec<usize> = (0..self.images).collect();
        for step in 0..steps {
            let place = step as usize % self.steps_per_epoch();
            if place == 0 {
                // Fisher and Yates.
                (1..order.len())
                    .rev()
                    .for_each(|last| order.swap(last, (noise.uniform() * (last + 1) as f64) as usize));
            }
            let mut images = order[place * self.ranks * self.batch..].iter().map(|index| &data[*index]);
            let of_rank = |rank: usize| {
                let mut sums = (vec![0.0; FEATURES], 0.0);
                for (features, label) in images.by_ref().take(self.batch) {
                    let (mut features, mut label) = (features.clone(), *label);
                    (self.fault)(rank, step, &mut features, &mut label);
                    add_gradient(&weights, &features, label, &mut sums);
                }
                sums.0.iter_mut().for_each(|sum| *sum /= self.batch as f64);
                (sums.0, sums.1 / self.batch as f64)
            };
            let local: Vec<(Vec<f64>, f64)> = (0..self.ranks).map(of_rank).collect();
            let gradients: Vec<&[f64]> = local.iter().map(|(gradient, _)| &gradient[..]).collect();
            let rank = |(gradient, loss): &(Vec<f64>, f64)| RankStep {
                images: self.batch as u64,
                norm: dot(gradient, gradient).sqrt(),
                loss: *loss,
                busy_secs: 0.1 * noise.lognormal(0.1),
                ..RankStep::default()
            };
            let ranks = RankStatistics {
                ranks: local.iter().map(rank).collect(),
                cosine: mean_cosine(&gradients),
                ..RankStatistics::default()
            };
            let loss = local.iter().map(|(_, loss)| loss).sum::<f64>() / self.ranks as f64;
            let seen = Observation { step, loss, ranks: Some(&ranks), ..Observation::default() };
            diagnosis.judge(&seen, &Subject { config: None, facts: &facts });
            for (feature, weight) in weights.iter_mut().enumerate() {
                *weight -= 0.5 * gradients.iter().map(|gradient| gradient[feature]).sum::<f64>() / self.ranks as f64;
            }
        }
        let is_of_ranks = |rule| {
            use RuleName::{RankDisagreement, RankSpike, Straggler, WeightMismatch};
            [RankDisagreement, RankSpike, Straggler, WeightMismatch].contains(&rule)
        };
        let found = diagnosis.findings().iter().filter(|finding| is_of_ranks(finding.rule));
        found.map(|finding| (finding.rule, finding.first_step, finding.ranks.clone())).collect()
    }
}

/// Adds the gradient and the loss of an image.
fn add_gradient(weights: &[f64], features: &[f64], label: f64, sums: &mut (Vec<f64>, f64)) {
    let logit = dot(weights, features);
    let probability = 1.0 / (1.0 + (-logit).exp());
    for (sum, feature) in sums.0.iter_mut().zip(features) {
        *sum += (probability - label) * feature;
    }
    // Binary cross-entropy of a logit.
    sums.1 += logit.max(0.0) - logit * label + (-logit.abs()).exp().ln_1p();
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// Mean cosine of all pairs of these vectors; `None` if it is not finite.
pub(super) fn mean_cosine(vectors: &[&[f64]]) -> Option<f64> {
    let pairs = (0..vectors.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    let cosine = |(one, other): (usize, usize)| {
        let (one, other) = (vectors[one], vectors[other]);
        dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
    };
    let cosines: Vec<f64> = pairs.map(cosine).collect();
    Some(cosines.iter().sum::<f64>() / cosines.len() as f64).filter(|mean| mean.is_finite())
}

#[test]
fn healthy_runs_of_10_000_steps_have_no_finding_about_ranks() {
    let healthy = Run::HEALTHY;
    assert_eq!(healthy.findings(10_000), []);
    // One image per rank, without wrong labels: the gradients of fitted images differ by orders of magnitude.
    assert_eq!(Run { ranks: 3, batch: 1, images: 300, wrong: 0.0, ..Run::HEALTHY }.findings(10_000), []);
    // All images in each step: at the optimum, the gradients of two ranks are opposite.
    assert_eq!(Run { ranks: 2, batch: 32, images: 64, ..Run::HEALTHY }.findings(10_000), []);
    assert_eq!(Run { ranks: 2, batch: 4, images: 64, ..Run::HEALTHY }.findings(10_000), []);
}

#[test]
fn a_rank_whose_images_are_not_normalized_is_told() {
    let fault = |rank: usize, step: u64, features: &mut [f64], _: &mut f64| {
        if rank == 2 && step >= 200 {
            features.iter_mut().for_each(|feature| *feature *= 60.0);
        }
    };
    let found = Run { fault, ..Run::HEALTHY }.findings(400);
    assert!(matches!(&found[..], [(RuleName::RankSpike, 209..250, ranks)] if ranks[..] == [2]), "{found:?}");
}

#[test]
fn two_ranks_with_opposite_labels_contradict_each_other() {
    let fault = |rank: usize, _: u64, _: &mut [f64], label: &mut f64| {
        if rank == 1 {
            *label = 1.0 - *label;
        }
    };
    let found = Run { ranks: 2, fault, ..Run::HEALTHY }.findings(1000);
    // It takes 400 cosines, and then explains the loss that stayed at that of a guess after 200 steps.
    assert_eq!(found, [(RuleName::RankDisagreement, 199, vec![])]);
}
