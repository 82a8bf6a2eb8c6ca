//! Time of a data-parallel training step on CPUs, with one thread per rank, as a ratio to the same step of one process.
//!
//! Each rank is a process of this program that runs the training loop of the library, so that loading images and
//! everything else in the loop counts. In each of `TURNS` turns all variants run `STEPS` steps. `PEERS` names the rows of
//! `benches/peers/ddp.py --json`; the last table compares with them.

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use gradwatch::{
    config::Config,
    distributed::{Limits, Ranks, Topology},
    events::RunFolder,
    libtorch::{Store, copy_with_squares, keep_freed_memory},
    train::{StopSignal, prepare_on_ranks, train},
};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

const WARM_STEPS: u64 = 5;
const FOLDER: &str = "GRADWATCH_BENCH_FOLDER";

/// Ranks, reduction, and monitoring of a variant. The first one is the divisor of the ratios.
const VARIANTS: [(&str, usize, &str, &str); 6] = [
    ("1 process", 1, "fast", "off"),
    ("1 process, monitored", 1, "fast", "light"),
    ("2 ranks", 2, "fast", "off"),
    ("2 ranks, exact", 2, "exact", "off"),
    ("2 ranks, monitored", 2, "fast", "light"),
    ("2 ranks, monitored in full", 2, "fast", "full"),
];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    if let Ok(folder) = env::var(FOLDER) {
        return rank(Path::new(&folder));
    }
    let (turns, steps) = (number("TURNS", 5), number("STEPS", 20));
    let folder = tempfile::tempdir()?;
    write_images(&folder.path().join("images"))?;
    let mut times = vec![Vec::new(); VARIANTS.len()];
    for _ in 0..turns {
        for (variant, times) in VARIANTS.iter().zip(&mut times) {
            times.push(step_millis(folder.path(), variant, steps)?);
        }
    }
    println!("ResNet-18, 8 images of 3 x 64 x 64 per rank, SGD; medians of {turns} turns of {steps} steps");
    println!("{:30} {:>9} {:>7} {:>15}", "", "ms", "ratio", "(of a turn)");
    for ((name, ..), own) in VARIANTS.iter().zip(&times) {
        let mut ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, plain)| own / plain).collect();
        let middle = median(&mut ratios);
        println!(
            "{name:30} {:9.1} {middle:7.3} ({:.3} to {:.3})",
            median(&mut own.clone()),
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
    compare_with_peers(&times)?;
    print_telemetry(median(&mut times[2].clone()))
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default).max(1)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// 80 images of noise in ten classes.
fn write_images(folder: &Path) -> Outcome<()> {
    tch::manual_seed(1);
    for class in 0..10 {
        let class_folder = folder.join(format!("class{class}"));
        fs::create_dir_all(&class_folder)?;
        for image in 0..8 {
            let pixels = Tensor::randint(256, [3, 64, 64], (Kind::Uint8, Device::Cpu));
            tch::vision::image::save(&pixels, class_folder.join(format!("{image}.png")))?;
        }
    }
    Ok(())
}

/// Milliseconds per step of a variant, measured by rank 0.
fn step_millis(folder: &Path, &(_, world, reduction, preset): &(&str, usize, &str, &str), steps: u64) -> Outcome<f64> {
    let server = Store::open("127.0.0.1", 0, true, std::time::Duration::from_secs(60))?;
    let start = |rank: usize| {
        let mut command = Command::new(env::current_exe()?);
        command.env(FOLDER, folder).env("OMP_NUM_THREADS", "1").env("REDUCTION", reduction).env("PRESET", preset);
        command.env("STEPS", steps.to_string()).stdout(Stdio::piped());
        if world > 1 {
            command.env("RANK", rank.to_string()).env("WORLD_SIZE", world.to_string());
            command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", server.port().to_string());
            command.env("TORCHELASTIC_USE_AGENT_STORE", "True");
        }
        command.spawn()
    };
    let ranks = (0..world).map(start).collect::<Result<Vec<_>, _>>()?;
    let mut millis = None;
    for rank in ranks {
        let output = rank.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("a rank ended with {}", output.status).into());
        }
        millis = millis.or_else(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok());
    }
    millis.ok_or_else(|| "rank 0 printed no time".into())
}

