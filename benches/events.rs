//! Scalars per second through a whole event file: queue, encode, write, fsync, and close.

use std::error::Error;
use std::time::Instant;

use gradwatch::events::{SummaryWriter, Tag};

const TAGS: u64 = 500;
const STEPS: u64 = 2_000;
const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let tags: Vec<Tag> = (0..TAGS).map(|index| Tag::from(format!("grad_norm/layer4.{index}.conv2.weight"))).collect();
    let mut rates = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let logdir = tempfile::tempdir()?;
        let start = Instant::now();
        let writer = SummaryWriter::create(logdir.path())?;
        for step in 0..STEPS {
            for tag in &tags {
                writer.scalar(tag, step, step as f64)?;
            }
        }
        writer.close()?;
        rates.push((STEPS * TAGS) as f64 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "{:.0} scalars/s, median of {ROUNDS} rounds of {} ({:.0} to {:.0})",
        rates[ROUNDS / 2],
        STEPS * TAGS,
        rates[0],
        rates[ROUNDS - 1]
    );
    Ok(())
}
