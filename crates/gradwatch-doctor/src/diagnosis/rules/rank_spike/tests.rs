//! Runs with ranks that must and must not be told.

use super::{track::wanted, *};
use crate::{
    diagnosis::{RankFacts, fixture::Case, rules::noise::Noise},
    statistics::RankStatistics,
};

/// Judges each step, given the norm and the loss of each rank. Returns all symptoms with their steps.
fn judged(steps: impl IntoIterator<Item = Vec<(f64, f64)>>) -> Vec<(u64, Symptom)> {
    let (mut case, mut rule) = (Case::new("clipping.mode = \"norm\""), RankSpike::default());
    case.facts.ranks = vec![RankFacts { host: "node-a".into(), device: "cpu".into() }; 8];
    let judge = |(values, step): (Vec<(f64, f64)>, u64)| {
        let rank = |&(norm, loss): &(f64, f64)| RankStep {
            images: u64::from(!norm.is_nan()) * 8,
            norm,
            loss,
            ..RankStep::default()
        };
        let ranks = RankStatistics { ranks: values.iter().map(rank).collect(), ..RankStatistics::default() };
        let seen = Observation { step, ranks: Some(&ranks), ..Observation::default() };
        Some((step, rule.judge(&seen, &case.context())?))
    };
    steps.into_iter().zip(0..).filter_map(judge).collect()
}

/// Step and rank of the first symptom for norms whose loss is always the same.
fn first(steps: impl IntoIterator<Item = Vec<f64>>) -> Option<(u64, usize)> {
    let steps = steps.into_iter().map(|norms| norms.into_iter().map(|norm| (norm, 1.0)).collect());
    judged(steps).first().map(|(step, symptom)| (*step, symptom.ranks[0]))
}

/// Norms around 1 that differ by up to 20%.
fn alike(world: usize, step: u64) -> Vec<f64> {
    (0..world).map(|rank| 1.0 + 0.2 * ((step * 7 + rank as u64 * 5) % 11) as f64 / 10.0).collect()
}

/// Norms of equal ranks in which one has this factor in some steps.
fn apart(world: usize, rank: usize, factor: f64, is_off: impl Fn(u64) -> bool) -> Vec<Vec<f64>> {
    let norms = |step: u64| {
        let mut norms = alike(world, step);
        norms[rank] *= if is_off(step) { factor } else { 1.0 };
        norms
    };
    (0..300).map(norms).collect()
}

#[test]
fn it_takes_more_outliers_in_a_row_the_fewer_ranks_there_are() {
    // 2^-17, 3^-11, 4^-9, 8^-6, 16^-5, 32^-4, 64^-3, and 1000^-2 are the first powers below 1/100,000.
    assert_eq!([2, 3, 4, 8, 16, 32, 64, 1000].map(wanted), [18, 12, 10, 7, 6, 5, 4, 3]);
    for (world, outliers) in [(2, 18), (4, 10), (8, 7)] {
        let told = first(apart(world, 1, 10.0, |step| step >= 100));
        assert_eq!(told, Some((100 + outliers - 1, 1)), "{world} ranks");
        // One less, or the same number over too many steps.
        assert_eq!(first(apart(world, 1, 10.0, |step| (100..100 + outliers - 1).contains(&step))), None);
        assert_eq!(first(apart(world, 1, 10.0, |step| step >= 100 && step % 32 == 0)), None);
    }
}

#[test]
fn a_rank_that_is_off_from_the_start_is_told_among_more_than_two_and_so_is_one_that_is_too_small() {
    // Twenty tracked steps come first.
    assert_eq!(first(apart(4, 3, 10.0, |_| true)), Some((29, 3)));
    assert_eq!(first(apart(4, 3, 0.05, |_| true)), Some((29, 3)));
    assert_eq!(first(apart(4, 3, 0.0, |step| step >= 40)), Some((49, 3)));
    // Of two ranks, either could be the one.
    assert_eq!(first(apart(2, 1, 10.0, |_| true)), None);
    assert_eq!(first(apart(2, 1, 0.1, |_| true)), None);
    assert_eq!(first(apart(4, 3, 3.0, |_| true)), None);
}

#[test]
fn one_value_a_hundred_times_as_large_as_any_before_is_enough() {
    for world in [2, 4] {
        assert_eq!(first(apart(world, 1, 1e3, |step| step == 100)), Some((100, 1)));
        assert_eq!(first(apart(world, 1, 50.0, |step| step == 100)), None);
        assert_eq!(first(apart(world, 1, 1e-9, |step| step == 100)), None);
    }
    // All ranks at once are another rule's, and what is not finite too.
    let all = |step| alike(4, step).iter().map(|norm| norm * if step >= 100 { 1e3 } else { 1.0 }).collect();
    assert_eq!(first((0..300).map(all)), None);
    assert_eq!(first(apart(4, 1, f64::NAN, |step| step >= 100)), None);
    assert_eq!(first(apart(4, 1, f64::INFINITY, |step| step >= 100)), None);
}

