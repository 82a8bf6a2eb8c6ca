//! Summary of a run at its end.

use std::{fmt, path::PathBuf, time::Duration};

use super::Ending;
use crate::{
    evaluation::Metrics,
    gradient::{GradientHistory, ParameterHistory},
    number::short,
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
    /// Start of the line with the reason for the end.
    pub const ENDED: &'static str = "ended";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let evaluating = self.evaluating.as_secs_f64();
        let training = self.elapsed.as_secs_f64() - evaluating;
        writeln!(f, "{}       {}", Self::ENDED, self.ending)?;
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
                "validation  {}, loss {:.4}, precision {:.4}, recall {:.4}, F1 {:.4}",
                validation.headline(),
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
            None => {
                if let Some(validation) = &self.validation {
                    let missing = if validation.loss.is_finite() { self.metric } else { "loss" };
                    writeln!(f, "best        none: no validation {missing} was finite")?;
                }
            }
        }
        self.write_gradients(f)?;
        let folder = printable::path(&self.folder);
        writeln!(f, "run         {folder}")?;
        if self.is_saved {
            writeln!(f, "resume with gradwatch resume {folder}{}", self.ending.resume_arguments())?;
        }
        write!(f, "view with   make tensorboard, or tensorboard --logdir {folder}")
    }
}

impl Summary {
    fn write_gradients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = &self.history;
        if history.readings == 0 {
            let reason = if self.hooks == 0 { "monitor.preset = \"off\"" } else { "no step was tracked" };
            return writeln!(f, "gradients   not monitored ({reason})");
        }
        writeln!(
            f,
            "gradients   {} hooks, {} tracked steps; total norm {} to {} (maximum at step {}), last {}",
            self.hooks,
            history.readings,
            short(history.total.min),
            short(history.total.max),
            history.max_step,
            short(history.total.last)
        )?;
        let by_mean =
            |a: &&ParameterHistory, b: &&ParameterHistory| a.norm.geometric_mean().total_cmp(&b.norm.geometric_mean());
        let seen = || history.parameters.iter().filter(|parameter| parameter.norm.geometric_mean().is_finite());
        if let (Some(least), Some(most)) = (seen().min_by(by_mean), seen().max_by(by_mean)) {
            writeln!(
                f,
                "            smallest mean norm in {} ({}), largest in {} ({})",
                least.name,
                short(least.norm.geometric_mean()),
                most.name,
                short(most.norm.geometric_mean())
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
