//! Time and memory to list a folder of as many files as ImageNet.
//!
//! `MANY` is the folder of `benches/peers/many_files.py`, and `MANY_PEER` its row of torchvision's figures.

use std::{env, error::Error, fs, path::PathBuf, time::Instant};

use gradwatch::{
    config::{DataConfig, Source},
    data::load,
};
use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) fn print() -> Outcome<()> {
    let Some(path) = env::var("MANY").ok().filter(|path| !path.is_empty()) else {
        println!("many files: not measured; `make bench-peers` makes them and compares with torchvision");
        return Ok(());
    };
    let turns = env::var("TURNS").ok().and_then(|turns| turns.parse().ok()).unwrap_or(5).max(1);
    let config = DataConfig { source: Source::Folder, path: PathBuf::from(path), ..DataConfig::default() };
    let before = memory("VmRSS:")?;
    let (mut seconds, mut images) = (Vec::new(), 0);
    for _ in 0..turns {
        let started = Instant::now();
        images = load(&config, 1)?.train.len();
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let bytes = (memory("VmHWM:")? - before) / images as f64;
    print!("{images} files listed in {median:.2} s, {bytes:.0} bytes each at most");
    match env::var("MANY_PEER").ok().filter(|path| !path.is_empty()) {
        Some(path) => {
            let row: Value = serde_json::from_str(fs::read_to_string(path)?.trim())?;
            let peer = row["seconds"].as_f64().ok_or("the row of MANY_PEER lacks its seconds")?;
            println!("; {:.2} of the time of ImageFolder ({peer:.2} s)", median / peer);
        }
        None => println!(),
    }
    Ok(())
}

/// Memory of this process in bytes: now (`VmRSS:`), or at most (`VmHWM:`).
fn memory(key: &str) -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("no such line in /proc/self/status")?;
    Ok(1024.0 * line.trim().trim_end_matches("kB").trim().parse::<f64>()?)
}
