//! Scores the rules, and the rule sets of other tools, on faulty and healthy runs: how well they tell them apart, how
//! soon, and whether they identify the fault.
//!
//! Reads the runs that gradwatch's benchmark `diagnosis` has trained. `GRID=small` or `GRID=families` scores one of the
//! grids, `ONLY=lenet5` only some of the runs, `HOLDOUT=1` also chooses thresholds on a part of the families or
//! optimizers and scores the others, and `DETAIL=1` prints every run. Lists the faulty runs of the families with their
//! remedies in `faulty.jsonl`, and scores the repeated runs if there are some.

mod case;
mod compare;
mod cost;
mod holdout;
mod names;
mod outcome;
mod remedies;
mod score;
mod tables;

use std::path::Path;

use case::Case;
use gradwatch_doctor::{config::RuleSetName, diagnosis::Thresholds};
use score::{Trace, judge_all};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/diagnosis-traces");
    let (wanted, only) = ["GRID", "ONLY"].map(|name| std::env::var(name).unwrap_or_default()).into();
    let mut cases = case::read(&root.join("index.jsonl"));
    cases.retain(|case| format!("{} {}", case.architecture, case.name).contains(&only));
    let (small, families): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| case.grid == "small");
    if wanted != "families" && !small.is_empty() {
        score_small(&small);
    }
    if wanted != "small" && !families.is_empty() {
        score_families(&families, &root);
    }
}

/// Reads all runs, on two threads.
fn read_all(cases: &[Case]) -> Vec<Trace> {
    let (front, back) = cases.split_at(cases.len() / 2);
    std::thread::scope(|scope| {
        let front = scope.spawn(|| front.iter().map(Trace::read).collect::<Vec<_>>());
        let back: Vec<_> = back.iter().map(Trace::read).collect();
        front.join().expect("all runs can be read").into_iter().chain(back).collect()
    })
}

/// Five small networks with faults by config.
fn score_small(cases: &[Case]) {
    let traces = read_all(cases);
    println!("\nSmall grid: {}", tables::counts(&traces));
    let ours = judge_all(&traces, |trace| trace.diagnose(&Thresholds::default()));
    tables::print_header();
    tables::print_row("gradwatch", &traces, &ours);
    if std::env::var("HOLDOUT").is_ok() {
        print_held_out("architectures", &traces, |trace| &trace.case.architecture);
    }
    let mut later = Vec::new();
    for &name in RuleSetName::ALL {
        let theirs = judge_all(&traces, |trace| trace.ask(name));
        tables::print_row(name.name(), &traces, &theirs);
        later.push(compare::compare(name.name(), &traces, &ours, &theirs));
    }
    println!("\n{}", later.join("\n"));
    tables::print_errors(&traces, &ours);
}

/// All families and optimizers, with faults by outcome.
fn score_families(cases: &[Case], root: &Path) {
    let (traces, neither, best) = outcome::decide(read_all(cases));
    println!("\nFamilies: {}; {neither} runs count as neither", tables::counts(&traces));
    let ours = judge_all(&traces, |trace| trace.diagnose(&Thresholds::default()));
    tables::print_header();
    tables::print_row("gradwatch", &traces, &ours);
    if std::env::var("HOLDOUT").is_ok() {
        print_held_out("families", &traces, |trace| &trace.case.architecture);
        print_held_out("optimizers", &traces, |trace| &trace.case.optimizer);
    }
    for &name in RuleSetName::ALL {
        let theirs = judge_all(&traces, |trace| trace.ask(name));
        tables::print_row(name.name(), &traces, &theirs);
    }
    tables::print_parts("family", &traces, &ours, |trace| &trace.case.architecture);
    tables::print_parts("optimizer", &traces, &ours, |trace| &trace.case.optimizer);
    tables::print_confusion(&traces, &ours);
    cost::print(&traces);
    tables::print_errors(&traces, &ours);
    remedies::list(&root.join("faulty.jsonl"), &traces, &ours);
    let trials = root.join("remedies.jsonl");
    if trials.is_file() {
        remedies::score(&read_all(&case::read(&trials)), &traces, &ours, &best);
    }
}

fn print_held_out(parts: &str, traces: &[Trace], part: fn(&Trace) -> &str) {
    let (held_out, chosen) = holdout::leave_one_out(traces, part);
    tables::print_row(&format!("gradwatch, thresholds chosen on other {parts}"), traces, &held_out);
    tables::print_moved(&chosen);
}
