//! Decides from the accuracy of a run whether it is healthy or faulty.
//!
//! The skill of a run is its accuracy on the way from that of a guess to the best of all runs with the same family and
//! task. A run of the search with a low skill has a wrong learning rate, and one with a high skill is healthy. A fault
//! counts only if it hurts, unless its harm does not show in the accuracy. Runs in between count as neither.

use std::collections::{HashMap, HashSet};

use gradwatch_doctor::diagnosis::RuleName;

use crate::{case::Effect, score::Trace};

/// Skill from which a run is healthy, and from which a searched run is.
const HEALTHY: f64 = 0.75;
const SEARCHED: f64 = 0.85;
/// Skill up to which a fault hurts, and up to which the rate of a searched run is wrong.
const HURTS: f64 = 0.7;
const WRONG_RATE: f64 = 0.5;
/// Training accuracy minus validation accuracy from which a run does not generalize.
const GAP: f64 = 0.2;
/// Rules that identify a learning rate far from the best one.
const RATE: [RuleName; 2] = [RuleName::LearningRate, RuleName::UpdateRatio];

/// Part of the way from a guess to 1 that the best run of a task must reach.
const LEARNS: f64 = 0.3;

fn task(trace: &Trace) -> (String, String) {
    (trace.case.architecture.clone(), trace.case.task.clone())
}

fn reached(trace: &Trace) -> f64 {
    trace.reached().unwrap_or(0.0)
}

fn guess(trace: &Trace) -> f64 {
    1.0 / trace.facts.classes.max(2) as f64
}

fn skill(trace: &Trace, best: &HashMap<(String, String), f64>) -> f64 {
    (reached(trace) - guess(trace)) / (best[&task(trace)] - guess(trace)).max(f64::EPSILON)
}

/// The traces that are healthy or faulty, with their faults; and the number of those that are neither.
pub(crate) fn decide(traces: Vec<Trace>) -> (Vec<Trace>, usize) {
    let mut best: HashMap<_, f64> = HashMap::new();
    for trace in &traces {
        let best = best.entry(task(trace)).or_default();
        *best = best.max(reached(trace));
    }
    // A fault tells nothing if the run without it fails too.
    let with_bad_base: HashSet<(String, String)> = traces
        .iter()
        .filter(|trace| trace.case.is_search && trace.case.name == format!("{} x 1", trace.case.optimizer))
        .filter(|trace| skill(trace, &best) < HEALTHY)
        .map(|trace| (trace.case.architecture.clone(), trace.case.optimizer.clone()))
        .collect();
    let (mut decided, all) = (Vec::new(), traces.len());
    for mut trace in traces {
        let (skill, best) = (skill(&trace, &best), best[&task(&trace)]);
        trace.skill = Some(skill);
        let guess = guess(&trace);
        let key = (trace.case.architecture.clone(), trace.case.optimizer.clone());
        if best < guess + LEARNS * (1.0 - guess) || trace.case.effect != Effect::Healthy && with_bad_base.contains(&key)
        {
            continue;
        }
        let is_search = trace.case.is_search;
        let is_decided = match trace.case.effect {
            Effect::Healthy if is_search && skill <= WRONG_RATE => {
                trace.case.fault = RATE.to_vec();
                true
            }
            Effect::Healthy => skill >= if is_search { SEARCHED } else { HEALTHY },
            Effect::Harmful => skill <= HURTS,
            Effect::Gap => trace.gap().is_some_and(|gap| gap >= GAP),
            Effect::Fault => true,
        };
        if is_decided {
            decided.push(trace);
        }
    }
    let neither = all - decided.len();
    (decided, neither)
}
