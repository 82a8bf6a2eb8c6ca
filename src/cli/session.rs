//! One session of a run, from the config to the exit code, shared by `train` and `resume`.

use std::io::{IsTerminal, stderr};

use anyhow::{Context, Result};
use gradwatch::{
    checkpoint::Loaded,
    config::Config,
    data::{Dataset, check_place},
    events::{EventsError, RunFolder},
    libtorch::keep_freed_memory,
    report::{Report, terminal},
    train::{Ending, Prepared, Resume, State, StopSignal, Summary, TrainError, prepare, prepare_to_resume, train},
};
use indicatif::MultiProgress;

use super::{
    exit::Code,
    log::{self, LogFile},
    report, tell,
};

/// Process-wide state: progress bars, log, and signal handler.
pub struct Session {
    bars: Option<MultiProgress>,
    log: LogFile,
    stop: StopSignal,
}

impl Session {
    /// Installs the signal handler and starts the log.
    pub fn start() -> Result<Self> {
        keep_freed_memory();
        let bars = stderr().is_terminal().then(MultiProgress::new);
        let log = log::start(bars.clone());
        Ok(Self { bars, log, stop: StopSignal::install().context("cannot install the signal handler")? })
    }

    /// Trains a new run. Creates its folder only after all other checks have passed.
    pub fn begin(self, config: Config, folder: impl FnOnce() -> Result<RunFolder, EventsError>) -> Result<Code> {
        let prepared = prepare(config)?;
        announce(&prepared);
        // Nothing is written before this point.
        let folder = folder()?;
        self.open_log(&folder)?;
        let state = prepared.start(folder, self.bars.clone())?;
        self.run(state)
    }

    /// Resumes a run from a checkpoint.
    pub fn resume(self, config: Config, folder: RunFolder, loaded: Loaded, allowed: &[String]) -> Result<Code> {
        self.open_log(&folder)?;
        let path = loaded.path.clone();
        let from = Resume::new(loaded, &config, allowed)?;
        check_place(&config.data, "the images of the run were there; set the new path with --set data.path=NEW")?;
        let prepared = prepare_to_resume(config, &from)?;
        announce(&prepared);
        let state = prepared.resume(folder, self.bars.clone(), from)?;
        tracing::info!("resuming from {} at step {}, epoch {}", path.display(), state.step, state.epoch + 1);
        self.run(state)
    }

    fn open_log(&self, folder: &RunFolder) -> Result<(), EventsError> {
        let refuse = |cause| EventsError::Create { path: folder.path().join("train.log"), cause };
        self.log.open(folder.log()?).map_err(refuse)
    }

    fn run(self, mut state: State) -> Result<Code> {
        tracing::info!("run {}", state.recorder.folder().path().display());
        announce_hooks(&state);
        let ending = train(&mut state, &self.stop);
        // Save the last weights however the run ended. An error of the run takes precedence over an error while saving.
        let saved = state.recorder.save(&state.network, "last").and_then(|()| match &state.ema {
            Some(ema) => ema.instead(|| state.recorder.save(&state.network, "last_ema"))?,
            None => Ok(()),
        });
        if ending.is_err() {
            leave_recent_steps(&state);
            let unfinished = state.checkpoints.iter_mut().flat_map(|checkpoints| checkpoints.finish());
            unfinished.filter_map(Result::err).for_each(|error| tracing::error!("{error}"));
        }
        let ending = ending?;
        let lost = lost_weights(&mut state, saved);
        let summary = Summary::of(&state, ending);
        let (folder, diagnosis) = (state.recorder.folder().path().to_owned(), state.diagnosis.clone());
        let code = code_of(state, ending);
        tell(&format!("{summary}\n"));
        if let Some(diagnosis) = diagnosis {
            let told = Report { steps: summary.steps, ..Report::default() }.with_findings(&diagnosis);
            tell(&format!("{}\n", terminal(&told)));
            // The files must be complete first.
            report::write(&folder, &diagnosis);
        }
        // Reported last, after everything else is printed and written.
        lost.map_or(Ok(code), |error| Err(error.into()))
    }
}

/// Handles last weights that could not be saved. If the last checkpoint contains them, only log the error; otherwise
/// return it.
fn lost_weights(state: &mut State, saved: Result<(), TrainError>) -> Option<TrainError> {
    let error = saved.err()?;
    if !state.is_saved() {
        return Some(error);
    }
    state.recorder.failed(&error);
    let run = state.recorder.folder().path().display().to_string();
    tracing::error!(
        "the last checkpoint has the last weights; export them with gradwatch checkpoints {run} --export FILE"
    );
    None
}

/// Writes the last tracked steps of a run that dies.
fn leave_recent_steps(state: &State) {
    let steps = state.recent.readings().len();
    match state.recent.write() {
        Ok(path) if steps > 0 => tracing::info!("wrote the last {steps} tracked steps to {}", path.display()),
        Ok(_) => {}
        Err(error) => tracing::error!("{error}"),
    }
}

fn announce(prepared: &Prepared) {
    let Prepared { config, device, network, training, validation, .. } = prepared;
    let Config { model, optimizer, .. } = config;
    tracing::info!("{model}: {} trainable parameters on {device:?}", network.summary().trainable_count());
    tracing::info!(
        "{} training and {} validation images of {} classes{}; {} at learning rate {}",
        training.dataset().len(),
        validation.dataset().len(),
        network.classes,
        known_bad(&[training.dataset(), validation.dataset()]),
        optimizer.name,
        optimizer.learning_rate
    );
}

/// Number of images known not to decode, as a suffix for an image count.
pub fn known_bad(datasets: &[&Dataset]) -> String {
    match datasets.iter().map(|dataset| dataset.bad_images().len()).sum() {
        0 => String::new(),
        bad => format!(", {bad} of which cannot be decoded"),
    }
}

fn announce_hooks(state: &State) {
    let Some(monitor) = state.gradients.monitor() else {
        tracing::info!("no hooks: monitor.preset is \"off\"");
        return;
    };
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    tracing::info!("hooks on {} parameters; frozen: {}", monitor.parameters().count(), list(monitor.frozen()));
}

/// Closes the files of the run and determines the exit code.
fn code_of(state: State, ending: Ending) -> Code {
    let bad_images = [&state.training, &state.validation].map(|loader| loader.dataset().bad_images().len());
    let bad_images: usize = bad_images.iter().sum();
    if bad_images > 0 {
        tracing::warn!("{bad_images} image(s) could not be decoded and were skipped; see the messages above");
    }
    let has_failed = state.recorder.close();
    match ending {
        Ending::Signal(signal) => Code::Signal(signal),
        Ending::Finding(_) => Code::Finding,
        _ if has_failed || bad_images > 0 => Code::Partial,
        _ => Code::Success,
    }
}
