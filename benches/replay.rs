//! Time per step and memory for reading and diagnosing the files of a run, for runs of 10,000 and 100,000 steps: from
//! this program, and from a loop with PyTorch's names. Time per step and memory do not depend on the length of the run.

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use gradwatch::{
    diagnosis::{Diagnosis, Subject},
    events::{SummaryWriter, Tag},
    replay::{Replay, ReplayEvent},
    report::Course,
};

const STEPS: [u64; 2] = [10_000, 100_000];
const ROUNDS: usize = 5;
const LAYERS: usize = 10;
/// The run for a child process to read: a separate process measures its own memory peak.
const CHILD: &str = "GRADWATCH_BENCH_REPLAY";

const CONFIG: &str = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(run) = env::var_os(CHILD) {
        return read(Path::new(&run));
    }
    let idle = measure(Path::new(""))?.1;
    for (writer, is_own) in [("own files", true), ("PyTorch's names", false)] {
        let mut of_lengths = Vec::new();
        for steps in STEPS {
            let folder = tempfile::tempdir()?;
            let tags = write(folder.path(), steps, is_own)?;
            let rounds = (0..ROUNDS).map(|_| measure(folder.path())).collect::<Result<Vec<_>, _>>()?;
            let time = median(rounds.iter().map(|(time, _)| time.as_secs_f64()).collect());
            let memory = median(rounds.iter().map(|(_, peak)| peak - idle).collect());
            let each = 1e6 * time / steps as f64;
            println!(
                "{writer}, {steps} steps of {tags} tags: {time:.2} s, {each:.2} us a step, {memory:.1} MB over an idle process"
            );
            of_lengths.push((each, memory));
        }
        if let [(short, less), (long, more)] = of_lengths[..] {
            println!(
                "{writer}: ten times as long takes {:.2} times as long a step, and {:+.1} MB",
                long / short,
                more - less
            );
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Writes a run with a few tens of tags. Returns their number.
fn write(folder: &Path, steps: u64, is_own: bool) -> Result<usize, Box<dyn Error>> {
    let (of_model, of_layers): (&[&str], &[&str]) = if is_own {
        fs::write(folder.join("config.toml"), CONFIG)?;
        (&["loss/step", "learning_rate", "grad_norm/total"], &["grad_norm", "grad_rms", "update_ratio"])
    } else {
        (&["train/loss", "lr", "train/grad_norm"], &["gradients", "grad_norm"])
    };
    let layers = || (0..LAYERS).flat_map(|layer| [format!("layers.{layer}.weight"), format!("layers.{layer}.bias")]);
    let of_layers = of_layers.iter().flat_map(|figure| layers().map(move |name| format!("{figure}/{name}")));
    let tags: Vec<Tag> = of_model.iter().map(|tag| (*tag).to_owned()).chain(of_layers).map(Tag::from).collect();
    let evaluation = if is_own { ["loss/validation", "accuracy/validation"] } else { ["val/loss", "val/acc"] };
    let writer = SummaryWriter::create(folder)?;
    for step in 0..steps {
        let wave = 1.0 + 0.3 * (step as f64 * 0.7).sin();
        writer.scalars(step, tags.iter().map(|tag| (tag.clone(), 0.01 * wave)))?;
        if step % 500 == 499 {
            writer.scalars(step, evaluation.map(|tag| (tag, 0.5 * wave)))?;
        }
    }
    writer.close()?;
    Ok(tags.len() + evaluation.len())
}

/// Time and peak memory, in MB, of another process that reads and diagnoses a run.
fn measure(run: &Path) -> Result<(Duration, f64), Box<dyn Error>> {
    let output = Command::new(env::current_exe()?).env(CHILD, run).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (secs, megabytes) =
        text.trim().split_once(' ').ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((Duration::from_secs_f64(secs.parse()?), megabytes.parse()?))
}

/// Reads and diagnoses a run, and prints the time and the memory peak of the process.
fn read(run: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    if !run.as_os_str().is_empty() {
        let mut replay = Replay::open(run, &[])?;
        let (config, facts) = (replay.config.clone(), replay.facts.clone());
        let subject = Subject { config: config.as_ref(), facts: &facts };
        let (mut diagnosis, mut course) = (Diagnosis::default(), Course::default());
        replay.play(|moment| match moment {
            ReplayEvent::Restart => {}
            ReplayEvent::Step(sample) => {
                let seen = sample.observe();
                diagnosis.judge(&seen, &subject);
                course.add(&seen);
            }
            ReplayEvent::Evaluation(evaluation) => {
                diagnosis.judge_evaluation(&evaluation, &subject);
                course.add_evaluation(&evaluation);
            }
        })?;
    }
    let elapsed = start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kilobytes: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    println!("{elapsed} {}", kilobytes / 1e3);
    Ok(())
}
