//! Scalars a second through the event writer: queue, encode, write, sync and close.
//!
//! `taskset -c 0 cargo bench --bench events` holds it to one core.

use std::time::Instant;

use gradwatch::events::{SummaryWriter, Tag};

const SCALARS: u64 = 2_000_000;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let logdir = tempfile::tempdir()?;
    // What a loop passes: a literal, and a name that was made once.
    let kept = Tag::from("grad_norm/layer1.0.conv1.weight");
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let writer = SummaryWriter::create(logdir.path())?;
        let started = Instant::now();
        for step in 0..SCALARS / 2 {
            writer.scalar("loss/train", step, step as f64)?;
            writer.scalar(kept.clone(), step, 0.5)?;
        }
        writer.close()?;
        rates.push(SCALARS as f64 / started.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "event writer: {:.0} scalars/s (median of {ROUNDS} rounds of {SCALARS}; {:.0} to {:.0})",
        rates[ROUNDS / 2],
        rates[0],
        rates[ROUNDS - 1]
    );
    Ok(())
}
