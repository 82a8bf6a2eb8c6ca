//! Measures how well rules tell faulty runs from healthy ones, how soon, and whether they identify the fault.
//!
//! Trains a grid of runs with a known fault and as many healthy ones, keeps their files in `target/diagnosis-traces`,
//! and scores gradwatch's rules and the rule sets of other tools on them. Does not retrain existing runs. `SEEDS=3`
//! scores runs that were not used to choose any threshold, `ONLY=lenet5` only some of the runs, and `DETAIL=1` prints
//! the accuracies.

mod cases;
mod holdout;
mod images;
mod names;
mod own_loops;
mod score;
mod traces;

use std::{cmp::Ordering, path::Path};

use cases::Case;
use gradwatch::{config::RuleSetName, diagnosis::Thresholds};
use score::{Score, Trace, Verdict, judge_all, noisy_rules};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/diagnosis-traces");
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "1,2".into());
    let seeds: Vec<u64> = seeds.split(',').map(|seed| seed.trim().parse().expect("SEEDS is like 1,2")).collect();
    let mut cases = cases::all(&seeds);
    if let Ok(only) = std::env::var("ONLY") {
        cases.retain(|case| format!("{} {}", case.architecture, case.name).contains(&only));
    }
    let folders = traces::train_all(&root, &cases);
    let runs = cases.iter().zip(&folders);
    let traces: Vec<Trace> = runs.filter_map(|(case, folder)| Some(Trace::read(case, folder.as_ref()?))).collect();
    println!(
        "{} runs, {} of them faulty",
        traces.len(),
        traces.iter().filter(|trace| trace.case.fault.is_some()).count()
    );
    if std::env::var("DETAIL").is_ok() {
        print_accuracies(&traces);
    }

    let ours = judge_all(&traces, |trace| trace.diagnose(&Thresholds::default()));
    println!("\n| rule set | recall | false alarms | balanced accuracy | root cause top-1 | median first alarm |");
    println!("|---|---|---|---|---|---|");
    print_row("gradwatch", &traces, &ours);
    let (held_out, chosen) = holdout::leave_one_out(&traces);
    print_row("gradwatch, thresholds chosen on other architectures", &traces, &held_out);
    let mut later = Vec::new();
    for &name in RuleSetName::ALL {
        let theirs = judge_all(&traces, |trace| trace.ask(name));
        print_row(name.name(), &traces, &theirs);
        later.push(compare(name.name(), &traces, &ours, &theirs));
    }
    println!("\n{}", later.join("\n"));
    for (architecture, moved) in chosen {
        let moved: Vec<String> = moved.iter().map(|(rule, factor)| format!("{rule} x {factor}")).collect();
        let moved = if moved.is_empty() { "none".into() } else { moved.join(", ") };
        println!("moved for {architecture}: {moved}");
    }
    print_errors(&traces, &ours);
}

/// Compares detection times over the faults that both find, that both identify, and that both find by rules that are
/// silent on healthy runs.
fn compare(name: &str, traces: &[Trace], ours: &[Verdict], theirs: &[Verdict]) -> String {
    let noisy = noisy_rules(traces, theirs);
    let by = |verb: &str, first: &dyn Fn(&Verdict, &Case) -> Option<u64>| {
        let faulty = traces.iter().map(|trace| &trace.case).zip(ours.iter().zip(theirs));
        let faulty = faulty.filter(|(case, _)| case.fault.is_some());
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

fn print_row(name: &str, traces: &[Trace], verdicts: &[Verdict]) {
    let score = Score::of(traces.iter().zip(verdicts));
    let percent = |share: Option<f64>| share.map_or_else(|| "none".into(), |share| format!("{:.1} %", 100.0 * share));
    println!(
        "| {name} | {} | {} ({} of {}) | {} | {} | {} |",
        percent(score.recall()),
        percent(score.false_alarm_rate()),
        score.false_alarms,
        score.healthy,
        percent(score.balanced_accuracy()),
        percent(score.top1()),
        score.median_first.map_or_else(|| "none".into(), |step| format!("step {step}"))
    );
}

/// Prints every fault that was missed or misidentified, and every false alarm.
fn print_errors(traces: &[Trace], verdicts: &[Verdict]) {
    for (trace, verdict) in traces.iter().zip(verdicts) {
        let case = &trace.case;
        let error = match (case.fault, verdict.first()) {
            (Some(_), None) => "not found",
            (Some(_), Some(_)) if !verdict.root_cause.is_some_and(|rule| case.is_named_by(rule)) => "not named",
            (None, Some(_)) => "false alarm",
            _ => continue,
        };
        println!(
            "{error}: {} {} seed {} (accuracy {}): {} at step {:?}",
            case.architecture,
            case.name,
            case.seed,
            two_digits(trace.accuracy()),
            verdict.rules.join(", "),
            verdict.first()
        );
    }
}

fn print_accuracies(traces: &[Trace]) {
    for trace in traces {
        let case = &trace.case;
        let kind = if case.fault.is_some() { "faulty" } else { "healthy" };
        let accuracy = two_digits(trace.accuracy());
        println!("{kind} {} {} seed {}: accuracy {accuracy}", case.architecture, case.name, case.seed);
    }
}

fn two_digits(accuracy: Option<f64>) -> String {
    accuracy.map_or_else(|| "none".into(), |accuracy| format!("{accuracy:.2}"))
}
