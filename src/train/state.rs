//! The whole mutable state of a training run.

use std::path::Path;

use super::{
    Counters, Gradients, Optimization, RepairWatch, TrainError, TrainingModel, evaluations::Evaluations, judge::Judge,
    output::Output, run_clock::RunClock, sharing::Sharing, training_data::TrainingData,
};
use crate::{
    checkpoint::CheckpointError,
    config::Config,
    diagnosis::Diagnosis,
    distributed::Ranks,
    events::RunFolder,
    recording::{Ending, RecentSteps, Recorder, Summary},
};

/// A training run.
pub struct State {
    /// The whole config.
    pub config: Config,
    /// The processes that train together.
    pub(super) ranks: Ranks,
    /// What this rank collects for the others; `None` if it is alone.
    pub(super) sharing: Option<Sharing>,
    /// The images.
    pub(super) data: TrainingData,
    /// The model and its passes.
    pub(super) model: TrainingModel,
    /// Parameters, hooks, and the sums of the step.
    pub(super) gradients: Gradients,
    /// The update of the parameters.
    pub(super) optimization: Optimization,
    /// Running metrics and the best evaluation.
    pub(super) evaluations: Evaluations,
    /// Diagnosis and its actions.
    pub(super) judge: Judge,
    /// Files, messages, and terminal output.
    pub(super) output: Output,
    /// Counters and results.
    pub(super) counters: Counters,
    /// Wall time.
    pub(super) clock: RunClock,
    /// What the run knows of its repairs; `None` if it does not repair itself.
    pub(super) repairs: Option<RepairWatch>,
}

/// Access to the parts from outside the training loop.
impl State {
    /// The model and its averaged weights.
    pub fn model(&self) -> &TrainingModel {
        &self.model
    }

    /// Parameters, hooks, and the sums of the step.
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }

    /// Optimizer and clipping.
    pub fn optimization(&self) -> &Optimization {
        &self.optimization
    }

    /// Counters and results so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Diagnosis of the run; `None` if it is off.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        self.judge.diagnosis.as_ref()
    }

    /// The most recent readings.
    pub fn recent_steps(&self) -> &RecentSteps {
        &self.output.recent_steps
    }

    /// Run folder; empty on ranks other than 0.
    pub fn folder(&self) -> &Path {
        self.output.recorder.as_ref().map_or(Path::new(""), |recorder| recorder.folder().path())
    }

    /// Run folder; `None` on ranks other than 0.
    pub fn run_folder(&self) -> Option<&RunFolder> {
        self.output.recorder.as_ref().map(Recorder::folder)
    }

    /// The processes that train together.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Number of images that do not decode, as found so far.
    pub fn bad_images(&self) -> usize {
        self.data.bad_images().iter().map(Vec::len).sum()
    }

    /// Whether images are missing because their files or rows cannot be read.
    pub fn is_partial(&self) -> bool {
        self.data.is_partial()
    }

    /// Whether the latest checkpoint matches the current step, so that the run can resume from here.
    pub fn is_saved(&self) -> bool {
        self.output.saved_at == Some(self.checkpoint_name())
    }

    /// Creates the summary of a run that has ended.
    pub fn summary(&self, ending: Ending) -> Summary {
        let Counters { step, images, skipped_steps, last_validation, .. } = &self.counters;
        Summary {
            ending,
            elapsed: self.clock.elapsed(),
            evaluating: self.clock.evaluating,
            steps: *step,
            images: *images,
            validation: last_validation.clone(),
            best: self.evaluations.early_stopping.best().map(|best| (best.value, best.step)),
            metric: self.config.evaluate.metric.name(),
            history: self.judge.history.clone(),
            hooks: self.gradients.monitor().map_or(0, |monitor| monitor.parameters().count()),
            skipped_steps: *skipped_steps,
            folder: self.folder().to_owned(),
            is_saved: self.is_saved(),
        }
    }

    /// Saves the weights, and their average if there is one, as the last weights of the run.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save_last_weights(&self) -> Result<(), TrainError> {
        let (network, Some(recorder)) = (&self.model.network, &self.output.recorder) else { return Ok(()) };
        recorder.save(network, "last")?;
        if let Some(ema) = &self.model.ema {
            ema.instead(|| recorder.save(network, "last_ema"))??;
        }
        Ok(())
    }

    /// Waits for unfinished checkpoints and returns their errors.
    pub fn finish_checkpoints(&mut self) -> Vec<CheckpointError> {
        let finished = self.output.checkpoints.iter_mut().flat_map(|checkpoints| checkpoints.finish());
        finished.filter_map(Result::err).collect()
    }

    /// Logs a failed write. The run continues.
    pub fn report_failure(&mut self, error: &dyn std::error::Error) {
        self.output.report_failure(error);
    }

    /// Waits for unfinished checkpoints, after which retention removes no more of them. Logs failures.
    pub(crate) fn settle_checkpoints(&mut self) {
        for error in self.finish_checkpoints() {
            self.report_failure(&error);
        }
    }

    /// Waits for unfinished checkpoints, closes the files of the run, and returns its folder; `None` on ranks other than 0.
    pub fn into_folder(mut self) -> Option<RunFolder> {
        self.settle_checkpoints();
        self.output.recorder.map(Recorder::into_folder)
    }

    /// Closes the files of the run. Returns whether any write has failed.
    pub fn close(self) -> bool {
        self.output.recorder.is_some_and(Recorder::close)
    }
}
