//! One session of a run, from the config to the exit code, shared by `train` and `resume`.

use std::{
    io::{IsTerminal, stderr},
    path::Path,
};

use anyhow::{Context, Result};
use gradwatch::{
    WriteReportError,
    checkpoint::Loaded,
    config::{Config, RuleName},
    data::{Dataset, check_place},
    diagnosis::Diagnosis,
    events::{EventsError, RunFolder},
    libtorch::{device_name, keep_freed_memory},
    number::count,
    recording::Ending,
    replay::ReplayError,
    report::{Repairs, Report, terminal},
    supervisor::{Supervisor, repair_before_training},
    train::{Counters, Prepared, Resume, State, StopSignal, TrainError, prepare_on_ranks, prepare_to_resume, train},
    write_report,
};
use indicatif::MultiProgress;
use serde::{Deserialize, Serialize};

use super::{
    connection::Connection,
    exit::Code,
    launch::end_with_launcher,
    log::{self, LogFile},
    tell,
};

/// Key under which rank 0 tells the others how to start.
const START: &str = "start";

/// How all ranks start.
#[derive(Serialize, Deserialize)]
enum Start {
    /// With a new run.
    New,
    /// From a checkpoint.
    Resumed {
        /// The config, as TOML with absolute paths.
        config: String,
        /// See [`Resume::text`].
        state: String,
    },
}

/// Process-wide state: progress bars, log, and signal handler.
pub(super) struct Session {
    bars: Option<MultiProgress>,
    log: LogFile,
    stop: StopSignal,
    connection: Connection,
}

impl Session {
    /// Installs the signal handler and starts the log.
    pub(super) fn start() -> Result<Self> {
        end_with_launcher().context("cannot ask the kernel for a signal at the end of the launcher")?;
        keep_freed_memory();
        let connection = Connection::from_environment()?;
        let bars = (stderr().is_terminal() && !connection.is_follower()).then(MultiProgress::new);
        let log = log::start(bars.clone(), connection.rank());
        let stop = StopSignal::install().context("cannot install the signal handler")?;
        Ok(Self { bars, log, stop, connection })
    }

    /// Whether another rank owns the run folder.
    pub(super) fn is_follower(&self) -> bool {
        self.connection.is_follower()
    }

    /// Connects to the other ranks, does the work, and ends with them.
    pub(super) fn with_ranks(&mut self, config: &Config, work: impl FnOnce(&Self) -> Result<Code>) -> Result<Code> {
        let result = self.connection.join(config).and_then(|()| work(self));
        self.connection.finish(result)
    }

    /// Starts or resumes as rank 0 does, and writes nothing.
    pub(super) fn follow(&self, config: Config) -> Result<Code> {
        let (ranks, device) = (self.connection.ranks().clone(), self.connection.device);
        let start: Start = serde_json::from_str(&ranks.tell(START, None)?).context("rank 0 sent no valid start")?;
        let state = match start {
            Start::New => prepare_on_ranks(config, ranks, device)?.follow(None)?,
            Start::Resumed { config, state } => {
                let (config, from) =
                    (Config::parse_saved(&config, "rank 0", &[], Path::new(""))?, Resume::follow(&state)?);
                prepare_to_resume(config, &from, ranks, device)?.follow(Some(from))?
            }
        };
        self.run_follower(state)
    }

    fn run_follower(&self, mut state: State) -> Result<Code> {
        let ending = train(&mut state, &self.stop)?;
        Ok(match ending {
            Ending::Signal(signal) => Code::Signal(signal),
            Ending::Finding(_) => Code::Finding,
            _ if state.is_partial() || state.bad_images() > 0 => Code::Partial,
            _ => Code::Success,
        })
    }

    /// Tells the other ranks how to start.
    fn tell(&self, start: &Start) -> Result<()> {
        self.connection.ranks().tell(START, Some(&serde_json::to_string(start)?))?;
        Ok(())
    }

    /// Trains a new run. Creates its folder only after all other checks have passed.
    pub(super) fn begin(
        &self,
        config: Config,
        folder: impl FnOnce() -> Result<RunFolder, EventsError>,
    ) -> Result<Code> {
        self.tell(&Start::New)?;
        let (original, repaired) = (config.clone(), repair_before_training(&config));
        let (config, records) = repaired.unwrap_or_else(|| (config, Vec::new()));
        let prepared = prepare_on_ranks(config, self.connection.ranks().clone(), self.connection.device)?;
        announce(&prepared);
        // Nothing is written before this point.
        let folder = folder()?;
        self.open_log(&folder)?;
        let repairs = match records.is_empty() {
            true => Supervisor::open(&folder)?,
            false => Supervisor::prepared(&folder, &original, records)?,
        };
        let state = self.start_run(prepared, folder, &repairs)?;
        self.run(state, repairs)
    }

    /// Says that a run has ended because nothing repairs it. Its files stay as they are.
    pub(super) fn has_given_up(&self, run: &Path, rule: RuleName) -> Code {
        tracing::info!(
            "{} has ended: {}; to train on, use --set repair.mode=off",
            run.display(),
            Ending::Unrepaired(rule)
        );
        Code::Unrepaired
    }

