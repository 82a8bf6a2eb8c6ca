//! Time per image of JPEG files: a random part is resized to 224 pixels, flipped, and normalized.
//!
//! `IMAGES` is the folder of `benches/peers/loader.py`, and `PEERS` its rows of PyTorch's times. Each of `TURNS` turns
//! takes every measurement once. The first batch does not count for the wall time, so the workers have started.

use std::{collections::BTreeMap, env, error::Error, fs, path::Path, time::Instant};

use gradwatch::{
    config::{Augment, DataConfig, Decode, Interpolation, Normalize, Source},
    data::{Loader, LoaderOptions, PixelScale, load},
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error>>;

const SIZES: [&str; 2] = ["500x375", "1200x900"];
const BATCH: usize = 50;

/// Size of the files, decoder, and number of workers.
type Case = (String, String, u64);

/// Wall and CPU time per image, in milliseconds.
type Times = BTreeMap<Case, Vec<[f64; 2]>>;

pub(crate) fn print() -> Outcome<()> {
    let Some(images) = env::var("IMAGES").ok().filter(|path| !path.is_empty()) else {
        println!("JPEG files: not measured; `make bench-peers` makes them and compares with PyTorch");
        return Ok(());
    };
    let turns = env::var("TURNS").ok().and_then(|turns| turns.parse().ok()).unwrap_or(5).max(1);
    let mut own = Times::new();
    for turn in 0..turns {
        for size in SIZES {
            for decode in [Decode::Exact, Decode::Fast] {
                for workers in [1, 2] {
                    let times = epoch(&Path::new(&images).join(size), decode, workers, turn)?;
                    own.entry((size.into(), decode.to_string(), workers as u64)).or_default().push(times);
                }
            }
        }
    }
    let peers = peers()?;
    for ((size, decode, workers), times) in &own {
        let [wall, cpu] = medians(times);
        print!("{size:>8} {decode:5} workers {workers}: {wall:6.2} ms wall, {cpu:6.2} ms CPU per image");
        let others = peers.iter().filter(|((peer_size, _, count), _)| peer_size == size && count == workers);
        let best =
            others.map(|(_, times)| medians(times)).reduce(|one, other| [one[0].min(other[0]), one[1].min(other[1])]);
        match best {
            Some(best) => println!("; {:.2} and {:.2} of the faster PyTorch loader", wall / best[0], cpu / best[1]),
            None => println!(),
        }
    }
    Ok(())
}

fn epoch(folder: &Path, decode: Decode, workers: usize, epoch: u64) -> Outcome<[f64; 2]> {
    let config = DataConfig {
        source: Source::Folder,
        path: folder.to_owned(),
        image_size: 224.into(),
        batch_size: BATCH,
        validation_fraction: 0.01,
        interpolation: Interpolation::Bilinear,
        decode,
        normalize: Normalize::Given,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        workers,
        prefetch: 2 * workers,
        augment: Augment { random_resized_crop: true, hflip: 0.5, ..Augment::OFF },
        ..DataConfig::default()
    };
    let train = load(&config, 1)?.train;
    let images = train.len() as f64;
    let scale = PixelScale::from_config(&config, &train)?;
    let loader = Loader::new(train, LoaderOptions::for_training(&config, 1, scale))?;
    let cpu = cpu_seconds();
    let mut batches = loader.epoch(epoch, 0);
    let first = batches.next().transpose()?.map_or(0, |batch| batch.labels.len()) as f64;
    let started = Instant::now();
    for batch in batches {
        std::hint::black_box(batch?);
    }
    let wall = started.elapsed().as_secs_f64();
    Ok([1e3 * wall / (images - first), 1e3 * (cpu_seconds() - cpu) / images])
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

fn medians(times: &[[f64; 2]]) -> [f64; 2] {
    [0, 1].map(|which| {
        let mut sorted: Vec<f64> = times.iter().map(|times| times[which]).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    })
}

fn peers() -> Outcome<Times> {
    let mut peers = Times::new();
    let Some(path) = env::var("PEERS").ok().filter(|path| !path.is_empty()) else { return Ok(peers) };
    for line in fs::read_to_string(path)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let text = |key: &str| row[key].as_str().map(str::to_owned).ok_or("a row of PEERS lacks a name");
        let number = |key: &str| row[key].as_f64().ok_or("a row of PEERS lacks a time");
        let workers = row["workers"].as_u64().ok_or("a row of PEERS lacks its workers")?;
        let times = [number("wall_ms")?, number("cpu_ms")?];
        peers.entry((text("size")?, text("decoder")?, workers)).or_default().push(times);
    }
    Ok(peers)
}
