//! Decides from the accuracy of a run whether it is healthy or faulty.
//!
//! The skill of a run is its accuracy on the way from that of the most frequent class to the best of all runs with the
//! same family and task, at both of the last two evaluations. A run of the search with a low skill has a wrong learning
//! rate, and one with a high skill is healthy. A fault counts only if it hurts, unless its harm does not show in the
//! accuracy. Runs in between count as neither, as do runs of the search that are on their way up at their end.

use std::collections::{HashMap, HashSet};

use gradwatch_doctor::diagnosis::RuleName;

use crate::{case::Effect, score::Trace};

/// Skill from which a run is healthy, and from which a searched run is.
const HEALTHY: f64 = 0.75;
const SEARCHED: f64 = 0.85;
/// Skill up to which a fault hurts, and up to which the rate of a searched run is wrong.
const HURTS: f64 = 0.7;
const WRONG_RATE: f64 = 0.5;
/// Skill from which a run that still rises is on its way.
const ON_ITS_WAY: f64 = 0.1;
/// Training accuracy minus validation accuracy from which a run does not generalize.
const GAP: f64 = 0.2;
/// Rules that identify a learning rate far from the best one.
const RATE: [RuleName; 2] = [RuleName::LearningRate, RuleName::UpdateRatio];

/// Part of the way from a guess to 1 that the best run of a task must reach.
const LEARNS: f64 = 0.3;

/// The best accuracy of each family and task.
pub(crate) struct Best(HashMap<(String, String), f64>);

impl Best {
    fn of(traces: &[Trace]) -> Self {
        let mut best: HashMap<_, f64> = HashMap::new();
        for trace in traces {
            let best = best.entry(task(trace)).or_default();
            *best = best.max(trace.reached()[0]);
        }
        Self(best)
    }

    /// Skill at the lower and at the higher one of the last two evaluations.
    fn skill(&self, trace: &Trace) -> [f64; 2] {
        let best = (self.0[&task(trace)] - guess(trace)).max(f64::EPSILON);
        trace.reached().map(|reached| (reached - guess(trace)) / best)
    }

    /// Whether a run learns nearly as well as the best one, and does not fall back.
    pub(crate) fn is_healthy(&self, trace: &Trace) -> bool {
        self.skill(trace)[0] >= HEALTHY
    }
}

fn task(trace: &Trace) -> (String, String) {
    (trace.case.architecture.clone(), trace.case.task.clone())
}

/// Accuracy of always giving the most frequent class.
fn guess(trace: &Trace) -> f64 {
    let counts = &trace.facts.class_counts;
    let most = counts.iter().max().copied().unwrap_or_default() as f64 / counts.iter().sum::<u64>().max(1) as f64;
    most.max(1.0 / trace.facts.classes.max(2) as f64)
}

/// The traces that are healthy or faulty, with their faults; the number of those that are neither; and what the best
/// runs reach.
pub(crate) fn decide(traces: Vec<Trace>) -> (Vec<Trace>, usize, Best) {
    let bests = Best::of(&traces);
    // A fault tells nothing if the run without it fails too.
    let with_bad_base: HashSet<(String, String)> = traces
        .iter()
        .filter(|trace| trace.case.is_search && trace.case.name == format!("{} x 1", trace.case.optimizer))
        .filter(|trace| !bests.is_healthy(trace))
        .map(|trace| (trace.case.architecture.clone(), trace.case.optimizer.clone()))
        .collect();
    let (mut decided, all) = (Vec::new(), traces.len());
    for mut trace in traces {
        let ([low, high], best) = (bests.skill(&trace), bests.0[&task(&trace)]);
        trace.skill = Some(low);
        let guess = guess(&trace);
        let key = (trace.case.architecture.clone(), trace.case.optimizer.clone());
        if best < guess + LEARNS * (1.0 - guess) || trace.case.effect != Effect::Healthy && with_bad_base.contains(&key)
        {
            continue;
        }
        let is_search = trace.case.is_search;
        let is_decided = match trace.case.effect {
            Effect::Healthy if is_search && high <= WRONG_RATE && !(high > ON_ITS_WAY && trace.is_rising()) => {
                trace.case.fault = RATE.to_vec();
                true
            }
            Effect::Healthy => low >= if is_search { SEARCHED } else { HEALTHY },
            Effect::Harmful => high <= HURTS,
            Effect::Gap => trace.gap().is_some_and(|gap| gap >= GAP),
            Effect::Fault => true,
        };
        if is_decided {
            decided.push(trace);
        }
    }
    let neither = all - decided.len();
    (decided, neither, bests)
}
