//! Compares detection times with those of another tool.

use std::cmp::Ordering;

use crate::{
    case::Case,
    score::{Trace, Verdict, noisy_rules},
};

/// Compares detection times over the faults that both find, that both identify, and that both find by rules that are
/// silent on healthy runs.
pub(crate) fn compare(name: &str, traces: &[Trace], ours: &[Verdict], theirs: &[Verdict]) -> String {
    let noisy = noisy_rules(traces, theirs);
    let by = |verb: &str, first: &dyn Fn(&Verdict, &Case) -> Option<u64>| {
        let faulty = traces.iter().map(|trace| &trace.case).zip(ours.iter().zip(theirs));
        let faulty = faulty.filter(|(case, _)| case.is_faulty());
        let both = faulty.filter_map(|(case, (ours, theirs))| Some((case, first(ours, case)?, first(theirs, case)?)));
        let (mut sooner, mut as_soon, mut later) = (0, 0, Vec::new());
        for (case, ours, theirs) in both {
            match ours.cmp(&theirs) {
                Ordering::Less => sooner += 1,
                Ordering::Equal => as_soon += 1,
                Ordering::Greater => later.push(format!("{} {} ({ours}, {theirs})", case.architecture, case.name)),
            }
        }
        let which = if later.is_empty() { String::new() } else { format!(": {}", later.join("; ")) };
        format!("\n- {verb}: {sooner} sooner, {as_soon} at the same step, {} later{which}", later.len())
    };
    let found = by("found", &|verdict, _| verdict.first());
    let named = by("named", &|verdict, case| verdict.first_that_names(case));
    let told = by("told by rules that are silent on 9 of 10 healthy runs", &|verdict, _| verdict.first_but_for(&noisy));
    let mut noisy: Vec<&str> = noisy.iter().copied().collect();
    noisy.sort_unstable();
    format!("beside {name}, whose noisy rules are {noisy:?}{found}{named}{told}")
}
