//! Chooses thresholds on some runs and scores them on others.

use std::collections::BTreeMap;

use gradwatch_doctor::diagnosis::{RuleName, Thresholds};

use crate::score::{Trace, Verdict, judge_all};

/// An adjustable threshold.
struct Knob {
    rule: RuleName,
    place: fn(&mut Thresholds) -> &mut f64,
    /// Whether it is a share that scales by its distance from 1.
    from_one: bool,
}

const KNOBS: [Knob; 15] = [
    Knob { rule: RuleName::Vanishing, place: |all| &mut all.vanishing, from_one: false },
    Knob { rule: RuleName::Exploding, place: |all| &mut all.exploding, from_one: false },
    Knob { rule: RuleName::DeadRelu, place: |all| &mut all.dead_relu, from_one: true },
    Knob { rule: RuleName::Saturated, place: |all| &mut all.saturated, from_one: true },
    Knob { rule: RuleName::InitialLoss, place: |all| &mut all.initial_loss, from_one: false },
    Knob { rule: RuleName::PoorInitialization, place: |all| &mut all.poor_initialization, from_one: false },
    Knob { rule: RuleName::UpdateRatio, place: |all| &mut all.update_ratio, from_one: false },
    Knob { rule: RuleName::LearningRate, place: |all| &mut all.learning_rate, from_one: false },
    Knob { rule: RuleName::LossPlateau, place: |all| &mut all.loss_plateau, from_one: false },
    Knob { rule: RuleName::LossDiverging, place: |all| &mut all.loss_diverging, from_one: false },
    Knob { rule: RuleName::LossOscillating, place: |all| &mut all.loss_oscillating, from_one: false },
    Knob { rule: RuleName::SlowConvergence, place: |all| &mut all.slow_convergence, from_one: false },
    Knob { rule: RuleName::Overfitting, place: |all| &mut all.overfitting, from_one: false },
    Knob { rule: RuleName::InputNotNormalized, place: |all| &mut all.input_not_normalized, from_one: false },
    Knob { rule: RuleName::LabelImbalance, place: |all| &mut all.label_imbalance, from_one: false },
];

/// Multiples of the default to try; the first wins ties.
const FACTORS: [f64; 5] = [1.0, 0.5, 2.0, 0.25, 4.0];

/// Weight of a false alarm relative to a detected fault, each as a share of the possible runs.
const FALSE_ALARM: f64 = 3.0;

impl Knob {
    fn turn(&self, thresholds: &mut Thresholds, factor: f64) {
        let value = (self.place)(thresholds);
        *value = if self.from_one { 1.0 - (1.0 - *value) * factor } else { *value * factor };
    }
}

/// For each held-out part, the changed thresholds and their factors.
pub(crate) type Moved = BTreeMap<String, Vec<(RuleName, f64)>>;

/// Verdict on each run with thresholds chosen on the runs outside its part, and these factors by part.
pub(crate) fn leave_one_out(traces: &[Trace], part: fn(&Trace) -> &str) -> (Vec<Verdict>, Moved) {
    let told: Vec<Vec<Vec<Verdict>>> = KNOBS
        .iter()
        .map(|knob| {
            let with = |&factor: &f64| {
                let mut thresholds = Thresholds::default();
                knob.turn(&mut thresholds, factor);
                judge_all(traces, |trace| trace.diagnose(&thresholds))
            };
            FACTORS.iter().map(with).collect()
        })
        .collect();
    let mut verdicts = vec![Verdict::default(); traces.len()];
    let mut chosen = BTreeMap::new();
    let parts: std::collections::BTreeSet<&str> = traces.iter().map(part).collect();
    for name in parts {
        let is_held_out = |trace: &Trace| part(trace) == name;
        let mut thresholds = Thresholds::default();
        let mut moved = Vec::new();
        for (knob, told) in KNOBS.iter().zip(&told) {
            let worth = |verdicts: &Vec<Verdict>| {
                let others = traces.iter().zip(verdicts).filter(|(trace, _)| !is_held_out(trace));
                worth(knob.rule, others)
            };
            let mut best = 0;
            for candidate in 1..FACTORS.len() {
                if worth(&told[candidate]) > worth(&told[best]) + 1e-9 {
                    best = candidate;
                }
            }
            knob.turn(&mut thresholds, FACTORS[best]);
            if best > 0 {
                moved.push((knob.rule, FACTORS[best]));
            }
        }
        let told = judge_all(
            traces,
            |trace| if is_held_out(trace) { trace.diagnose(&thresholds) } else { Verdict::default() },
        );
        for ((place, told), _) in verdicts.iter_mut().zip(told).zip(traces).filter(|(_, trace)| is_held_out(trace)) {
            *place = told;
        }
        chosen.insert(name.to_owned(), moved);
    }
    (verdicts, chosen)
}

/// Value of a rule: detected faults of its kind, minus its weighted alarms on healthy runs.
fn worth<'a>(rule: RuleName, verdicts: impl Iterator<Item = (&'a Trace, &'a Verdict)>) -> f64 {
    let [mut of_it, mut told, mut healthy, mut alarms] = [0.0_f64; 4];
    for (trace, verdict) in verdicts {
        let speaks = f64::from(u8::from(verdict.rules.iter().any(|name| name == rule.name())));
        match trace.case.is_faulty() {
            true if trace.case.is_named_by(rule) => (of_it, told) = (of_it + 1.0, told + speaks),
            true => {}
            false => (healthy, alarms) = (healthy + 1.0, alarms + speaks),
        }
    }
    told / of_it.max(1.0) - FALSE_ALARM * alarms / healthy.max(1.0)
}
