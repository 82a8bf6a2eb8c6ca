//! Estimates the time of a study from a few of its runs.

use std::{fmt, path::Path, thread, time::Duration};

use anyhow::{Context, Result};
use gradwatch::{config::Config, number::count, replay::Replay};
use gradwatch_study::Study;
use indicatif::HumanDuration;
use signal_hook::iterator::Signals;

use super::{
    jobs::{Ended, Job, Jobs, Outcome},
    runner::{POLL, Planned, toml_string},
};

/// Runs that are tried: the first, the last, and evenly spaced ones between them.
const TRIED: usize = 7;
/// Steps of the shorter and the longer trial. The difference is the time of a step without that of the start.
const STEPS: [u64; 2] = [1, 9];

/// Estimated time of a study.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub runs: usize,
    pub jobs: usize,
    /// Time of one run.
    pub per_run: Duration,
}

/// Result of trials.
pub(super) enum Tried {
    Estimate(Estimate),
    /// No run could be tried.
    Unknown,
    /// A signal came.
    Stopped(i32),
}

impl Estimate {
    /// From the time of runs that have ended.
    pub(super) fn of_ended(seconds: &[f64], runs: usize, jobs: usize) -> Option<Self> {
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let per_run = Duration::try_from_secs_f64(mean).ok()?;
        Some(Self { runs, jobs, per_run })
    }

    /// Trains a few runs for a few steps in a folder of their own, which is removed. A run that fails counts for
    /// nothing.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub(super) fn of_trials(
        study: &Study,
        runs: &[(&Planned, &Config)],
        jobs: usize,
        signals: &mut Signals,
    ) -> Result<Tried> {
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        let mut seconds = Vec::new();
        for index in tried(runs.len()) {
            let (run, config) = runs[index];
            let mut times = Vec::new();
            for steps in STEPS {
                let name = format!("{index}-{steps}");
                let Ended { outcome, time, .. } = trial(study, run, folder.path(), &name, steps, signals)?;
                match outcome {
                    Outcome::Finished { .. } => times.push((time.as_secs_f64(), folder.path().join(name))),
                    Outcome::Signaled(signal) => return Ok(Tried::Stopped(signal)),
                    Outcome::Failed(error) | Outcome::Diverged(error) => {
                        tracing::warn!("{}: {error}", run.plan.name);
                        break;
                    }
                    Outcome::Stopped | Outcome::InUse => break,
                }
            }
            if let [(short, _), (long, path)] = &times[..] {
                let per_step = (long - short).max(0.0) / (STEPS[1] - STEPS[0]) as f64;
                let steps = steps(config, Replay::open(path, &[])?.facts.steps_per_epoch);
                let most = config.run.max_minutes.map_or(f64::INFINITY, |minutes| 60.0 * minutes);
                seconds.push(short + (per_step * steps as f64).min(most));
            }
        }
        Ok(Self::of_ended(&seconds, runs.len(), jobs).map_or(Tried::Unknown, Tried::Estimate))
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, jobs, per_run } = *self;
        let total = per_run.mul_f64(runs as f64 / jobs.min(runs).max(1) as f64);
        let at_once = if jobs == 1 { "one at a time".to_owned() } else { format!("{jobs} at once") };
        write!(
            f,
            "{}, {at_once}, about {:.1} s each: about {}",
            count(runs, "run"),
            per_run.as_secs_f64(),
            HumanDuration(total)
        )
    }
}

/// Indices of the runs to try.
fn tried(runs: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..TRIED).map(|number| number * runs.saturating_sub(1) / (TRIED - 1)).collect();
    indices.dedup();
    indices.truncate(runs);
    indices
}

/// Steps of a run, from its config and the steps of an epoch.
fn steps(config: &Config, steps_per_epoch: u64) -> u64 {
    let by_epochs = config.run.max_epochs.map(|epochs| epochs * steps_per_epoch);
    by_epochs.into_iter().chain(config.run.max_steps).min().unwrap_or(steps_per_epoch)
}

/// Trains a run for a few steps.
fn trial(study: &Study, run: &Planned, logdir: &Path, name: &str, steps: u64, signals: &mut Signals) -> Result<Ended> {
    let steps = steps.to_string();
    let mut arguments: Vec<String> = ["train", "--run-name", name, "--max-steps", &steps].map(str::to_owned).into();
    let logdir = format!("run.logdir={}", toml_string(&logdir.to_string_lossy()));
    let settings = run.plan.assignments.iter().cloned().chain([logdir]);
    arguments.extend(settings.flat_map(|setting| ["--set".to_owned(), setting]));
    arguments.extend(["--".to_owned(), study.base.to_string_lossy().into_owned()]);
    let mut jobs = Jobs::new(1, 0)?;
    jobs.start(Job { run: 0, arguments, deadline: None })?;
    loop {
        if let Some(signal) = signals.pending().next() {
            // Dropping the jobs kills the process.
            return Ok(Ended { run: 0, outcome: Outcome::Signaled(signal), time: Duration::ZERO, deadline: None });
        }
        if let Some(ended) = jobs.ended()?.pop() {
            return Ok(ended);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tried_runs_are_spread_over_all_of_them() {
        assert_eq!(tried(1000), [0, 166, 333, 499, 666, 832, 999]);
        assert_eq!(tried(4), [0, 1, 2, 3]);
        assert_eq!(tried(2), [0, 1]);
        assert_eq!((tried(1), tried(0)), (vec![0], vec![]));
    }

    #[test]
    fn jobs_share_the_time() {
        let estimate = Estimate::of_ended(&[2.0, 4.0], 100, 2).unwrap();
        assert_eq!(estimate.to_string(), "100 runs, 2 at once, about 3.0 s each: about 3 minutes");
        let few = Estimate::of_ended(&[60.0], 1, 8).unwrap();
        assert_eq!(few.to_string(), "1 run, 8 at once, about 60.0 s each: about 60 seconds");
        assert_eq!(Estimate::of_ended(&[], 1, 8), None);
    }

    #[test]
    fn a_run_ends_at_the_first_of_its_limits() {
        let config = |run: &str| {
            Config::parse(&format!("{run}\ndata.source = \"synthetic\"\nmodel.name = \"mlp\""), "test").unwrap()
        };
        assert_eq!(steps(&config("run = { max_epochs = 3, max_steps = 100 }"), 50), 100);
        assert_eq!(steps(&config("run.max_epochs = 3"), 50), 150);
        assert_eq!(steps(&config("run.max_minutes = 1"), 50), 50);
    }
}
