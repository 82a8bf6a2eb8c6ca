//! Trains the runs of a study: starts processes, records how they end, and passes signals on.

use std::{
    collections::{BTreeMap, VecDeque},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use gradwatch::{
    config::Config,
    events::{EventsError, RunFolder},
    number::count,
};
use gradwatch_study::{Cell, Plan, Results, RunRecord, RunState, State, Study, StudyFolder, survivors};
use signal_hook::iterator::Signals;

use super::{
    RunsError,
    jobs::{Ended, Job, Jobs, Outcome, must_start_again},
    progress::{Counts, Progress},
};
use crate::cli::exit::Code;

/// Pause between two looks at the processes and the received signals.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// Longest wait for the process of a study that was killed to leave its run folder, and the pause between two tries.
const MOST_WAIT_FOR_FOLDER: Duration = Duration::from_secs(120);
const WAIT_FOR_FOLDER: Duration = Duration::from_secs(1);

/// Ending of a run that resumes.
const INTERRUPTED: &str = "interrupted";
/// Start of the ending of a run that diverged.
const DIVERGED: &str = "diverged: ";
/// Start of the ending of a run without a valid checkpoint.
const NO_CHECKPOINT: &str = "exit code 10:";

/// A run of the study with the hash of its config.
#[derive(Clone)]
pub(super) struct Planned {
    pub plan: Plan,
    pub config: String,
    /// Whether its config leaves the number of threads to the machine.
    pub has_free_threads: bool,
}

/// Each axis with the label of a run.
type Labels = [(String, Cell)];

/// Trains the runs of a study.
pub(super) struct Runner<'a> {
    pub study: &'a Study,
    pub runs: &'a [Planned],
    pub folder: StudyFolder,
    pub jobs: Jobs,
    /// Threads of a run whose config leaves their number to the machine.
    pub threads: usize,
    pub signals: Signals,
    pub progress: Progress,
}

/// A run that waits for a slot.
struct Waiting {
    run: usize,
    /// When to try again, and when to give up, if another process holds its folder.
    retry: Option<(Instant, Instant)>,
}

impl Planned {
    /// Computes the hash of a config, without the keys that change where it trains, and with `has_rungs` how long.
    pub(super) fn new(plan: Plan, config: &Config, has_rungs: bool) -> Self {
        let (mut config, default) = (config.clone(), Config::default());
        let has_free_threads = config.run.threads == 0;
        config.run.logdir = default.run.logdir;
        config.run.device = default.run.device;
        config.run.threads = default.run.threads;
        if has_rungs {
            config.run.max_steps = None;
        }
        config.data.workers = default.data.workers;
        let config = blake3::hash(config.to_toml().as_bytes()).to_hex()[..16].to_owned();
        Self { plan, config, has_free_threads }
    }
}

