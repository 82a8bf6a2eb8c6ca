//! `gradwatch checkpoints`: lists, verifies, and exports the checkpoints of a run.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::Result;
use gradwatch::{
    checkpoint::{CheckpointError, CheckpointName, FOLDER, Kept, Loaded, Manifest, Retention, average, kept, list},
    disk::{Folder, Output, TensorFile},
    events::EventsError,
    inference::run_config,
    printable,
};

use super::{CheckpointsArguments, exit::Code, print, tell_written};

/// Reason why weights cannot be exported. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// No checkpoint has this step.
    #[error("no checkpoint at step {step}; the run has checkpoints at steps {steps}")]
    NoStep { step: u64, steps: String },
    /// There are fewer checkpoints than `--average` wants.
    #[error("--export needs {want} of the run's checkpoints, found {found}; lower --average or --step")]
    TooFew { want: usize, found: usize },
    /// The run has no averaged weights.
    #[error("the run has no averaged weights: ema.decay is 0; leave out --ema")]
    NoEma,
}

pub(super) fn run(arguments: &CheckpointsArguments) -> Result<Code> {
    let run = &arguments.run;
    if !Folder::open(run).is_ok_and(|folder| folder.contains("config.toml")) {
        return Err(EventsError::NoRun { path: run.clone(), missing: "config.toml" }.into());
    }
    let found = list(&run.join(FOLDER))?;
    if let Some(path) = &arguments.export {
        return export(&found, path, arguments);
    }
    if found.is_empty() {
        print(&format!("{} has no checkpoints\n", printable::path(run)))?;
        return Ok(Code::Success);
    }
    let (table, all_are_whole) = table(run, &found, arguments.verify);
    print(&table)?;
    Ok(if all_are_whole { Code::Success } else { Code::Checkpoint })
}

/// The table with one line per checkpoint, oldest first, and whether all checkpoints are valid.
fn table(run: &Path, found: &[(CheckpointName, PathBuf)], verify: bool) -> (String, bool) {
    // If the config cannot be read, the table omits the reasons for keeping checkpoints.
    let config = run_config(run, &[]).ok().map(|config| config.checkpoint);
    let read = |path: &Path| match verify {
        true => Loaded::read(path).map(|loaded| loaded.manifest),
        false => Manifest::read(path),
    };
    let manifests: Vec<Result<Manifest, CheckpointError>> = found.iter().map(|(_, path)| read(path)).collect();
    let whole: Vec<Manifest> = manifests.iter().filter_map(|manifest| manifest.as_ref().ok()).cloned().collect();
    let mut stays =
        config.as_ref().map(|config| kept(&whole, &Retention::from(config))).unwrap_or_default().into_iter();
    let metric = config.map_or("metric", |config| config.metric.name());
    let mut table = format!("{:>10}  {:>6}  {metric:>9}  {:>9}  {:20}  kept as\n", "step", "epochs", "size", "saved");
    for ((name, path), manifest) in found.iter().zip(&manifests) {
        // Writing to a String cannot fail.
        let _ = match manifest {
            Ok(manifest) => {
                let figure = manifest.metrics.get(metric).map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
                let saved = manifest.saved_at.split('.').next().unwrap_or_default();
                let size = size(manifest.bytes());
                let why = why(stays.next().unwrap_or_default());
                writeln!(table, "{:>10}  {:>6}  {figure:>9}  {size:>9}  {saved:20}  {why}", name.step, name.epoch)
            }
            Err(error) if path.exists() => {
                let error = error.to_string();
                writeln!(table, "{:>10}  {:>6}  {}", name.step, name.epoch, printable::line(&error))
            }
            // A running session of the run has removed it in the meantime.
            Err(_) => Ok(()),
        };
    }
    let damaged =
        manifests.iter().zip(found).filter(|(manifest, (_, path))| manifest.is_err() && path.exists()).count();
    if verify {
        let _ =
            writeln!(table, "{} of {} checkpoints are valid, every byte verified", whole.len(), whole.len() + damaged);
    }
    (table, damaged == 0)
}

fn why(kept: Kept) -> String {
    let reasons = [(kept.as_last, "last"), (kept.as_best, "best"), (kept.as_every, "every")];
    reasons.iter().filter(|(is_it, _)| *is_it).map(|(_, reason)| *reason).collect::<Vec<_>>().join(", ")
}

pub(super) fn size(bytes: u64) -> String {
    match bytes as f64 / 1e6 {
        mb if mb < 0.1 => format!("{:.1} kB", mb * 1e3),
        mb if mb < 1e3 => format!("{mb:.1} MB"),
        mb => format!("{:.2} GB", mb / 1e3),
    }
}

fn export(found: &[(CheckpointName, PathBuf)], path: &Path, arguments: &CheckpointsArguments) -> Result<Code> {
    let mut output = Output::choose(path, arguments.force)?;
    let end = match arguments.step {
        None => found.len(),
        Some(step) => {
            let last = found.iter().rposition(|(name, _)| name.step == step);
            let mut steps: Vec<String> = found.iter().map(|(name, _)| name.step.to_string()).collect();
            steps.dedup();
            1 + last.ok_or_else(|| ExportError::NoStep { step, steps: steps.join(", ") })?
        }
    };
    // Several checkpoints at one step have the same weights. The last one wins.
    let mut of_steps: BTreeMap<u64, &Path> = BTreeMap::new();
    of_steps.extend(found[..end].iter().map(|(name, path)| (name.step, path.as_path())));
    let count = arguments.average.unwrap_or(1) as usize;
    let found = of_steps.len();
    let start = found.checked_sub(count).ok_or(ExportError::TooFew { want: count, found })?;
    let chosen: Vec<(u64, &Path)> = of_steps.into_iter().skip(start).collect();
    let paths: Vec<&Path> = chosen.iter().map(|(_, path)| *path).collect();
    let tensors = match paths.last() {
        Some(newest) if arguments.ema => Loaded::read(newest)?.ema()?,
        _ => average(&paths)?,
    };
    if tensors.is_empty() {
        return Err(ExportError::NoEma.into());
    }
    let mut file = TensorFile::default();
    file.fill(&tensors)?;
    output.write(file.bytes()?)?;
    let steps: Vec<String> = chosen.iter().map(|(step, _)| step.to_string()).collect();
    let of = if arguments.ema { "averaged weights (EMA)" } else { "weights" };
    tell_written(&output, &format!("{} tensors, {of} at step {}", tensors.len(), steps.join(", ")));
    Ok(Code::Success)
}
