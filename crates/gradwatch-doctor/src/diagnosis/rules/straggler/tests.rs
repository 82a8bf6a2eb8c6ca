//! Runs with ranks that must and must not be told.

use super::*;
use crate::{
    diagnosis::{RankFacts, fixture::Case, rules::noise::Noise},
    statistics::RankStatistics,
};

fn rank(busy_secs: f64, loading_secs: f64, images: u64) -> RankStep {
    RankStep { images, norm: 1.0, loss: 1.0, busy_secs, loading_secs, wait_secs: 0.0 }
}

/// Judges each step. Returns all symptoms with their steps.
fn judged(device: &str, steps: impl IntoIterator<Item = Vec<RankStep>>) -> Vec<(u64, Symptom)> {
    let (mut case, mut rule) = (Case::new(""), Straggler::default());
    let place = |rank: usize| RankFacts { host: format!("node-{rank}"), device: device.into() };
    case.facts.ranks = (0..4).map(place).collect();
    let judge = |(ranks, step): (Vec<RankStep>, u64)| {
        let ranks = RankStatistics { ranks, ..RankStatistics::default() };
        let seen = Observation { step, ranks: Some(&ranks), ..Observation::default() };
        Some((step, rule.judge(&seen, &case.context())?))
    };
    steps.into_iter().zip(0..).filter_map(judge).collect()
}

/// Step, ranks, and severity of the first symptom for ranks with these times.
fn first(steps: impl IntoIterator<Item = Vec<f64>>) -> Option<(u64, Vec<usize>, Severity)> {
    let steps = steps.into_iter().map(|times| times.into_iter().map(|secs| rank(secs, 0.0, 8)).collect());
    judged("cpu", steps).into_iter().next().map(|(step, symptom)| (step, symptom.ranks, symptom.severity))
}

#[test]
fn a_rank_that_takes_15_percent_and_5_ms_longer_is_told_after_100_readings() {
    let told = |times: &[f64]| first(vec![times.to_vec(); 300]);
    let of = |rank: usize| Some((99, vec![rank], Severity::Warning));
    assert_eq!(told(&[0.1, 0.116, 0.1, 0.1]), of(1));
    assert_eq!(told(&[0.116, 0.1]), of(0));
    assert_eq!(told(&[0.1, 0.114, 0.1, 0.1]), None);
    // 20% of 20 ms are too little, and of 30 ms enough.
    assert_eq!((told(&[0.02, 0.024, 0.02]), told(&[0.03, 0.036, 0.03])), (None, of(1)));
    // Two slow ranks of five, the slower one first.
    assert_eq!(told(&[0.1, 0.2, 0.1, 0.3, 0.1]), Some((99, vec![3, 1], Severity::Warning)));
    assert_eq!(told(&[0.1]), None);
    assert_eq!(told(&[0.1, f64::NAN]), None);
}

#[test]
fn slow_steps_of_checkpoints_and_evaluations_are_no_straggler() {
    // Every third step, rank 0 is ten times as slow.
    let times = |step: u64| vec![if step.is_multiple_of(3) { 1.0 } else { 0.1 }, 0.1, 0.1];
    assert_eq!(first((0..1000).map(times)), None);
    // A rank is slow for 40 steps.
    let times = |step: u64| vec![0.1, if (130..170).contains(&step) { 0.5 } else { 0.1 }, 0.1];
    assert_eq!(first((0..1000).map(times)), None);
    // It becomes slow for good in the second window.
    let times = |step: u64| vec![0.1, if step >= 140 { 0.5 } else { 0.1 }, 0.1];
    assert_eq!(first((0..1000).map(times)), Some((199, vec![1], Severity::Warning)));
}

#[test]
fn the_symptom_says_what_the_others_lose_and_why() {
    let told = |device: &str, slow: RankStep| {
        let ranks = vec![rank(0.1, 0.01, 8), slow, rank(0.1, 0.01, 8)];
        let mut told = judged(device, vec![ranks; 100]);
        let (_, symptom) = told.remove(0);
        let changes: Vec<String> = symptom.remedies.iter().map(|remedy| remedy.change.to_string()).collect();
        (symptom, changes)
    };
    let (symptom, changes) = told("cuda:0", rank(0.15, 0.01, 8));
    assert_eq!(
        symptom.cause,
        "rank 1 (host node-1, cuda:0) takes 50% longer than the others (50 ms per step), because it computes more \
         slowly, and the other 2 ranks wait for it: 5.0 s in the 100 tracked steps up to step 99"
    );
    assert!((symptom.figures[2].seen - 5.0).abs() < 1e-9, "{:?}", symptom.figures);
    assert!(changes[0].starts_with("nvidia-smi") && changes[1].contains("processes on host node-1"), "{changes:?}");
    let (_, changes) = told("cpu", rank(0.15, 0.01, 8));
    assert!(changes[0].starts_with("run.threads"), "{changes:?}");
    // 30 of 50 ms are spent waiting for images.
    let (symptom, changes) = told("cpu", rank(0.15, 0.04, 8));
    assert!(symptom.cause.contains("because it waits for images"), "{}", symptom.cause);
    assert_eq!(changes[0], "data.workers = 2");
    assert!(changes[1].contains("the disk of host node-1"), "{changes:?}");
    // Twice the images in twice the time.
    let (symptom, changes) = told("cpu", rank(0.2, 0.02, 16));
    assert!(symptom.cause.contains("because it has more images per step"), "{}", symptom.cause);
    assert_eq!(symptom.severity, Severity::Info);
    assert!(changes[0].contains("multiple of the 3 ranks"), "{changes:?}");
}

#[test]
fn a_rank_that_mostly_has_no_images_is_not_judged() {
    let ranks =
        |step: u64| vec![rank(0.1, 0.0, 8), rank(0.1, 0.0, 8), rank(0.9, 0.0, u64::from(step.is_multiple_of(4)))];
    assert!(judged("cpu", (0..400).map(ranks)).is_empty());
}

#[test]
fn more_ranks_than_are_recorded_one_by_one_are_judged_by_their_extremes() {
    let times = |step: u64| {
        let mut times: Vec<f64> = (0..100).map(|rank| 0.1 + 0.001 * ((step + rank) % 7) as f64).collect();
        times[70] = 0.2;
        times
    };
    assert_eq!(first((0..100).map(times)), Some((99, vec![70], Severity::Warning)));
}

#[test]
fn times_with_healthy_noise_over_10_000_steps_cause_no_alarm() {
    for (world, deviation) in [(2, 0.5), (4, 0.1), (8, 0.3)] {
        let mut noise = Noise(1);
        // The time of a step varies for all ranks, and rank 0 saves a checkpoint every 20 steps.
        let steps = (0..10_000u64).map(|step| {
            let level = 0.1 * noise.lognormal(0.3);
            let own = |rank: usize| if rank == 0 && step % 20 == 0 { 2.0 } else { 0.0 };
            (0..world).map(|rank| level * noise.lognormal(deviation) + own(rank)).collect()
        });
        let told = first(steps);
        assert_eq!(told, None, "{world} ranks, deviation {deviation}");
    }
}

#[test]
fn a_slow_rank_is_told_in_healthy_noise() {
    let mut noise = Noise(5);
    let times = |_| (0..4).map(|rank| 0.1 * noise.lognormal(0.1) * if rank == 2 { 1.3 } else { 1.0 }).collect();
    assert_eq!(first((0..100).map(times)), Some((99, vec![2], Severity::Warning)));
}
