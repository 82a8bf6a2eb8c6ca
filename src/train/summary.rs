//! Summary of a run at its end.

use std::{fmt, path::PathBuf, time::Duration};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use super::{Ending, Metrics, State};
use crate::{
    gradient::{GradientHistory, ParameterHistory},
    printable,
};

/// Summary of a finished run in a few lines.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Reason for the end.
    pub ending: Ending,
    /// Wall time of training and evaluation.
    pub elapsed: Duration,
    /// Part of this time spent on evaluation.
    pub evaluating: Duration,
    /// Optimizer steps.
    pub steps: u64,
    /// Number of training images used.
    pub images: u64,
    /// Metrics of the last evaluation.
    pub validation: Option<Metrics>,
    /// Best value of the config's `evaluate.metric`, and its step.
    pub best: Option<(f64, u64)>,
    /// Name of that metric.
    pub metric: &'static str,
    /// Gradient statistics over the run.
    pub history: GradientHistory,
    /// Number of parameters with a hook; 0 if monitoring is off.
    pub hooks: usize,
    /// Number of steps skipped because a gradient was not finite.
    pub skipped_steps: u64,
    /// Run folder.
    pub folder: PathBuf,
    /// Whether a checkpoint exists from which the run can resume.
    pub is_saved: bool,
}

impl Summary {
    /// Creates the summary of a run that has ended.
    pub fn of(state: &State, ending: Ending) -> Self {
        Self {
            ending,
            elapsed: state.elapsed(),
            evaluating: state.evaluating(),
            steps: state.step,
            images: state.images,
            validation: state.last_validation.clone(),
            best: state.early_stopping.best().map(|best| (best.value, best.step)),
            metric: state.config.evaluate.metric.name(),
            history: state.history.clone(),
            hooks: state.gradients.monitor().map_or(0, |monitor| monitor.parameters().count()),
            skipped_steps: state.skipped_steps,
            folder: state.recorder.folder().path().to_owned(),
            is_saved: state.is_saved(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let evaluating = self.evaluating.as_secs_f64();
        let training = self.elapsed.as_secs_f64() - evaluating;
        let reason = match self.ending {
            Ending::MaxEpochs => "run.max_epochs reached".to_owned(),
            Ending::MaxSteps => "run.max_steps reached".to_owned(),
            Ending::MaxMinutes => "run.max_minutes reached".to_owned(),
            Ending::EarlyStopping => "no improvement for early_stopping.patience evaluations".to_owned(),
            Ending::Finding(rule) => format!("a finding of {rule} (diagnosis.stop_at or an action)"),
            Ending::Signal(SIGINT) => "SIGINT (Ctrl-C)".to_owned(),
            Ending::Signal(SIGTERM) => "SIGTERM".to_owned(),
            Ending::Signal(SIGHUP) => "SIGHUP (the terminal was closed)".to_owned(),
            Ending::Signal(SIGQUIT) => "SIGQUIT".to_owned(),
            Ending::Signal(SIGUSR1) => "SIGUSR1 (preempted)".to_owned(),
            Ending::Signal(signal) => format!("signal {signal}"),
        };
        writeln!(f, "ended       {reason}")?;
        writeln!(
            f,
            "time        {} steps, {} images in {training:.1} s training ({:.0} images/s), {evaluating:.1} s \
             evaluation",
            self.steps,
            self.images,
            self.images as f64 / training
        )?;
        if let Some(validation) = &self.validation {
            writeln!(
                f,
                "validation  accuracy {:.2} %, loss {:.4}, precision {:.4}, recall {:.4}, F1 {:.4}",
                100.0 * validation.accuracy,
                validation.loss,
                validation.precision,
                validation.recall,
                validation.f1
            )?;
        }
        match self.best {
            Some((value, step)) => {
                writeln!(f, "best        {} {value:.4} at step {step}: weights/best.safetensors", self.metric)?;
            }
            None if self.validation.is_some() => writeln!(f, "best        none: no validation loss was finite")?,
            None => {}
        }
        self.write_gradients(f)?;
        let folder = printable::path(&self.folder);
        writeln!(f, "run         {folder}")?;
        if self.is_saved {
            writeln!(f, "resume with gradwatch resume {folder}{}", self.more())?;
        }
        write!(f, "view with   make tensorboard, or tensorboard --logdir {folder}")
    }
}

impl Summary {
    /// Config change with which a finished run can resume.
    fn more(&self) -> &'static str {
        match self.ending {
            Ending::MaxEpochs => " --set run.max_epochs=MORE",
            Ending::MaxSteps => " --set run.max_steps=MORE",
            Ending::MaxMinutes => " --set run.max_minutes=MORE",
            Ending::EarlyStopping => " --set early_stopping.patience=MORE",
            Ending::Finding(_) => " --set diagnosis.stop_at=never",
            Ending::Signal(_) => "",
        }
    }

    fn write_gradients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = &self.history;
        if history.readings == 0 {
            return writeln!(f, "gradients   not monitored (monitor.preset = \"off\")");
        }
        writeln!(
            f,
            "gradients   {} hooks, {} tracked steps; total norm {:.3e} to {:.3e} (maximum at step {}), last {:.3e}",
            self.hooks, history.readings, history.total.min, history.total.max, history.max_step, history.total.last
        )?;
        let by_mean =
            |a: &&ParameterHistory, b: &&ParameterHistory| a.norm.geometric_mean().total_cmp(&b.norm.geometric_mean());
        let seen = || history.parameters.iter().filter(|parameter| parameter.norm.geometric_mean().is_finite());
        if let (Some(least), Some(most)) = (seen().min_by(by_mean), seen().max_by(by_mean)) {
            writeln!(
                f,
                "            smallest mean norm in {} ({:.2e}), largest in {} ({:.2e})",
                least.name,
                least.norm.geometric_mean(),
                most.name,
                most.norm.geometric_mean()
            )?;
        }
        let bad = history
            .parameters
            .iter()
            .filter_map(|p| Some((p.first_non_finite?, &p.name)))
            .min_by_key(|(step, _)| *step);
        match bad {
            None => writeln!(f, "            all finite; {} steps skipped", self.skipped_steps),
            Some((step, name)) => writeln!(
                f,
                "            not finite in {} tracked steps, first at step {step} in {name}; {} steps skipped",
                history.non_finite_readings, self.skipped_steps
            ),
        }
    }
}
