//! Trains the runs on which the rules are scored: two grids of faulty and healthy ones.
//!
//! Keeps their files in `target/diagnosis-traces`, does not retrain existing runs, and lists them in `index.jsonl` there,
//! which the benchmark `scores` of gradwatch-doctor reads. `GRID=small` or `GRID=families` trains one of the grids,
//! `GRID=repairs` lets faulty runs repair themselves,
//! `GRID=remedies` repeats the faulty runs of the families with recommended and with random changes, `ONLY=lenet5` trains
//! only some of the runs, `SEEDS=3` other seeds of the small grid, and `CACHED=1` none.

mod case;
mod cases;
mod families;
mod grid;
mod images;
mod index;
mod kinds;
mod own_loops;
mod remedies;
mod repairs;
mod traces;

use std::path::Path;

use case::Case;

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == repairs::random::ARGUMENT) {
        return repairs::random::train(&arguments[1..]);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/diagnosis-traces");
    let wanted = std::env::var("GRID").unwrap_or_default();
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "1,2".into());
    let seeds: Vec<u64> = seeds.split(',').map(|seed| seed.trim().parse().expect("SEEDS is like 1,2")).collect();
    let small = if matches!(&*wanted, "families" | "remedies") { Vec::new() } else { cases::all(&seeds) };
    let families = if wanted == "small" { Vec::new() } else { grid::all() };
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut cases: Vec<Case> = small.into_iter().chain(families).collect();
    cases.retain(|case| format!("{} {}", case.architecture, case.name).contains(&only));
    // All families early on, so that the runs that exist at any time are a sample; but two thirds of the runs of slow
    // families later, and NASNet, whose runs take minutes, last.
    cases.sort_by_key(|case| {
        let hash = blake3::hash(format!("{} {} {}", case.architecture, case.name, case.seed).as_bytes());
        let is_later = families::is_slow(case.architecture) && !hash.as_bytes()[0].is_multiple_of(3);
        (case.architecture == "nasnet", is_later, hash.to_hex())
    });
    let is_cached = std::env::var("CACHED").is_ok();
    if wanted == "repairs" {
        return repairs::all(&root, is_cached);
    }
    if wanted == "remedies" {
        let trials = remedies::all(&root, &cases);
        let folders = traces::train_all(&root, &trials, is_cached);
        index::write(&root.join("remedies.jsonl"), &trials, &folders);
        return;
    }
    let folders = traces::train_all(&root, &cases, is_cached);
    index::write(&root.join("index.jsonl"), &cases, &folders);
}
