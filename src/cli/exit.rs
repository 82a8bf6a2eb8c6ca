//! Exit codes, one for each kind of failure.

use std::process::ExitCode;

use gradwatch::{
    cli::{DiagnoseOutcome, WatchOutcome},
    train::PREEMPTED,
};
use signal_hook::consts::SIGUSR1;

/// Exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Success.
    Success,
    /// Internal error.
    Internal,
    /// Wrong command line, as clap's own code.
    Usage,
    /// Invalid config.
    Config,
    /// Unusable data.
    Data,
    /// The model cannot be built, or its weights cannot be loaded or written.
    Model,
    /// The run folder, its files, or the output file cannot be created.
    Run,
    /// No repair of a finding is left to try.
    Unrepaired,
    /// Another process uses the run or the study.
    InUse,
    /// The device is not available.
    Device,
    /// Training or a pass through the model failed.
    Training,
    /// Training diverged: the gradients or the updates of too many steps in a row were not finite.
    Diverged,
    /// The command finished but left something out, such as bad images.
    Partial,
    /// A checkpoint cannot be written, no checkpoint is valid, or the checkpoint belongs to another experiment.
    Checkpoint,
    /// A finding ended the run, or a range test has no learning rate to suggest.
    Finding,
    /// The files of a run cannot be diagnosed.
    Unreadable,
    /// stdout cannot be written.
    Output,
    /// The device has too little memory.
    Memory,
    /// Another rank of a distributed run failed, is missing, or differs from this one.
    Rank,
    /// Exit code of a rank, passed on by its launcher.
    OfRank(u8),
    /// A signal ended the run.
    Signal(i32),
}

/// Exit codes in `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  success
    1  internal error
    2  wrong command line
    3  config: unknown, missing, or invalid keys, or an unknown class
    4  data: missing, damaged, or unusable files
    5  model: cannot be built, or its weights cannot be loaded or written
    6  run folder or output: not a run, already exists, or not writable
    7  device: unknown device, or no CUDA
    8  training or a forward pass failed: an error in a libtorch operation
    9  done, but something was skipped: bad images, log entries, the last weights (a checkpoint
       has them), evaluation files that could not be written, damaged parts of the files that
       diagnose and compare read, or runs of a study that failed
   10  checkpoint: no valid one, none that matches --export, one of another experiment, or one
       that cannot be written
   11  stopped by a finding (diagnosis.stop_at or an action), with a checkpoint if they are enabled;
       diagnose: a finding reaches --fail-at or --stop-at; or find-lr has no learning rate to suggest
   12  diagnose, compare, watch: nothing to read, or no known tags, in at least one run
   13  a command that prints its result cannot write to stdout, such as on a full disk, or watch
       cannot use the terminal
   14  out of memory: the model and its batches do not fit on the device
   15  distributed training: another rank failed, is missing, or has another config, data set,
       or version
   16  training diverged: too many steps in a row had a gradient or an update that is not finite
       (optimizer.max_skipped_steps)
   17  another process uses the run folder, or another study its folder
   18  a finding stays that no change of [repair] has fixed; the run ends with its last healthy
       checkpoint, if it has one
   75  stopped by SIGUSR1 (preemption), with a checkpoint if they are enabled: run it again with
       --resume auto
  129  stopped by SIGHUP (the terminal was closed; nohup prevents it), with a checkpoint if they
       are enabled
  130  stopped by Ctrl-C (SIGINT), with a checkpoint if they are enabled
  131  stopped by SIGQUIT, with a checkpoint if they are enabled
  143  stopped by SIGTERM, with a checkpoint if they are enabled
A signal before training starts, or a second signal, ends the process at once.";

impl Code {
    /// The number that the process ends with.
    pub(crate) fn number(self) -> u8 {
        match self {
            Code::Success => 0,
            Code::Internal => 1,
            Code::Usage => 2,
            Code::Config => 3,
            Code::Data => 4,
            Code::Model => 5,
            Code::Run => 6,
            Code::Device => 7,
            Code::Training => 8,
            Code::Partial => 9,
            Code::Checkpoint => 10,
            Code::Finding => 11,
            Code::Unreadable => 12,
            Code::Output => 13,
            Code::Memory => 14,
            Code::Rank => 15,
            Code::Diverged => 16,
            Code::InUse => 17,
            Code::Unrepaired => 18,
            Code::OfRank(number) => number,
            Code::Signal(SIGUSR1) => u8::try_from(PREEMPTED).unwrap_or(1),
            Code::Signal(signal) => u8::try_from(128 + signal).unwrap_or(1),
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code.number())
    }
}

impl From<DiagnoseOutcome> for Code {
    fn from(outcome: DiagnoseOutcome) -> Self {
        match outcome {
            DiagnoseOutcome::Done => Self::Success,
            DiagnoseOutcome::Finding => Self::Finding,
            DiagnoseOutcome::Unreadable => Self::Unreadable,
            DiagnoseOutcome::Partial => Self::Partial,
            DiagnoseOutcome::Signal(signal) => Self::Signal(signal),
        }
    }
}

impl From<WatchOutcome> for Code {
    fn from(outcome: WatchOutcome) -> Self {
        match outcome {
            WatchOutcome::Done => Self::Success,
            WatchOutcome::Unreadable => Self::Unreadable,
        }
    }
}
