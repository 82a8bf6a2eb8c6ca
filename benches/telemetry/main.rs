//! What looking at gradients costs a training step, as a ratio to the same step without.
//!
//! In each of `TURNS` turns every variant runs `STEPS` steps in alternation with as many plain ones, so that a change of the
//! machine's speed meets both; a ratio compares these two. `MODEL` picks the models whose name begins so. `PEERS` names a
//! file of rows by `benches/peers/telemetry.py --json`, which then stand beneath ours.

mod mobilenet;
mod table;
mod training;
mod variant;
mod watch;

use std::env::{self, VarError};
use std::error::Error;
use std::path::Path;
use std::thread::available_parallelism;

use gradwatch::libtorch::keep_freed_memory;

use table::{Row, print_header, print_row, read_rows};
use training::{SUBJECTS, Subject, Training};
use variant::{FULL, PLAIN, VARIANTS};

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
    print_header();
    let model = text("MODEL")?;
    let is_asked = |subject: &&Subject| model.as_deref().is_none_or(|model| subject.name.starts_with(model));
    if !SUBJECTS.iter().any(|subject| is_asked(&subject)) {
        return Err(format!("MODEL: got {model:?}, want the beginning of one of {:?}", SUBJECTS.map(|s| s.name)).into());
    }
    for subject in SUBJECTS.iter().filter(is_asked) {
        let (rows, judging) = rows_of(subject, turns)?;
        rows.iter().for_each(print_row);
        let [low, middle, high] = judging.map(|share| 100.0 * share);
        println!("rules on {}: {middle:.3} % of a step watched in full ({low:.3} to {high:.3})", subject.name);
        peers.iter().filter(|row| row.model == subject.name).for_each(print_row);
    }
    Ok(())
}

/// A row for each variant; and of a step watched in full the share that the rules take: least, median, most.
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
    let rows = measured.map(|(variant, (secs, ratios))| row(subject.name, variant.name, secs, ratios)).collect();
    let middle = median(&mut judging);
    Ok((rows, [judging[0], middle, judging[judging.len() - 1]]))
}

fn row(model: &str, variant: &str, secs: &mut [f64], ratios: &mut [f64]) -> Row {
    // Sorts the ratios: the spread is their ends.
    let ratio = median(ratios);
    Row {
        framework: "gradwatch".into(),
        model: model.into(),
        variant: variant.into(),
        ms_per_step: 1e3 * median(secs),
        ratio,
        lowest_ratio: ratios[0],
        highest_ratio: ratios[ratios.len() - 1],
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Steps of about two seconds, in whole tens, since some of the work is done at every tenth step.
fn steps_of_seconds(training: &mut Training, twin: &mut Training) -> Result<u32, Box<dyn Error>> {
    // The fastest of three: a disturbed one would make all blocks too short.
    let mut fastest = f64::INFINITY;
    for _ in 0..3 {
        let [plain, ..] = training.pair_secs(twin, &PLAIN, 3)?;
        fastest = fastest.min(plain);
    }
    // Ten of a step that takes longer: of none there is no mean.
    Ok(((2.0 / fastest) as u32).max(1).next_multiple_of(10))
}

/// A positive number from the environment; unset and empty are the default, as `make` passes them on.
fn setting(name: &str) -> Result<Option<u32>, Box<dyn Error>> {
    let Some(text) = text(name)? else { return Ok(None) };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!("{name}: got {text:?}, want a number from 1").into()),
    }
}

fn text(name: &str) -> Result<Option<String>, VarError> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(cause) => Err(cause),
    }
}
