//! The training processes of a study.

use std::{
    env,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use gradwatch::recording::Summary;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1},
    low_level::signal_name,
};

use crate::cli::{exit::Code, launch::LAUNCHER};

/// Variables that would make a training process a rank of another run.
const OF_RANKS: [&str; 4] = ["RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"];
/// Most bytes of the output of a process to read, from its end.
const MOST_OUTPUT_BYTES: u64 = 1 << 16;

/// A training process to start.
pub(super) struct Job {
    /// Index of the run.
    pub run: usize,
    /// Arguments of the program.
    pub arguments: Vec<String>,
    /// When to give up if another process holds the run folder.
    pub deadline: Option<Instant>,
}

/// A training process that has ended.
pub(super) struct Ended {
    /// Index of the run.
    pub run: usize,
    pub outcome: Outcome,
    pub time: Duration,
    /// That of the job.
    pub deadline: Option<Instant>,
}

/// How a training process ended.
pub(super) enum Outcome {
    /// At its limit, or by a finding; `ending` says why, in the words of the run's summary.
    Finished { code: Code, ending: Option<String> },
    /// Because its gradients were not finite, with the error.
    Diverged(String),
    /// By a signal that the study passed on; it resumes later.
    Stopped,
    /// Not at all: the study itself received this signal.
    Signaled(i32),
    /// With an error, in words.
    Failed(String),
    /// The process of an earlier study still holds its run folder.
    InUse,
}

/// Running training processes, at most one per slot. Processes that still run when this value is dropped are killed.
pub(super) struct Jobs {
    program: PathBuf,
    slots: Vec<Option<Running>>,
    /// Number of GPUs to distribute the slots over; 0 for none.
    gpus: usize,
    sent: Vec<i32>,
}

struct Running {
    job: Job,
    child: Child,
    summary: File,
    errors: File,
    started: Instant,
}

impl Jobs {
    /// No process yet, and at most `slots` at once.
    ///
    /// # Errors
    /// If the program's own path is unknown.
    pub(super) fn new(slots: usize, gpus: usize) -> io::Result<Self> {
        let slots = (0..slots).map(|_| None).collect();
        Ok(Self { program: env::current_exe()?, slots, gpus, sent: Vec::new() })
    }