    /// Trains a run from its beginning, as its supervisor has decided.
    pub(super) fn begin_again(&self, config: Config, folder: RunFolder, mut repairs: Supervisor) -> Result<Code> {
        self.tell(&Start::New)?;
        self.open_log(&folder)?;
        tell_trial(&repairs);
        let config = repairs.config(&config)?;
        let prepared = match prepare_on_ranks(config.clone(), self.connection.ranks().clone(), self.connection.device) {
            Ok(prepared) => prepared,
            Err(error) => return self.recover(&config, folder, repairs, error.into()),
        };
        repairs.leave_trial(&folder, &config, 0)?;
        announce(&prepared);
        let state = self.start_run(prepared, folder, &repairs)?;
        self.run(state, repairs)
    }

    fn start_run(&self, mut prepared: Prepared, folder: RunFolder, repairs: &Supervisor) -> Result<State> {
        prepared.repairs = repairs.watch(&prepared.config);
        Ok(prepared.start(folder, self.bars.clone())?)
    }

    /// Resumes a run from a checkpoint.
    pub(super) fn resume(
        &self,
        config: Config,
        folder: RunFolder,
        loaded: Loaded,
        allowed: &[String],
        mut repairs: Supervisor,
    ) -> Result<Code> {
        self.open_log(&folder)?;
        tell_trial(&repairs);
        let (config, step) = (repairs.config(&config)?, loaded.manifest.step);
        let (prepared, from) = match self.prepare_to_resume(config.clone(), loaded, allowed, &repairs) {
            Ok(prepared) => prepared,
            Err(error) => return self.recover(&config, folder, repairs, error),
        };
        repairs.leave_trial(&folder, &config, step)?;
        let state = self.resume_from(prepared, folder, from)?;
        self.run(state, repairs)
    }

    /// Opens a run that cannot start with the change on trial without it. Returns the error if there is none.
    fn recover(
        &self,
        config: &Config,
        folder: RunFolder,
        mut repairs: Supervisor,
        error: anyhow::Error,
    ) -> Result<Code> {
        if !repairs.undo_failed_start(&folder, config, error.to_string())? {
            return Err(error);
        }
        let state = repairs.reopen(config, folder, self.connection.device, self.bars.as_ref())?;
        self.run(state, repairs)
    }

    fn prepare_to_resume(
        &self,
        config: Config,
        loaded: Loaded,
        allowed: &[String],
        repairs: &Supervisor,
    ) -> Result<(Prepared, Resume)> {
        let from = Resume::new(loaded, &config, allowed, repairs.history())?;
        self.tell(&Start::Resumed { config: config.with_absolute_paths().to_toml(), state: from.text()? })?;
        check_place(&config.data, "the images of the run were there; set the new path with --set data.path=NEW")?;
        let mut prepared = prepare_to_resume(config, &from, self.connection.ranks().clone(), self.connection.device)?;
        prepared.repairs = repairs.watch(&prepared.config);
        Ok((prepared, from))
    }

    fn resume_from(&self, prepared: Prepared, folder: RunFolder, from: Resume) -> Result<State> {
        announce(&prepared);
        let path = from.path();
        let state = prepared.resume(folder, self.bars.clone(), from)?;
        let Counters { step, epoch, .. } = state.counters();
        tracing::info!("resuming from {} at step {step}, epoch {}", path.display(), epoch + 1);
        Ok(state)
    }

    fn open_log(&self, folder: &RunFolder) -> Result<(), EventsError> {
        let refuse = |cause| EventsError::Create { path: folder.path().join("train.log"), cause };
        self.log.open(folder.log()?).map_err(refuse)
    }

    fn run(&self, state: State, mut repairs: Supervisor) -> Result<Code> {
        tracing::info!("run {}", state.folder().display());
        announce_hooks(&state);
        let first_step = state.counters().step;
        let (mut state, ending) = repairs.train(state, &self.stop, self.bars.as_ref())?;
        // Save the last weights however the run ended. An error of the run takes precedence over an error while saving.
        let saved = state.save_last_weights();
        let (folder, steps, diagnosis) = (state.folder().to_owned(), state.counters().step, state.diagnosis().cloned());
        let result = match ending {
            Ok(ending) => {
                if first_step > 0 && steps == first_step && !matches!(ending, Ending::Signal(_) | Ending::Unrepaired(_))
                {
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
            let repairs = Repairs::of(repairs.history().clone());
            let report = Report { steps, ..Report::default() }.with_findings(&diagnosis).with_repairs(repairs);
            tell(&format!("{}\n", terminal(&report)));
            // The files must be complete first.
            write_page(&folder, &diagnosis);
        }
        // Reported last, after everything else is printed and written.
        Ok(result?)
    }
}

/// Tells which change is on trial.
fn tell_trial(repairs: &Supervisor) {
    if let Some(trial) = repairs.history().open_trial() {
        tracing::info!("{trial}");
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
        Ending::Unrepaired(_) => Code::Unrepaired,
        _ if has_failed || is_partial || bad_images > 0 => Code::Partial,
        _ => Code::Success,
    }
}