impl Runner<'_> {
    /// Checks that no run in the folder was trained with another config.
    ///
    /// # Errors
    /// If one was.
    pub(super) fn check_configs(&self) -> Result<(), RunsError> {
        for rung in 0..self.rungs() {
            let records = self.folder.records(rung);
            let differs =
                |run: &&Planned| records.get(&*run.plan.name).is_some_and(|old| old.config != self.identity(run, rung));
            let changed: Vec<&Planned> = self.runs.iter().filter(differs).collect();
            if let Some(first) = changed.first() {
                let (runs, folder) = (changed.len(), self.folder.path().to_owned());
                return Err(RunsError::OtherConfig { runs, folder, example: first.plan.name.clone() });
            }
        }
        Ok(())
    }

    /// What a record must have to be of this run: the hash of its config, and the steps of the rung.
    fn identity(&self, run: &Planned, rung: usize) -> String {
        match &self.study.halving {
            Some(halving) => format!("{} to step {}", run.config, halving.steps[rung]),
            None => run.config.clone(),
        }
    }

    /// The runs that have not ended, and the time of those that have, from their [`states`](Self::states).
    pub(super) fn open(&self, states: &BTreeMap<String, RunState>) -> (Vec<usize>, Vec<f64>) {
        let state = |run: &usize| states.get(&self.runs[*run].plan.name);
        let is_open = |run: &usize| {
            let is_unfinished =
                state(run).is_none_or(|state| state.state == State::Failed || state.ending == INTERRUPTED);
            is_unfinished || !self.has_folder(*run)
        };
        let (open, over): (Vec<usize>, Vec<usize>) = (0..self.runs.len()).partition(is_open);
        (open, over.iter().filter_map(state).map(|state| state.seconds).collect())
    }

    fn has_folder(&self, run: usize) -> bool {
        self.folder.path().join(&self.runs[run].plan.name).is_dir()
    }

    /// Number of rungs of successive halving; 1 without it.
    fn rungs(&self) -> usize {
        self.study.halving.as_ref().map_or(1, |halving| halving.steps.len())
    }

    /// Trains all runs, rung by rung. Returns the signal that ended the study early.
    ///
    /// # Errors
    /// If a process cannot be started, or the record cannot be written.
    pub(super) fn run(&mut self) -> Result<Option<i32>> {
        let mut runs: Vec<usize> = (0..self.runs.len()).collect();
        for rung in 0..self.rungs() {
            if let Some(signal) = self.run_rung(rung, &runs)? {
                return Ok(Some(signal));
            }
            if rung + 1 < self.rungs() {
                let before = runs.len();
                runs = self.best(rung, &runs);
                tracing::info!("rung {} of {}: {} of {before} runs continue", rung + 1, self.rungs(), runs.len());
            }
        }
        Ok(None)
    }

    /// Trains those of `runs` that have not completed a rung.
    fn run_rung(&mut self, rung: usize, runs: &[usize]) -> Result<Option<i32>> {
        let records = self.folder.records(rung);
        let is_open = |run: &usize| {
            let record = records.get(&*self.runs[*run].plan.name);
            // A folder may have been deleted since.
            record.is_none_or(|record| !record.is_over()) || !self.has_folder(*run)
        };
        let mut waiting: VecDeque<Waiting> =
            runs.iter().copied().filter(is_open).map(|run| Waiting { run, retry: None }).collect();
        let total = runs.len();
        let mut counts = Counts { total, done: total - waiting.len(), ..Counts::default() };
        let mut stop = None;
        loop {
            for signal in self.signals.pending().collect::<Vec<_>>() {
                tracing::info!("stopping after {} save a checkpoint", count(self.jobs.running(), "run"));
                self.jobs.send(signal);
                stop = stop.or(Some(signal));
            }
            for ended in self.jobs.ended()? {
                let run = ended.run;
                if let Some(state) = self.state_of(ended, &mut waiting) {
                    let is_over = usize::from(state.state != State::Stopped);
                    counts.done += is_over;
                    counts.done_now += is_over;
                    counts.failed += usize::from(state.state == State::Failed);
                    self.record(run, rung, state)?;
                }
            }
            while stop.is_none() && self.jobs.has_room() {
                let is_due = |next: &Waiting| next.retry.is_none_or(|(due, _)| Instant::now() >= due);
                let Some(next) = waiting.iter().position(is_due).and_then(|index| waiting.remove(index)) else { break };
                self.start(&next, rung)?;
            }
            counts.running = self.jobs.running();
            self.progress.show(&counts);
            if counts.running == 0 && (stop.is_some() || waiting.is_empty()) {
                return Ok(stop);
            }
            thread::sleep(POLL);
        }
    }
}

