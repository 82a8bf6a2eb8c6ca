//! `gradwatch train`: from a config file to a finished run.

use std::io::{IsTerminal, stderr};

use anyhow::{Context, Result};
use gradwatch::{
    config::Config,
    events::{EventsError, RunFolder, run_name},
    libtorch::keep_freed_memory,
    train::{Ending, Prepared, State, StopSignal, Summary, prepare, train},
};
use indicatif::MultiProgress;
use time::OffsetDateTime;

use super::{TrainArguments, exit::Code, log, print};

pub fn run(arguments: &TrainArguments) -> Result<Code> {
    keep_freed_memory();
    let bars = stderr().is_terminal().then(MultiProgress::new);
    let log = log::start(bars.clone());
    let config = arguments.config.load(arguments.max_steps)?;
    let stop = StopSignal::install().context("cannot listen for Ctrl-C")?;
    let name = match &arguments.run_name {
        Some(name) => name.clone(),
        None => run_name(&arguments.config.config, OffsetDateTime::now_utc()),
    };
    let logdir = config.run.logdir.clone();
    let prepared = prepare(config)?;
    if let Some(signal) = stop.signal() {
        return Ok(Code::Signal(signal));
    }
    announce(&prepared);
    // The first thing that is written, after everything has been checked.
    let folder = RunFolder::create(&logdir, &name)?;
    let path = folder.path().join("train.log");
    log.open(&path).map_err(|cause| EventsError::Create { path, cause })?;
    let mut state = prepared.start(folder, bars)?;
    tracing::info!("run {}", state.recorder.folder().path().display());
    announce_hooks(&state);

    let ending = train(&mut state, &stop);
    // The last weights are worth having, however the run ended; why it ended is worth more than why they are missing.
    let saved = state.recorder.save(&state.network, "last").and_then(|()| match &state.ema {
        Some(ema) => ema.instead(|| state.recorder.save(&state.network, "last_ema"))?,
        None => Ok(()),
    });
    if ending.is_err() {
        leave_recent_steps(&state);
    }
    let ending = ending?;
    saved?;
    let summary = Summary::of(&state, ending);
    let code = code_of(state, ending);
    print(&format!("{summary}\n"))?;
    Ok(code)
}

/// What led to the end of a run that dies.
fn leave_recent_steps(state: &State) {
    let steps = state.recent.readings().len();
    match state.recent.write() {
        Ok(path) if steps > 0 => tracing::info!("the last {steps} readings are in {}", path.display()),
        Ok(_) => {}
        Err(error) => tracing::error!("{error}"),
    }
}

fn announce(prepared: &Prepared) {
    let Prepared { config, device, network, training, validation, .. } = prepared;
    let Config { model, optimizer, .. } = config;
    tracing::info!(
        "{} ({} activation, {} normalization, {} initialization): {} trainable numbers on {device:?}",
        model.name,
        model.activation,
        model.normalization,
        model.initialization.method,
        network.summary().trainable_count()
    );
    tracing::info!(
        "{} training and {} validation images of {} classes; {} at learning rate {}",
        training.dataset().len(),
        validation.dataset().len(),
        network.classes,
        optimizer.name,
        optimizer.learning_rate
    );
}

fn announce_hooks(state: &State) {
    let Some(monitor) = state.gradients.monitor() else {
        tracing::info!("no hooks: monitor.preset is \"off\"");
        return;
    };
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    tracing::info!("a hook on each of {} parameters; frozen: {}", monitor.parameters().count(), list(monitor.frozen()));
}

/// Closes the run's files; what was left out on the way shows in the exit code.
fn code_of(state: State, ending: Ending) -> Code {
    let bad_images = [&state.training, &state.validation].map(|loader| loader.dataset().bad_images().len());
    let bad_images: usize = bad_images.iter().sum();
    if bad_images > 0 {
        tracing::warn!("{bad_images} image(s) did not decode and were left out; they are named above");
    }
    let has_failed = state.recorder.close();
    match ending {
        Ending::Signal(signal) => Code::Signal(signal),
        _ if has_failed || bad_images > 0 => Code::Partial,
        _ => Code::Success,
    }
}
