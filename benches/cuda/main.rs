//! Time of a training step on an NVIDIA GPU, plain and monitored.
//!
//! In each of `TURNS` turns, every mode runs a block of `STEPS` steps right after a block of plain ones, so that a
//! change of the GPU's clock affects both; a ratio compares these two. The host waits for the GPU before and after each
//! block. `MODEL`, `BATCH`, and `SIZE` select models, images per step, and pixels per side; `DEVICE` is the GPU.
//! `PEERS` names a file of rows by `benches/peers/gpu.py --json`, which are printed below gradwatch's.

mod mode;
#[path = "../telemetry/settings.rs"]
mod settings;
#[path = "../telemetry/table.rs"]
mod table;
mod trainer;
mod training;
#[path = "../telemetry/variant.rs"]
mod variant;
#[path = "../telemetry/watch.rs"]
mod watch;

use std::{error::Error, path::Path, process::ExitCode};

use gradwatch::libtorch::{LibtorchError, keep_freed_memory, load_kernels, resolve_device};
use tch::Device;

use mode::{MODES, PLAIN_MODE};
use settings::{asked, setting, text};
use table::{Row, print_header, print_row, read_rows};
use training::Training;

type Outcome<T> = Result<T, Box<dyn Error>>;

const MODELS: [&str; 3] = ["resnet50", "vit_small", "densenet121"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The rest of a libtorch message is a C++ backtrace.
            eprintln!("{}", error.to_string().lines().next().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    keep_freed_memory();
    let name = text("DEVICE")?.unwrap_or_else(|| "cuda:0".into());
    let device = resolve_device(&name).map_err(|error| match error {
        LibtorchError::NoCuda { reason, remedy, .. } => {
            format!("bench-cuda needs an NVIDIA GPU: {name} cannot be used: {reason}; {remedy}")
        }
        other => format!("DEVICE: {other}"),
    })?;
    let (batch, size) = (setting("BATCH")?.unwrap_or(64), setting("SIZE")?.unwrap_or(224));
    // A block of 100 steps contains its share of every monitoring interval up to 100 steps.
    let (turns, steps) = (setting("TURNS")?.unwrap_or(5), setting("STEPS")?.unwrap_or(100));
    let peers = match text("PEERS")? {
        Some(path) => read_rows(Path::new(&path))?,
        None => Vec::new(),
    };
    let models = asked(&MODELS, |name| *name)?;
    println!("device {name}; statistics by {}", statistics_code(device));
    println!("bf16 autocast, channels_last, cudnn.benchmark; medians of {turns} turns of {steps} steps");
    print_header(&["images/s", "ops/step"]);
    for model in models {
        // Peer rows for another batch or image size have another name.
        let label = format!("{model} {batch}x{size}");
        let images_per_second = |row: &Row| format!("{:.1}", 1e3 * f64::from(batch) / row.ms_per_step);
        let mut training = Training::new(model, batch, size, device)?;
        for (row, ops) in rows_of(&mut training, &label, turns, steps)? {
            print_row(&row, &[&images_per_second(&row), &ops.to_string()]);
        }
        for row in peers.iter().filter(|row| row.model == label) {
            print_row(row, &[&images_per_second(row), "-"]);
        }
    }
    println!(
        "ops/step: ATen operations that libtorch dispatches, nested ones included; gradwatch's kernels are not counted"
    );
    Ok(())
}

/// Loads gradwatch's kernels. Returns the name of the code that computes the statistics.
fn statistics_code(device: Device) -> String {
    match load_kernels(device) {
        Ok(()) if device == Device::Cpu => "the CPU".into(),
        Ok(()) => "gradwatch's kernels".into(),
        Err(error) => format!("ATen ops, because gradwatch's kernels cannot be loaded: {error}"),
    }
}

/// Measures every mode: its row, and its ops per step.
fn rows_of(training: &mut Training, label: &str, turns: u32, steps: u32) -> Outcome<Vec<(Row, u64)>> {
    let mut secs = vec![Vec::new(); MODES.len()];
    let mut ratios = secs.clone();
    for _ in 0..turns {
        for (index, mode) in MODES.iter().enumerate() {
            let plain = training.block_secs(&PLAIN_MODE, steps)?;
            let measured = training.block_secs(mode, steps)?;
            secs[index].push(measured);
            ratios[index].push(measured / plain);
        }
    }
    let measured = MODES.iter().zip(secs.iter_mut().zip(&mut ratios));
    measured
        .map(|(mode, (secs, ratios))| {
            let row = Row::measured(label, mode.variant.name, secs, ratios);
            Ok((row, training.ops_per_step(mode, steps)?))
        })
        .collect()
}