/// One rank: trains, and prints the time of a step if it is rank 0.
fn rank(folder: &Path) -> Outcome<()> {
    keep_freed_memory();
    let steps = number("STEPS", 20);
    let toml = format!(
        "run = {{ max_steps = {WARM_STEPS}, threads = 1, seed = 1, device = \"cpu\" }}
        data = {{ source = \"folder\", path = {:?}, batch_size = 8, workers = 1, image_size = 64, validation_fraction = 0.1 }}
        model.name = \"resnet18\"
        optimizer = {{ name = \"sgd\", learning_rate = 1e-4, momentum = 0.9, accumulation_steps = {} }}
        distributed.reduction = {:?}
        evaluate.every_epochs = 0
        checkpoint.every_epochs = 0
        monitor.preset = {:?}",
        folder.join("images"),
        env::var("WORLD_SIZE").unwrap_or_else(|_| "1".into()),
        env::var("REDUCTION")?,
        env::var("PRESET")?,
    );
    let config = Config::parse(&toml, "bench")?;
    let ranks = match Topology::from_environment()? {
        Some(topology) => Ranks::join(topology, Device::Cpu, Limits::of(&config.distributed))?,
        None => Ranks::alone(),
    };
    let prepared = prepare_on_ranks(config, ranks.clone(), Some(Device::Cpu))?;
    let mut state = if ranks.is_first() {
        prepared.start(RunFolder::create_unnamed(&folder.join("logs"), "bench")?, None)?
    } else {
        prepared.follow(None)?
    };
    let stop = StopSignal::default();
    train(&mut state, &stop)?;
    state.config.run.max_steps = Some(WARM_STEPS + steps);
    let started = Instant::now();
    train(&mut state, &stop)?;
    let millis = 1e3 * started.elapsed().as_secs_f64() / steps as f64;
    ranks.leave();
    if ranks.is_first() {
        println!("{millis}");
    }
    Ok(())
}

fn compare_with_peers(times: &[Vec<f64>]) -> Outcome<()> {
    let Ok(path) = env::var("PEERS") else { return Ok(()) };
    println!("\n{:30} {:>9} {:>9} {:>7}", "step in ms", "gradwatch", "PyTorch", "ratio");
    for line in fs::read_to_string(path)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let (name, ours) = match (row["variant"].as_str(), row["ranks"].as_u64()) {
            (Some("plain"), _) => ("1 process", 0),
            (Some("ddp"), Some(2)) => ("2 ranks", 2),
            _ => continue,
        };
        let (own, peer) = (median(&mut times[ours].clone()), row["median_step_ms"].as_f64().unwrap_or(f64::INFINITY));
        println!("{name:30} {own:9.1} {peer:9.1} {:7.3}", own / peer);
    }
    Ok(())
}

/// Prints the cost of the parts of the telemetry of ranks, as a share of a step.
fn print_telemetry(step_millis: f64) -> Outcome<()> {
    let grad = Tensor::randn([11_181_642], (Kind::Float, Device::Cpu));
    let copy = Tensor::zeros_like(&grad);
    tch::set_num_threads(1);
    let time = |work: &dyn Fn() -> Outcome<()>| -> Outcome<f64> {
        let mut times = Vec::new();
        for _ in 0..15 {
            let started = Instant::now();
            work()?;
            times.push(1e3 * started.elapsed().as_secs_f64());
        }
        Ok(median(&mut times))
    };
    let plain = time(&|| Ok(copy.shallow_clone().f_copy_(&grad)?))?;
    let measured = time(&|| Ok(copy_with_squares(&copy, &grad).map(|_| ())?))?;
    let checksum = time(&|| Ok(grad.f_view_dtype(Kind::Int64)?.f_sum(Kind::Int64).map(|_| ())?))?;
    println!("\ntelemetry of ranks, in % of a step of 2 ranks:");
    println!(
        "norms of own gradients         {:.3} (a copy takes {plain:.2} ms, with norms {measured:.2} ms)",
        100.0 * (measured - plain) / step_millis
    );
    println!("checks of the weights          {:.3} ({checksum:.2} ms every 100 steps)", checksum / step_millis);
    Ok(())
}
