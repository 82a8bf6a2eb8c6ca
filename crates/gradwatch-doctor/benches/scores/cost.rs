//! Time to judge a step in which everything was measured.

use std::{collections::BTreeMap, time::Instant};

use gradwatch_doctor::{diagnosis::Diagnosis, replay::ReplayEvent};

use crate::score::Trace;

/// Prints the median time per family.
pub(crate) fn print(traces: &[Trace]) {
    let mut times: BTreeMap<&str, (usize, Vec<f64>)> = BTreeMap::new();
    for trace in traces {
        let (mut diagnosis, subject) = (Diagnosis::default(), trace.subject());
        let (parameters, times) = times.entry(&trace.case.architecture).or_default();
        *parameters = trace.facts.parameters.len();
        for moment in &trace.moments {
            match moment {
                ReplayEvent::Restart => {}
                ReplayEvent::Evaluation(evaluation) => _ = diagnosis.judge_evaluation(evaluation, &subject),
                ReplayEvent::Step(sample) => {
                    let seen = sample.observe();
                    let start = Instant::now();
                    diagnosis.judge(&seen, &subject);
                    if !seen.updates.is_empty() {
                        times.push(start.elapsed().as_secs_f64());
                    }
                }
            }
        }
    }
    println!("\n| family | parameters | time to judge a step, \u{b5}s |\n|---|---|---|");
    for (family, (parameters, mut times)) in times {
        times.sort_by(f64::total_cmp);
        if let Some(median) = times.get(times.len() / 2) {
            println!("| {family} | {parameters} | {:.1} |", 1e6 * median);
        }
    }
}