    /// Number of running processes.
    pub(super) fn running(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Whether another process can start.
    pub(super) fn has_room(&self) -> bool {
        self.slots.iter().any(Option::is_none)
    }

    /// Starts a process in a free slot.
    ///
    /// # Errors
    /// If the system refuses it.
    pub(super) fn start(&mut self, job: Job) -> io::Result<()> {
        let Some(slot) = self.slots.iter().position(Option::is_none) else { return Ok(()) };
        // The summary and the error message of a run, which end with it.
        let (summary, errors) = (tempfile()?, tempfile()?);
        let mut command = Command::new(&self.program);
        command.args(&job.arguments).stdin(Stdio::null()).stdout(summary.try_clone()?).stderr(errors.try_clone()?);
        command.env(LAUNCHER, process::id().to_string());
        OF_RANKS.iter().for_each(|name| {
            command.env_remove(name);
        });
        if self.gpus > 1 {
            command.env("CUDA_VISIBLE_DEVICES", visible_device(slot % self.gpus));
        }
        // In a process group of its own, it gets no second Ctrl-C from the terminal.
        let child = command.process_group(0).spawn()?;
        self.slots[slot] = Some(Running { job, child, summary, errors, started: Instant::now() });
        Ok(())
    }

    /// The processes that have ended since the last call.
    ///
    /// # Errors
    /// If the system rejects a wait.
    pub(super) fn ended(&mut self) -> io::Result<Vec<Ended>> {
        let mut ended = Vec::new();
        for slot in &mut self.slots {
            let Some(running) = slot else { continue };
            if let Some(status) = running.child.try_wait()? {
                let outcome = outcome(status, &self.sent, &mut running.summary, &mut running.errors);
                let Job { run, deadline, .. } = running.job;
                ended.push(Ended { run, outcome, time: running.started.elapsed(), deadline });
                *slot = None;
            }
        }
        Ok(ended)
    }

    /// Passes a signal on to all processes, which save a checkpoint and end.
    pub(super) fn send(&mut self, signal: i32) {
        self.sent.push(signal);
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        for running in self.slots.iter().flatten() {
            // The process ID is valid, as nobody has waited for the child. A child that has just ended ignores signals.
            let _ = kill_process(Pid::from_child(&running.child), signal);
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for running in self.slots.iter_mut().flatten() {
            // Both fail if it has already ended.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

fn outcome(status: ExitStatus, sent: &[i32], summary: &mut File, errors: &mut File) -> Outcome {
    let number = status.code().and_then(|code| u8::try_from(code).ok());
    let is = |code: Code| number == Some(code.number());
    let is_stopped = sent.iter().any(|signal| is(Code::Signal(*signal)) || status.signal() == Some(*signal));
    if is_stopped {
        return Outcome::Stopped;
    }
    if let Some(code) =
        [Code::Success, Code::Partial, Code::Finding, Code::Unrepaired].into_iter().find(|code| is(*code))
    {
        return Outcome::Finished { code, ending: ending(&last_output(summary)) };
    }
    let signals = [SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGHUP];
    if let Some(signal) = signals.into_iter().find(|signal| is(Code::Signal(*signal))) {
        return Outcome::Failed(format!("stopped by {}", signal_name(signal).unwrap_or("a signal")));
    }
    let message = last_message(errors);
    match (number, status.signal()) {
        (Some(_), _) if is(Code::InUse) => Outcome::InUse,
        (Some(_), _) if is(Code::Diverged) => Outcome::Diverged(message),
        (Some(number), _) => Outcome::Failed(format!("exit code {number}: {message}")),
        (None, Some(SIGKILL)) => Outcome::Failed("killed by SIGKILL, perhaps because memory ran out".into()),
        (None, signal) => {
            let name = signal.and_then(signal_name).unwrap_or("an unknown signal");
            Outcome::Failed(format!("killed by {name}"))
        }
    }
}

/// Why a run ended, from its summary.
fn ending(summary: &str) -> Option<String> {
    let words = summary.lines().rev().find_map(|line| line.strip_prefix(Summary::ENDED))?.trim();
    (!words.is_empty()).then(|| words.to_owned())
}

/// The error of a process, from its stderr, without the name of the program.
fn last_message(errors: &mut File) -> String {
    // The other lines are those of the log.
    let text = last_output(errors);
    text.lines().rev().find_map(|line| line.strip_prefix("gradwatch: ")).unwrap_or("no message").to_owned()
}

/// The end of the output of a process. If it cannot be read, the exit code alone has to do.
fn last_output(output: &mut File) -> String {
    let mut text = Vec::new();
    let length = output.metadata().map_or(0, |metadata| metadata.len());
    let start = SeekFrom::Start(length.saturating_sub(MOST_OUTPUT_BYTES));
    let _ = output.seek(start).and_then(|_| output.take(MOST_OUTPUT_BYTES).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// A file without a name, which disappears with the process.
fn tempfile() -> io::Result<File> {
    rustix::fs::memfd_create("gradwatch-study", rustix::fs::MemfdFlags::CLOEXEC).map(File::from).map_err(Into::into)
}

/// The n-th GPU, of those that are visible to this process.
fn visible_device(number: usize) -> String {
    let visible = env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    visible.split(',').nth(number).filter(|name| !name.is_empty()).map_or_else(|| number.to_string(), str::to_owned)
}

/// Whether the run has no checkpoint to resume from, although it has begun: it must start again.
pub(super) fn must_start_again(run: &Path) -> bool {
    run.is_dir() && !run.join(gradwatch::checkpoint::FOLDER).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_is_that_of_the_summary() {
        let summary = "ended       run.max_steps reached\ntime        12 steps\nrun         logs/run\n";
        assert_eq!(ending(summary).as_deref(), Some("run.max_steps reached"));
        assert_eq!(ending("verdict     Healthy: no problems found in 12 steps.\n"), None);
        assert_eq!(ending(""), None);
    }
}
