//! Cost of gradient monitoring per training step, as a ratio to the same step without it.
//!
//! In each of `TURNS` turns every variant runs `STEPS` steps in alternation with as many plain ones, so that a change
//! of the machine's speed affects both; a ratio compares these two. `MODEL` selects the models whose names begin with
//! it. `PEERS` names a file of rows by `benches/peers/telemetry.py --json`, which are printed below gradwatch's.

mod mobilenet;
mod settings;
mod table;
mod training;
mod variant;
mod watch;

use std::error::Error;
use std::path::Path;
use std::thread::available_parallelism;

use gradwatch::libtorch::keep_freed_memory;

use settings::{asked, setting, text};
use table::{Row, median, print_header, print_row, read_rows};
use training::{SUBJECTS, Subject, Training};
use variant::{EVERYTHING, FULL, LIGHT, PLAIN, Variant};

/// Plain against plain comes first: it shows the noise of the other ratios. Blocks begin at step 1000, after the first
/// steps, which are measured in full.
const VARIANTS: [Variant; 5] =
    [PLAIN, Variant { name: "hooks only", has_hooks: true, ..PLAIN }, LIGHT, FULL, EVERYTHING];

fn main() -> Result<(), Box<dyn Error>> {
    keep_freed_memory();
    let threads = available_parallelism()?.get();
    tch::set_num_threads(i32::try_from(threads)?);
    let turns = setting("TURNS")?.unwrap_or(5);
    let peers = match text("PEERS")? {
        Some(path) => read_rows(Path::new(&path))?,
        None => Vec::new(),
    };
    println!("{threads} threads, medians of {turns} turns");
    print_header(&[]);
    for subject in asked(&SUBJECTS, |subject| subject.name)? {
        let (rows, judging) = rows_of(subject, turns)?;
        rows.iter().for_each(|row| print_row(row, &[]));
        let [low, middle, high] = judging.map(|share| 100.0 * share);
        println!("rules on {}: {middle:.3} % of a step watched in full ({low:.3} to {high:.3})", subject.name);
        peers.iter().filter(|row| row.model == subject.name).for_each(|row| print_row(row, &[]));
    }
    Ok(())
}

/// A row for each variant; and the share of the rules in a fully monitored step: minimum, median, maximum.
fn rows_of(subject: &Subject, turns: u32) -> Result<(Vec<Row>, [f64; 3]), Box<dyn Error>> {
    let (mut training, mut twin) = (subject.start()?, subject.start()?);
    let steps = match setting("STEPS")? {
        Some(steps) => steps,
        None => steps_of_seconds(&mut training, &mut twin)?,
    };
    let mut secs = vec![Vec::new(); VARIANTS.len()];
    let (mut ratios, mut judging) = (secs.clone(), Vec::new());
    for _ in 0..turns {
        for (index, variant) in VARIANTS.iter().enumerate() {
            let [plain, watched, rules] = training.pair_secs(&mut twin, variant, steps)?;
            if variant.name == FULL.name {
                judging.push(rules / watched);
            }
            secs[index].push(watched);
            ratios[index].push(watched / plain);
        }
    }
    let measured = VARIANTS.iter().zip(secs.iter_mut().zip(&mut ratios));
    let rows =
        measured.map(|(variant, (secs, ratios))| Row::measured(subject.name, variant.name, secs, ratios)).collect();
    let middle = median(&mut judging);
    Ok((rows, [judging[0], middle, judging[judging.len() - 1]]))
}

/// Number of steps that take about two seconds, a multiple of ten, because some of the work runs at every tenth step.
fn steps_of_seconds(training: &mut Training, twin: &mut Training) -> Result<u32, Box<dyn Error>> {
    // The fastest of three: a disturbed one would make all blocks too short.
    let mut fastest = f64::INFINITY;
    for _ in 0..3 {
        let [plain, ..] = training.pair_secs(twin, &PLAIN, 3)?;
        fastest = fastest.min(plain);
    }
    // At least ten steps, even if a step takes longer than two seconds.
    Ok(((2.0 / fastest) as u32).max(1).next_multiple_of(10))
}
