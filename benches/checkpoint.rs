//! Cost of a checkpoint: the stall of training compared with one memcpy of the same bytes, and the time on disk
//! compared with a plain file of the same bytes.
//!
//! The state is that of ResNet-18 with 1,000 classes and AdamW's moments. Each of `TURNS` turns takes every measurement
//! once, so that other load on the machine affects all of them. `FOLDER` is the folder of the written files; `PEERS` is
//! a file of rows by `benches/peers/checkpoint.py --json`, which are printed next to gradwatch's.

use std::{
    env,
    error::Error,
    fs::{self, File},
    hint::black_box,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use gradwatch::{
    checkpoint::{CheckpointName, CheckpointWriter, Contents, Loaded, Retention},
    config::Config,
    data::ImageShape,
    libtorch::{OptimizerRule, keep_freed_memory},
    model::{self, Network},
    optim::{Optimizer, ParameterGroup},
};
use serde_json::Value;
use tch::Device;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Measurements of each turn, in seconds.
const MEASURES: [&str; 6] = [
    "one memcpy of the state",
    "stall of training",
    "plain write, synced",
    "checkpoint, on disk",
    "plain read",
    "checkpoint, verified and loaded",
];

struct State {
    network: Network,
    optimizer: Optimizer,
}

impl State {
    fn new() -> Outcome<Self> {
        let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"resnet18\"";
        let input = ImageShape { channels: 3, height: 224, width: 224 };
        let network = model::build(&Config::parse(toml, "bench")?.model, input, 1000, Device::Cpu)?;
        let named = network.parameters.trainable().map(|param| (param.name.to_string(), param.tensor.shallow_clone()));
        let rule = OptimizerRule::Adamw { beta2: 0.999, eps: 1e-8 };
        let optimizer = Optimizer::with_rule(rule, vec![ParameterGroup::new(named, 0.0)])?;
        Ok(Self { network, optimizer })
    }

    fn contents(&self, step: u64) -> Contents<()> {
        Contents {
            name: CheckpointName { step, epoch: 0, is_settled: true },
            model: self.network.parameters.named(),
            optimizer: self.optimizer.state(),
            ..Contents::default()
        }
    }
}

fn timed<T>(secs: &mut Vec<f64>, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let started = Instant::now();
    let outcome = work()?;
    secs.push(started.elapsed().as_secs_f64());
    Ok(outcome)
}

fn median(secs: &[f64]) -> f64 {
    let mut sorted = secs.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Returns the seconds of each measurement, and the size of the state in bytes.
fn measure(folder: &Path, turns: u64) -> Outcome<([Vec<f64>; 6], usize)> {
    let state = State::new()?;
    let mut writer = CheckpointWriter::start(folder, Retention { keep_last: 1, ..Retention::default() })?;
    let tensors = state.contents(0);
    let bytes = tensors.model.iter().chain(&tensors.optimizer);
    let bytes: usize = bytes.map(|(_, tensor)| tensor.numel() * tensor.kind().elt_size_in_bytes()).sum();
    let (from, mut into) = (vec![1u8; bytes], vec![2u8; bytes]);
    let mut secs: [Vec<f64>; 6] = Default::default();
    // The first checkpoint allocates the buffers that the others reuse.
    for step in 0..=turns {
        let mut turn: [Vec<f64>; 6] = Default::default();
        timed(&mut turn[0], || {
            into.copy_from_slice(black_box(&from));
            black_box(&mut into);
            Ok(())
        })?;
        let contents = state.contents(step);
        let started = Instant::now();
        timed(&mut turn[1], || Ok(writer.save(contents)?))?;
        writer.finish().into_iter().collect::<Result<Vec<_>, _>>()?;
        turn[3].push(started.elapsed().as_secs_f64());
        let plain = folder.join("plain");
        timed(&mut turn[2], || {
            let mut file = File::create(&plain)?;
            file.write_all(&from)?;
            Ok(file.sync_all()?)
        })?;
        timed(&mut turn[4], || Ok(black_box(fs::read(&plain)?)))?;
        fs::remove_file(plain)?;
        timed(&mut turn[5], || {
            let loaded = Loaded::read(&folder.join(CheckpointName { step, epoch: 0, is_settled: true }.to_string()))?;
            loaded.model_into(&state.network.parameters.named())?;
            Ok(loaded.optimizer_into(&state.optimizer.state())?)
        })?;
        if step > 0 {
            secs.iter_mut().zip(turn).for_each(|(all, one)| all.extend(one));
        }
    }
    Ok((secs, bytes))
}

fn main() -> Outcome<()> {
    keep_freed_memory();
    let turns: u64 = env::var("TURNS").ok().filter(|text| !text.is_empty()).map_or(Ok(9), |text| text.parse())?;
    let turns = turns.max(1);
    let folder = env::var("FOLDER").map_or_else(|_| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = folder.join("checkpoint-bench");
    let (secs, bytes) = measure(&folder, turns)?;
    fs::remove_dir_all(&folder)?;
    println!("ResNet-18 and AdamW: {:.1} MB, medians of {turns} turns", bytes as f64 / 1e6);
    let row = |name: &str, secs: &[f64], against: Option<&[f64]>| {
        let median_secs = median(secs);
        // Ratios per turn, so that a slow moment of the machine affects both.
        let ratio =
            against.map(|other| median(&secs.iter().zip(other).map(|(one, other)| one / other).collect::<Vec<_>>()));
        let ratio = ratio.map(|ratio| format!("{ratio:.2} x the line above")).unwrap_or_default();
        println!("{name:32} {:8.1} ms {:8.0} MB/s  {ratio}", median_secs * 1e3, bytes as f64 / 1e6 / median_secs);
    };
    for (index, name) in MEASURES.iter().enumerate() {
        row(name, &secs[index], (index % 2 == 1).then(|| &secs[index - 1][..]));
    }
    if let Some(path) = env::var("PEERS").ok().filter(|path| !path.is_empty()) {
        let text = fs::read_to_string(&path).map_err(|cause| format!("{path}: {cause}"))?;
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
            let secs: Vec<f64> =
                line["seconds"].as_array().ok_or("no seconds")?.iter().filter_map(Value::as_f64).collect();
            if secs.is_empty() {
                return Err(format!("{path}: a row without seconds: {line}").into());
            }
            row(&format!("PyTorch {}", line["what"].as_str().unwrap_or_default()), &secs, None);
        }
    }
    Ok(())
}
