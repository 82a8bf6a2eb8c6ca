//! Success of recommended changes: repeats of faulty runs with a change count as fixed if they learn nearly as well as
//! the best run of the same family.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use gradwatch_doctor::diagnosis::Change;
use serde::Serialize;

use crate::{
    case::{Effect, Trial},
    outcome::Best,
    score::{Trace, Verdict},
};

/// Recommended changes to try for a run.
const REMEDIES: usize = 3;

/// A faulty run and the changes recommended for it.
#[derive(Serialize)]
struct Faulty<'a> {
    folder: &'a Path,
    changes: Vec<String>,
}

/// Whether the accuracy shows the fault, and a change of the config can fix it.
fn is_fixable(trace: &Trace) -> bool {
    trace.case.is_faulty() && matches!(trace.case.effect, Effect::Healthy | Effect::Harmful)
}

/// The first recommended config lines.
fn changes_to_try(verdict: &Verdict) -> impl Iterator<Item = &Change> {
    verdict.remedies.iter().filter(|change| change.key().is_some()).take(REMEDIES)
}

/// Lists the faulty runs, for the benchmark `diagnosis` of gradwatch to repeat.
pub(crate) fn list(path: &Path, traces: &[Trace], verdicts: &[Verdict]) {
    let mut text = String::new();
    for (trace, verdict) in traces.iter().zip(verdicts).filter(|(trace, _)| is_fixable(trace)) {
        let changes = changes_to_try(verdict).map(Change::to_string).collect();
        let line = Faulty { folder: &trace.case.folder, changes };
        text += &serde_json::to_string(&line).expect("no map has keys that are no strings");
        text.push('\n');
    }
    fs::write(path, text).expect("target/ can be written");
}

/// Successes out of trials.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    fixed: usize,
    tried: usize,
}

impl Count {
    fn add(&mut self, is_fixed: bool) {
        self.fixed += usize::from(is_fixed);
        self.tried += 1;
    }

    /// Expected success of the next trial (Laplace).
    fn expected(self) -> f64 {
        (self.fixed as f64 + 1.0) / (self.tried as f64 + 2.0)
    }

    /// Share with its 95 % confidence interval (Wilson, 1927).
    fn text(self) -> String {
        const Z: f64 = 1.96;
        if self.tried == 0 {
            return "none tried".into();
        }
        let (trials, share) = (self.tried as f64, self.fixed as f64 / self.tried as f64);
        let scale = 1.0 + Z * Z / trials;
        let center = (share + Z * Z / (2.0 * trials)) / scale;
        let half = Z / scale * (share * (1.0 - share) / trials + Z * Z / (4.0 * trials * trials)).sqrt();
        let [share, low, high] = [share, center - half, center + half].map(|share| 100.0 * share);
        format!("{} of {} ({share:.0} %, {low:.0} to {high:.0})", self.fixed, self.tried)
    }
}

/// A faulty run, its root cause, and whether each of its recommended changes fixed it; `None` if that was not tried.
struct Repeated<'a> {
    trace: &'a Trace,
    rule: &'static str,
    changes: Vec<(&'a Change, Option<bool>)>,
}

/// Prints the success of first remedies, of random changes, and of each kind of change by rule.
pub(crate) fn score(trials: &[Trace], traces: &[Trace], verdicts: &[Verdict], best: &Best) {
    let mut results: HashMap<(&Path, &str), bool> = HashMap::new();
    let mut random = Count::default();
    for trial in trials {
        let Some(Trial { of, change, place, .. }) = &trial.case.trial else { continue };
        match place {
            Some(_) => _ = results.insert((of, change), best.is_healthy(trial)),
            None => random.add(best.is_healthy(trial)),
        }
    }
    let repeated = traces.iter().zip(verdicts).filter(|(trace, _)| is_fixable(trace)).map(|(trace, verdict)| {
        let tried = |change: &Change| results.get(&(&*trace.case.folder, &*change.to_string())).copied();
        let changes = changes_to_try(verdict);
        Repeated {
            trace,
            rule: verdict.root_cause.map_or("none", |rule| rule.name()),
            changes: changes.map(|change| (change, tried(change))).collect(),
        }
    });
    let (repeated, untried): (Vec<Repeated<'_>>, Vec<_>) =
        repeated.partition(|repeated| repeated.changes.first().is_none_or(|(_, is_fixed)| is_fixed.is_some()));
    println!(
        "\n{} runs were not repeated\n\n| change | faulty runs fixed (95 % confidence) |\n|---|---|",
        untried.len()
    );
    // A run without a finding, or without a change of its config, is not fixed.
    let count = |is_fixed: &dyn Fn(&Repeated<'_>) -> bool| {
        repeated.iter().fold(Count::default(), |mut count, repeated| {
            count.add(is_fixed(repeated));
            count
        })
    };
    let is_first_fixed =
        |repeated: &Repeated<'_>| repeated.changes.first().is_some_and(|(_, fixed)| *fixed == Some(true));
    println!("| first remedy | {} |", count(&is_first_fixed).text());
    println!("| first remedy, ranked by the other families | {} |", count(&|one| is_best_fixed(one, &repeated)).text());
    println!(
        "| one of three remedies | {} |",
        count(&|one| one.changes.iter().any(|(_, fixed)| *fixed == Some(true))).text()
    );
    println!("| random | {} |", random.text());
    println!("\nremedy_success.tsv:\n# rule\tchange\tfixed\ttried");
    for ((rule, kind), count) in counts(repeated.iter()) {
        println!("{rule}\t{kind}\t{}\t{}", count.fixed, count.tried);
    }
    for Repeated { trace, rule, changes } in repeated.iter().filter(|repeated| !is_first_fixed(repeated)) {
        let change = changes.first().map_or_else(|| "no change".into(), |(change, _)| change.to_string());
        println!("not fixed: {} {}: {rule}, {change}", trace.case.architecture, trace.case.name);
    }
}

/// Successes by rule and kind of change.
fn counts<'a>(runs: impl Iterator<Item = &'a Repeated<'a>>) -> BTreeMap<(&'static str, String), Count> {
    let mut counts: BTreeMap<_, Count> = BTreeMap::new();
    for Repeated { rule, changes, .. } in runs {
        for (change, is_fixed) in changes {
            is_fixed.iter().for_each(|is_fixed| counts.entry((*rule, change.kind())).or_default().add(*is_fixed));
        }
    }
    counts
}

/// Whether the change that fixed most runs of the other families fixed this run.
fn is_best_fixed(one: &Repeated<'_>, all: &[Repeated<'_>]) -> bool {
    let family = &one.trace.case.architecture;
    let counts = counts(all.iter().filter(|other| other.trace.case.architecture != *family));
    let expected = |change: &Change| counts.get(&(one.rule, change.kind())).copied().unwrap_or_default().expected();
    // The first one wins ties.
    let best = one.changes.iter().rev().max_by(|one, other| expected(one.0).total_cmp(&expected(other.0)));
    best.is_some_and(|(_, is_fixed)| *is_fixed == Some(true))
}
