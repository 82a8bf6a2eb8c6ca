//! Trains a run under supervision.

use indicatif::MultiProgress;
use tch::Device;

use super::{Next, Supervisor, SupervisorError, decision::is_final};
use crate::{
    checkpoint::{FOLDER, newest_whole},
    config::Config,
    distributed::Ranks,
    events::RunFolder,
    recording::Ending,
    train::{Counters, Prepared, Resume, State, StopSignal, TrainError, prepare_on_ranks, prepare_to_resume, train},
};

impl Supervisor {
    /// Trains until the run ends, and repairs it as its config says. Returns the last state, which may be another one than
    /// the first, and why the run ended. `terminal` shows the progress.
    ///
    /// # Errors
    /// If a decision cannot be written, or the run cannot return to an earlier step.
    pub fn train(
        &mut self,
        state: State,
        stop: &StopSignal,
        terminal: Option<&MultiProgress>,
    ) -> Result<(State, Result<Ending, TrainError>), SupervisorError> {
        let mut state = state;
        loop {
            state.record_repairs(&self.history);
            if let Some(rule) = self.gave_up(&state.config) {
                return Ok((state, Ok(Ending::Unrepaired(rule))));
            }
            let outcome = train(&mut state, stop);
            match self.decide(&mut state, &outcome)? {
                Next::End => return Ok((state, outcome)),
                Next::TrainOn => {}
                Next::GiveUp(rule) => {
                    state.record_repairs(&self.history);
                    return Ok((state, Ok(Ending::Unrepaired(rule))));
                }
                Next::Return(records) => {
                    let (config, device) = (state.config.clone(), state.model().device());
                    // Only rank 0 of one rank repairs a run, so there is a folder.
                    let Some(folder) = state.into_folder() else { return Err(SupervisorError::NoFolder) };
                    self.add(&folder, records)?;
                    state = self.reopen(&config, folder, Some(device), terminal)?;
                }
            }
        }
    }

    /// Opens a run again after a decision: at the step to which it returns, and with the config that follows. Undoes
    /// changes with which the run cannot start.
    ///
    /// # Errors
    /// If the run cannot start without them either, or a decision cannot be written.
    pub fn reopen(
        &mut self,
        config: &Config,
        folder: RunFolder,
        device: Option<Device>,
        terminal: Option<&MultiProgress>,
    ) -> Result<State, SupervisorError> {
        loop {
            self.complete_return(&folder)?;
            match self.prepare(config, &folder, device) {
                Ok((prepared, None)) => return Ok(prepared.start(folder, terminal.cloned())?),
                Ok((prepared, Some(from))) => {
                    let path = from.path();
                    let state = prepared.resume(folder, terminal.cloned(), from)?;
                    let Counters { step, epoch, .. } = state.counters();
                    let what = if self.gave_up(&state.config).is_some() {
                        "the run ends with"
                    } else {
                        "training resumes from"
                    };
                    tracing::info!("{what} {} at step {step}, epoch {}", path.display(), epoch + 1);
                    return Ok(state);
                }
                Err(error) => {
                    if !self.undo_failed_start(&folder, config, error.to_string())? {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Undoes the change on trial, with which the run cannot start because of `reason`. Returns whether the run can be opened
    /// without it, with [`reopen`](Self::reopen).
    ///
    /// # Errors
    /// If the decision cannot be written.
    pub fn undo_failed_start(
        &mut self,
        folder: &RunFolder,
        config: &Config,
        reason: String,
    ) -> Result<bool, SupervisorError> {
        let records = self.after_failed_start(folder.path(), config, reason)?;
        let is_over = is_final(&records);
        self.add(folder, records)?;
        Ok(!is_over)
    }

    fn prepare(
        &self,
        config: &Config,
        folder: &RunFolder,
        device: Option<Device>,
    ) -> Result<(Prepared, Option<Resume>), SupervisorError> {
        let config = self.config(config)?;
        let (mut prepared, from) = match newest_whole(&folder.path().join(FOLDER))? {
            None => (prepare_on_ranks(config, Ranks::alone(), device)?, None),
            Some(loaded) => {
                let from = Resume::new(loaded, &config, &[], &self.history)?;
                (prepare_to_resume(config, &from, Ranks::alone(), device)?, Some(from))
            }
        };
        prepared.repairs = self.watch(&prepared.config);
        Ok((prepared, from))
    }
}