#[test]
fn several_ranks_that_take_turns_are_noise() {
    let steps = |step: u64| {
        let mut norms = alike(4, step);
        norms[(step % 4) as usize] *= 20.0;
        norms
    };
    assert_eq!(first((0..500).map(steps)), None);
}

#[test]
fn the_symptom_names_rank_step_and_factor() {
    let mut steps: Vec<Vec<(f64, f64)>> = apart(4, 2, 10.0, |step| step >= 100)
        .into_iter()
        .map(|norms| norms.iter().map(|norm| (1.0, *norm)).collect())
        .collect();
    let told = judged(steps.clone());
    let (step, symptom) = &told[0];
    assert_eq!((*step, symptom.severity), (109, Severity::Warning));
    let want = "the loss of rank 2 (host node-a, cpu) at step 109 is";
    assert!(symptom.cause.starts_with(want), "{}", symptom.cause);
    assert!(symptom.cause.ends_with(", as in 10 of the last 10 tracked steps, while the other ranks are as usual"));
    assert!((symptom.figures[0].seen - 10.0).abs() < 2.0, "{:?}", symptom.figures);
    steps[102][2].0 = 1e4;
    let (step, symptom) = &judged(steps)[0];
    assert_eq!(*step, 102);
    assert!(symptom.cause.contains("the gradient norm of rank 2 (host node-a, cpu) at step 102 is 10000 times"));
    assert!(symptom.remedies[0].why.contains("bit flip"));
}

#[test]
fn more_ranks_than_are_recorded_one_by_one_are_judged_by_their_extremes() {
    assert_eq!(first(apart(200, 150, 10.0, |step| step >= 100)), Some((103, 150)));
}

#[test]
fn a_rule_that_was_written_and_read_goes_on_as_the_one_that_was_not() {
    let (case, mut whole, mut resumed) = (Case::new(""), RankSpike::default(), RankSpike::default());
    let mut told = 0;
    for (norms, step) in apart(4, 3, 10.0, |step| step >= 60).into_iter().take(90).zip(0..) {
        resumed = serde_json::from_str(&serde_json::to_string(&resumed).unwrap()).unwrap();
        let rank = |norm: f64| RankStep { images: 8, norm, loss: 1.0, ..RankStep::default() };
        let ranks = RankStatistics { ranks: norms.into_iter().map(rank).collect(), ..RankStatistics::default() };
        let seen = Observation { step, ranks: Some(&ranks), ..Observation::default() };
        let judged = whole.judge(&seen, &case.context());
        assert_eq!(judged, resumed.judge(&seen, &case.context()), "step {step}");
        told += usize::from(judged.is_some());
    }
    assert_eq!(told, 90 - 69);
}

#[test]
fn norms_and_losses_with_healthy_noise_over_10_000_steps_cause_no_alarm() {
    for (world, deviation) in [(2, 0.3), (3, 1.0), (8, 0.3)] {
        let mut noise = Noise(1);
        let mut level = 1.0;
        // The level drifts, rises in a warm-up, falls by a decay of the learning rate, and some ranks have no images.
        let steps = (0..10_000u64).map(|step| {
            level *= noise.lognormal(0.02)
                * match step {
                    0..200 => 1.02,
                    5000 => 0.1,
                    _ => 1.0,
                };
            let has_images = |rank: usize| step % 50 != 49 || rank == 0;
            let mut rank = |rank: usize| match has_images(rank) {
                true => (level * noise.lognormal(deviation), 2.3 * noise.lognormal(0.5 * deviation)),
                false => (f64::NAN, f64::NAN),
            };
            (0..world).map(&mut rank).collect()
        });
        let told = judged(steps);
        assert!(told.is_empty(), "{world} ranks, deviation {deviation}: {:?}", told[0]);
    }
}

#[test]
fn rare_large_losses_of_fitted_images_over_10_000_steps_cause_no_alarm() {
    for (world, images, hard) in [(2, 4, 2e-3), (4, 4, 1e-3), (8, 2, 0.02)] {
        let mut noise = Noise(1);
        // All images are hard at first, then nearly none, and a hard one has a loss of up to some tens.
        let steps = (0..10_000u64).map(|step| {
            let share = hard + (-(step as f64) / 300.0).exp();
            let mut image = || match noise.uniform() < share {
                true => 2.3 * noise.lognormal(0.7),
                false => 1e-5 * noise.lognormal(1.0),
            };
            let mut rank = |_| {
                let loss = (0..images).map(|_| image()).sum::<f64>() / f64::from(images);
                (3.0 * loss, loss)
            };
            (0..world).map(&mut rank).collect()
        });
        let told = judged(steps);
        assert!(told.is_empty(), "{world} ranks with {images} images: {:?}", told[0]);
    }
}
