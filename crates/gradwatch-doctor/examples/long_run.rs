//! Writes runs to measure `watch`: one long run with many tags, or many runs, and goes on writing.
//!
//! `cargo run --release --example long_run -- FOLDER STEPS TAGS [RUNS] [--live]`

use std::{
    env,
    error::Error,
    fs::{self, OpenOptions},
    io::{BufWriter, Write},
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[path = "../tests/demo/mod.rs"]
mod demo;

use demo::{noise, record};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let is_live = arguments.iter().any(|argument| argument == "--live");
    arguments.retain(|argument| argument != "--live");
    let [folder, steps, tags, runs @ ..] = &arguments[..] else {
        return Err("want FOLDER STEPS TAGS [RUNS] [--live]".into());
    };
    let (folder, steps, tags): (_, u64, usize) = (Path::new(folder), steps.parse()?, tags.parse()?);
    let runs: usize = runs.first().map_or(Ok(1), |runs| runs.parse())?;
    for run in 0..runs {
        let folder = if runs == 1 { folder.to_owned() } else { folder.join(format!("run-{run:04}")) };
        write(&folder, steps, tags, is_live && run + 1 == runs)?;
    }
    Ok(())
}

/// Writes a run, and one more step each second if it is live.
fn write(folder: &Path, steps: u64, tags: usize, is_live: bool) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let path = folder.join("events.out.tfevents.1767366245.host.1.0");
    let mut file = BufWriter::new(OpenOptions::new().create_new(true).append(true).open(path)?);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let start = now() - steps as f64;
    for step in 0..steps {
        file.write_all(&record(start + step as f64, step, &values(step, tags)))?;
    }
    file.flush()?;
    for step in steps.. {
        if !is_live {
            break;
        }
        thread::sleep(Duration::from_secs(1));
        file.write_all(&record(now(), step, &values(step, tags)))?;
        file.flush()?;
    }
    Ok(())
}

/// Loss, learning rate, total norm, and the norms of as many parameters as there are tags left.
fn values(step: u64, tags: usize) -> Vec<(String, f64)> {
    let loss = 0.3 + 2.0 * (-(step as f64) / 5000.0).exp() + 0.05 * noise(step, 0);
    let mut values = vec![
        ("Loss/train".to_owned(), loss),
        ("lr".to_owned(), 0.1),
        ("grad_norm/total".to_owned(), 1.0 + 0.3 * noise(step, 1)),
    ];
    for tag in 0..tags.saturating_sub(3) {
        let (layer, kind) = (tag / 2, if tag % 2 == 0 { "weight" } else { "bias" });
        values.push((format!("grad_norm/layers.{layer}.{kind}"), 0.1 * (1.0 + 0.5 * noise(step, 2 + tag as u64))));
    }
    values
}
