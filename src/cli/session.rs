//! One session of a run, from the config to the exit code, shared by `train` and `resume`.

use std::{
    io::{IsTerminal, stderr},
    path::Path,
};

use anyhow::{Context, Result};
use gradwatch::{
    WriteReportError,
    checkpoint::Loaded,
    config::Config,
    data::{Dataset, check_place},
    diagnosis::Diagnosis,
    events::{EventsError, RunFolder},
    libtorch::{device_name, keep_freed_memory},
    number::count,
    recording::Ending,
    replay::ReplayError,
    report::{Report, terminal},
    train::{Counters, Prepared, Resume, State, StopSignal, TrainError, prepare, prepare_to_resume, train},
    write_report,
};
use indicatif::MultiProgress;

use super::{
    exit::Code,
    log::{self, LogFile},
    tell,
};

/// Process-wide state: progress bars, log, and signal handler.
pub(super) struct Session {
    bars: Option<MultiProgress>,
    log: LogFile,
    stop: StopSignal,
}

impl Session {
    /// Installs the signal handler and starts the log.
    pub(super) fn start() -> Result<Self> {
        keep_freed_memory();
        let bars = stderr().is_terminal().then(MultiProgress::new);
        let log = log::start(bars.clone());
        Ok(Self { bars, log, stop: StopSignal::install().context("cannot install the signal handler")? })
    }

    /// Trains a new run. Creates its folder only after all other checks have passed.
    pub(super) fn begin(self, config: Config, folder: impl FnOnce() -> Result<RunFolder, EventsError>) -> Result<Code> {
        let prepared = prepare(config)?;
        announce(&prepared);
        // Nothing is written before this point.
        let folder = folder()?;
        self.open_log(&folder)?;
        let state = prepared.start(folder, self.bars.clone())?;
        self.run(state)
    }

    /// Resumes a run from a checkpoint.
    pub(super) fn resume(self, config: Config, folder: RunFolder, loaded: Loaded, allowed: &[String]) -> Result<Code> {
        self.open_log(&folder)?;
        let path = loaded.path.clone();
        let from = Resume::new(loaded, &config, allowed)?;
        check_place(&config.data, "the images of the run were there; set the new path with --set data.path=NEW")?;
        let prepared = prepare_to_resume(config, &from)?;
        announce(&prepared);
        let state = prepared.resume(folder, self.bars.clone(), from)?;
        let Counters { step, epoch, .. } = state.counters();
        tracing::info!("resuming from {} at step {step}, epoch {}", path.display(), epoch + 1);
        self.run(state)
    }

    fn open_log(&self, folder: &RunFolder) -> Result<(), EventsError> {
        let refuse = |cause| EventsError::Create { path: folder.path().join("train.log"), cause };
        self.log.open(folder.log()?).map_err(refuse)
    }

    fn run(self, mut state: State) -> Result<Code> {
        tracing::info!("run {}", state.folder().display());
        announce_hooks(&state);
        let first_step = state.counters().step;
        let ending = train(&mut state, &self.stop);
        // Save the last weights however the run ended. An error of the run takes precedence over an error while saving.
        let saved = state.save_last_weights();
        let (folder, steps, diagnosis) = (state.folder().to_owned(), state.counters().step, state.diagnosis().cloned());
        let result = match ending {
            Ok(ending) => {
                if first_step > 0 && steps == first_step && !matches!(ending, Ending::Signal(_)) {
                    tracing::info!(
                        "the run had already ended at step {steps}; to train on, raise its limit with --set"
                    );
                }
                let lost = lost_weights(&mut state, saved);
                let summary = state.summary(ending);
                let code = code_of(state, ending);
                tell(&format!("{summary}\n"));
                lost.map_or(Ok(code), Err)
            }
            Err(error) => {
                write_recent_steps(&state);
                state.finish_checkpoints().iter().for_each(|error| tracing::error!("{error}"));
                state.close();
                Err(error)
            }
        };
        if let Some(diagnosis) = diagnosis {
            let report = Report { steps, ..Report::default() }.with_findings(&diagnosis);
            tell(&format!("{}\n", terminal(&report)));
            // The files must be complete first.
            write_page(&folder, &diagnosis);
        }
        // Reported last, after everything else is printed and written.
        Ok(result?)
    }
}

/// Writes `report.html`. The run is over, so an error is only logged.
fn write_page(folder: &Path, diagnosis: &Diagnosis) {
    match write_report(folder, diagnosis) {
        Ok(path) => tracing::info!("report {}", path.display()),
        Err(WriteReportError::Replay(ReplayError::NoValues { .. } | ReplayError::NothingKnown { .. })) => {
            tracing::info!("no report: the run recorded no values for its curves");
        }
        Err(error) => tracing::error!("{} cannot be written: {error}", folder.join("report.html").display()),
    }
}

/// Handles last weights that could not be saved. If the last checkpoint contains them, only log the error; otherwise
/// return it.
fn lost_weights(state: &mut State, saved: Result<(), TrainError>) -> Option<TrainError> {
    let error = saved.err()?;
    if !state.is_saved() {
        return Some(error);
    }
    state.report_failure(&error);
    let run = state.folder().display().to_string();
    tracing::error!(
        "the last checkpoint has the last weights; export them with gradwatch checkpoints {run} --export FILE"
    );
    None
}

/// Writes the last tracked steps of a run that dies.
fn write_recent_steps(state: &State) {
    let steps = state.recent_steps().readings().len();
    match state.recent_steps().write() {
        Ok(path) if steps > 0 => tracing::info!("wrote the last {steps} tracked steps to {}", path.display()),
        Ok(_) => {}
        Err(error) => tracing::error!("{error}"),
    }
}

fn announce(prepared: &Prepared) {
    let Prepared { config, device, network, training, validation, .. } = prepared;
    let Config { model, optimizer, .. } = config;
    tracing::info!("{model}: {} trainable parameters on {}", network.summary().trainable_count(), device_name(*device));
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
pub(super) fn known_bad(datasets: &[&Dataset]) -> String {
    match datasets.iter().map(|dataset| dataset.bad_images().len()).sum() {
        0 => String::new(),
        bad => format!(", {bad} of which cannot be decoded"),
    }
}

fn announce_hooks(state: &State) {
    let Some(monitor) = state.gradients().monitor() else {
        tracing::info!("no hooks: monitor.preset is \"off\"");
        return;
    };
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    tracing::info!("hooks on {} parameters; frozen: {}", monitor.parameters().count(), list(monitor.frozen()));
}

/// Closes the files of the run and determines the exit code.
fn code_of(state: State, ending: Ending) -> Code {
    let bad_images = state.bad_images();
    if bad_images > 0 {
        let images = count(bad_images as u64, "image");
        tracing::warn!("skipped {images} that could not be decoded; see the messages above");
    }
    let is_partial = state.is_partial();
    if is_partial {
        tracing::warn!("some files or rows were skipped because they cannot be read; see the messages above");
    }
    let has_failed = state.close();
    match ending {
        Ending::Signal(signal) => Code::Signal(signal),
        Ending::Finding(_) => Code::Finding,
        _ if has_failed || is_partial || bad_images > 0 => Code::Partial,
        _ => Code::Success,
    }
}