impl Runner<'_> {
    fn start(&mut self, waiting: &Waiting, rung: usize) -> Result<()> {
        let Planned { plan, has_free_threads, .. } = &self.runs[waiting.run];
        let has_no_valid_checkpoint = |record: &RunRecord| record.state.ending.starts_with(NO_CHECKPOINT);
        let is_damaged = self.folder.record(&plan.name, rung).is_some_and(has_no_valid_checkpoint);
        let path = self.folder.path().join(&plan.name);
        let must_start_again = must_start_again(&path) || is_damaged && self.has_folder(waiting.run);
        // The process of a study that was killed may still be ending; then this one is refused and tried again.
        let is_held = || matches!(RunFolder::open(&path), Err(EventsError::InUse { .. }));
        if must_start_again && !is_held() {
            // It was killed before it had a checkpoint, writes none, or has only damaged ones.
            let refuse = || format!("cannot remove the interrupted run {}", plan.name);
            self.folder.folder().remove_folder(&plan.name).with_context(refuse)?;
        }
        let mut arguments: Vec<String> =
            ["train", "--resume", "auto", "--run-name", &plan.name].map(str::to_owned).into();
        let mut set = |assignment: String| arguments.extend(["--set".to_owned(), assignment]);
        plan.assignments.iter().cloned().for_each(&mut set);
        set(format!("run.logdir={}", toml_string(&self.folder.path().to_string_lossy())));
        if *has_free_threads {
            set(format!("run.threads={}", self.threads));
        }
        let steps = self.study.halving.as_ref().map(|halving| halving.steps[rung]);
        steps.into_iter().for_each(|steps| set(format!("run.max_steps={steps}")));
        arguments.extend(["--".to_owned(), self.study.base.to_string_lossy().into_owned()]);
        let job = Job { run: waiting.run, arguments, deadline: waiting.retry.map(|(_, deadline)| deadline) };
        self.jobs.start(job).context("cannot start a training process")
    }

    /// The state of a run whose process has ended; `None` if it starts again.
    fn state_of(&self, ended: Ended, waiting: &mut VecDeque<Waiting>) -> Option<RunState> {
        let seconds = ended.time.as_secs_f64();
        let state = |state, ending: &str| Some(RunState { state, ending: ending.to_owned(), seconds });
        match ended.outcome {
            Outcome::Finished { code, ending } => {
                let default = if code == Code::Finding { "stopped by a finding" } else { "done" };
                let part = if code == Code::Partial { ", with something skipped" } else { "" };
                state(State::Finished, &format!("{}{part}", ending.as_deref().unwrap_or(default)))
            }
            // A result, as much as an accuracy.
            Outcome::Diverged(error) => state(State::Finished, &format!("{DIVERGED}{error}")),
            Outcome::Stopped | Outcome::Signaled(_) => state(State::Stopped, INTERRUPTED),
            Outcome::InUse => {
                let now = Instant::now();
                let deadline = ended.deadline.unwrap_or(now + MOST_WAIT_FOR_FOLDER);
                if now >= deadline {
                    return state(State::Failed, "another process uses its run folder");
                }
                waiting.push_back(Waiting { run: ended.run, retry: Some((now + WAIT_FOR_FOLDER, deadline)) });
                None
            }
            Outcome::Failed(error) => {
                tracing::warn!("{}: {error}", self.runs[ended.run].plan.name);
                state(State::Failed, &error)
            }
        }
    }

    fn record(&mut self, run: usize, rung: usize, state: RunState) -> Result<()> {
        let run = &self.runs[run];
        let (plan, config) = (&run.plan, self.identity(run, rung));
        let score = match &self.study.halving {
            Some(halving) if state.state == State::Finished => self.score(plan, &halving.metric),
            _ => None,
        };
        Ok(self.folder.add(RunRecord { run: plan.name.clone(), rung, config, state, score })?)
    }

    /// The value of a column for a run, if it is finite.
    fn score(&self, plan: &Plan, column: &str) -> Option<f64> {
        let plans = std::slice::from_ref(plan);
        let results = Results::gather(self.study, plans, self.folder.path(), &BTreeMap::new()).results;
        let column = results.column(column)?;
        results.rows.first()?.cells.get(column).and_then(Cell::number).filter(|score| score.is_finite())
    }

    /// The runs that continue after a rung: all seeds of the best configurations.
    fn best(&self, rung: usize, runs: &[usize]) -> Vec<usize> {
        let Some(halving) = &self.study.halving else { return runs.to_vec() };
        let records = self.folder.records(rung);
        let mut configurations: Vec<(&Labels, Vec<usize>)> = Vec::new();
        for run in runs {
            let labels = &*self.runs[*run].plan.labels;
            match configurations.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, runs)) => runs.push(*run),
                None => configurations.push((labels, vec![*run])),
            }
        }
        let score = |run: &usize| records.get(&*self.runs[*run].plan.name).and_then(|record| record.score);
        let scores: Vec<Vec<Option<f64>>> =
            configurations.iter().map(|(_, runs)| runs.iter().map(score).collect()).collect();
        let best = survivors(&scores, halving.factor, halving.goal);
        best.into_iter().flat_map(|index| configurations[index].1.clone()).collect()
    }

    /// How each run ended or was stopped, by name. A run that is still to train has no entry.
    pub(super) fn states(&self) -> BTreeMap<String, RunState> {
        let (mut states, mut seconds) = (BTreeMap::new(), BTreeMap::<&str, f64>::new());
        let mut runs: Vec<usize> = (0..self.runs.len()).collect();
        for rung in 0..self.rungs() {
            let records = self.folder.records(rung);
            let record = |run: &usize| records.get(&*self.runs[*run].plan.name).copied();
            for record in runs.iter().filter_map(record) {
                // A later rung continues the run, and its time.
                let seconds = seconds.entry(&record.run).or_default();
                *seconds += record.state.seconds;
                states.insert(record.run.clone(), RunState { seconds: *seconds, ..record.state.clone() });
            }
            if rung + 1 == self.rungs() {
                break;
            }
            let is_complete = runs.iter().all(|run| record(run).is_some_and(|record| !record.is_interrupted()));
            let continuing = if is_complete { self.best(rung, &runs) } else { runs.clone() };
            for run in &runs {
                let name = &self.runs[*run].plan.name;
                let Some(state) = states.get_mut(name).filter(|state| state.state == State::Finished) else { continue };
                if continuing.contains(run) {
                    states.remove(name);
                } else if !state.ending.starts_with(DIVERGED) {
                    state.state = State::Stopped;
                    state.ending = format!("not among the best after rung {} of {}", rung + 1, self.rungs());
                }
            }
            if !is_complete {
                break;
            }
            runs = continuing;
        }
        states
    }
}

/// A string as TOML.
pub(super) fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
