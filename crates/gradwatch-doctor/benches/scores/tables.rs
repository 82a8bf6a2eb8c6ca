//! Tables of scores.

use std::collections::BTreeMap;

use crate::{
    holdout::Moved,
    score::{Score, Trace, Verdict},
};

/// Number of faulty and healthy runs.
pub(crate) fn counts(traces: &[Trace]) -> String {
    let faulty = traces.iter().filter(|trace| trace.case.is_faulty()).count();
    format!("{faulty} faulty and {} healthy runs", traces.len() - faulty)
}

pub(crate) fn print_header() {
    println!(
        "\n| rule set | recall | false alarms | critical ones | balanced accuracy | root cause top-1 | median first alarm |"
    );
    println!("|---|---|---|---|---|---|---|");
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "none".into(), |share| format!("{:.1} %", 100.0 * share))
}

pub(crate) fn print_row(name: &str, traces: &[Trace], verdicts: &[Verdict]) {
    let score = Score::of(traces.iter().zip(verdicts));
    println!(
        "| {name} | {} | {} ({} of {}) | {} | {} | {} | {} |",
        percent(score.recall()),
        percent(score.false_alarm_rate()),
        score.false_alarms,
        score.healthy,
        score.critical,
        percent(score.balanced_accuracy()),
        percent(score.top1()),
        score.median_first.map_or_else(|| "none".into(), |step| format!("step {step}"))
    );
}

/// Prints one row per part of the runs.
pub(crate) fn print_parts(name: &str, traces: &[Trace], verdicts: &[Verdict], part: fn(&Trace) -> &str) {
    println!("\n| {name} | recall | root cause top-1 | false alarms |\n|---|---|---|---|");
    let mut parts: BTreeMap<&str, Vec<(&Trace, &Verdict)>> = BTreeMap::new();
    for (trace, verdict) in traces.iter().zip(verdicts) {
        parts.entry(part(trace)).or_default().push((trace, verdict));
    }
    for (part, runs) in parts {
        let score = Score::of(runs.into_iter());
        println!(
            "| {part} | {} of {} | {} | {} of {} |",
            score.found, score.faulty, score.named, score.false_alarms, score.healthy
        );
    }
}

/// Prints the root causes that were named, for each fault.
pub(crate) fn print_confusion(traces: &[Trace], verdicts: &[Verdict]) {
    let mut rows: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (trace, verdict) in traces.iter().zip(verdicts) {
        let fault = trace.case.fault.first().map_or("healthy", |fault| fault.name());
        let is_alarm = verdict.first().is_some();
        let named = verdict.root_cause.filter(|_| is_alarm).map_or("silent", |rule| rule.name());
        *rows.entry(fault).or_default().entry(named).or_default() += 1;
    }
    println!("\n| fault | root causes |\n|---|---|");
    for (fault, named) in rows {
        let mut named: Vec<_> = named.into_iter().collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let named: Vec<String> = named.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("| {fault} | {} |", named.join(", "));
    }
}

pub(crate) fn print_moved(chosen: &Moved) {
    for (part, moved) in chosen {
        let moved: Vec<String> = moved.iter().map(|(rule, factor)| format!("{rule} x {factor}")).collect();
        let moved = if moved.is_empty() { "none".into() } else { moved.join(", ") };
        println!("moved for {part}: {moved}");
    }
}

/// Prints every fault that was missed or misidentified, and every false alarm; with `DETAIL=1`, every run.
pub(crate) fn print_errors(traces: &[Trace], verdicts: &[Verdict]) {
    let is_detailed = std::env::var("DETAIL").is_ok();
    for (trace, verdict) in traces.iter().zip(verdicts) {
        let case = &trace.case;
        let error = match (case.is_faulty(), verdict.first()) {
            (true, None) => "not found",
            (true, Some(_)) if !verdict.root_cause.is_some_and(|rule| case.is_named_by(rule)) => "not named",
            (false, Some(_)) => "false alarm",
            _ if is_detailed => "right",
            _ => continue,
        };
        println!(
            "{error}: {} {} seed {} (accuracy {}, skill {}): {} at step {:?}; {}",
            case.architecture,
            case.name,
            case.seed,
            two_digits(trace.accuracy()),
            two_digits(trace.skill),
            verdict.rules.join(", "),
            verdict.first(),
            verdict.remedies.first().map_or_else(|| "no remedy".into(), ToString::to_string)
        );
    }
}

fn two_digits(accuracy: Option<f64>) -> String {
    accuracy.map_or_else(|| "none".into(), |accuracy| format!("{accuracy:.2}"))
}
