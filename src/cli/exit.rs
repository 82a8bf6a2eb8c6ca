//! Exit codes, one for each kind of failure.

use std::process::ExitCode;

use anyhow::Error;
use gradwatch::{
    checkpoint::CheckpointError,
    config::ConfigError,
    data::DataError,
    disk::OutputError,
    events::EventsError,
    inference::InferenceError,
    libtorch::{LibtorchError, is_out_of_memory},
    replay::ReplayError,
    train::{PREEMPTED, TrainError},
};
use signal_hook::consts::SIGUSR1;

use super::StdoutError;

/// Exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Success.
    Success,
    /// Internal error.
    Internal,
    /// Invalid config.
    Config,
    /// Unusable data.
    Data,
    /// The model cannot be built, or its weights cannot be loaded or written.
    Model,
    /// The run folder, its files, or the output file cannot be created.
    Run,
    /// The device is not available.
    Device,
    /// Training or a pass through the model failed.
    Training,
    /// The command finished but left something out, such as bad images.
    Partial,
    /// A checkpoint cannot be written, no checkpoint is valid, or the checkpoint belongs to another experiment.
    Checkpoint,
    /// A finding ended the run.
    Finding,
    /// The files of a run cannot be diagnosed.
    Unreadable,
    /// stdout cannot be written.
    Output,
    /// The device has too little memory.
    Memory,
    /// A signal ended the run.
    Signal(i32),
}

/// Exit codes in `--help`. Code 2 is clap's own, for invalid arguments.
pub const HELP: &str = "\
Exit codes:
    0  success
    1  internal error
    2  wrong command line
    3  config: unknown, missing, or invalid keys, or an unknown class
    4  data: missing, damaged, or unusable files
    5  model: cannot be built, or its weights cannot be loaded or written
    6  run folder or output: in use, not a run, already exists, or not writable
    7  device: unknown device, or no CUDA
    8  training or a forward pass failed: non-finite gradients, or an error in a libtorch operation
    9  done, but something was skipped: bad images, log entries, the last weights (a checkpoint has them), the files
       of a printed evaluation, or a damaged file that diagnose found
   10  checkpoint: none is valid, it belongs to another experiment, or it cannot be written
   11  stopped by a finding (diagnosis.stop_at or an action), with a checkpoint if they are enabled
   12  diagnose: nothing to read, or no known tags, in at least one run
   13  a command that prints its result cannot write to stdout, such as on a full disk
   14  out of memory: the model and its batches do not fit on the device
   75  stopped by SIGUSR1 (preemption), with a checkpoint if they are enabled: run it again with --resume auto
  129  stopped by SIGHUP (the terminal was closed), likewise; nohup prevents it
  130  stopped by Ctrl-C (SIGINT), likewise
  131  stopped by SIGQUIT, likewise
  143  stopped by SIGTERM, likewise
A signal before training starts, or a second signal, ends the process at once.";

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(match code {
            Code::Success => 0,
            Code::Internal => 1,
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
            Code::Signal(SIGUSR1) => u8::try_from(PREEMPTED).unwrap_or(1),
            Code::Signal(signal) => u8::try_from(128 + signal).unwrap_or(1),
        })
    }
}

/// Maps an error to its exit code.
pub fn code_of(error: &Error) -> Code {
    // Out of memory can occur anywhere, and only libtorch's message identifies it.
    if is_out_of_memory(&format!("{error:#}")) {
        return Code::Memory;
    }
    if error.is::<ConfigError>() {
        return Code::Config;
    }
    if error.is::<EventsError>() || error.is::<OutputError>() {
        return Code::Run;
    }
    if error.is::<StdoutError>() {
        return Code::Output;
    }
    if error.is::<ReplayError>() {
        return Code::Unreadable;
    }
    if error.is::<CheckpointError>() {
        return Code::Checkpoint;
    }
    if let Some(error) = error.downcast_ref::<InferenceError>() {
        return code_of_inference(error);
    }
    if let Some(error) = error.downcast_ref::<DataError>() {
        return code_of_data(error);
    }
    if let Some(LibtorchError::NoCuda { .. } | LibtorchError::UnknownDevice(_)) = error.downcast_ref() {
        return Code::Device;
    }
    match error.downcast_ref::<TrainError>() {
        None => Code::Internal,
        Some(
            TrainError::Config(_)
            | TrainError::ClassWeights { .. }
            | TrainError::SingleImage { .. }
            | TrainError::NoSuchParameters { .. }
            | TrainError::NoSuchStatistics { .. }
            | TrainError::NothingToTrain
            | TrainError::NoSuchClass { .. }
            | TrainError::NoFeatureMaps { .. }
            | TrainError::NoHead,
        ) => Code::Config,
        Some(TrainError::Data(error)) => code_of_data(error),
        Some(TrainError::Inference(error)) => code_of_inference(error),
        Some(TrainError::NoImages { .. }) => Code::Data,
        Some(TrainError::Model(_) | TrainError::Weights(_)) => Code::Model,
        Some(TrainError::Events(_)) => Code::Run,
        Some(
            TrainError::Checkpoint(_)
            | TrainError::Changed { .. }
            | TrainError::OtherData { .. }
            | TrainError::OtherClasses(_)
            | TrainError::OtherModel { .. },
        ) => Code::Checkpoint,
        Some(TrainError::Libtorch(LibtorchError::NoCuda { .. } | LibtorchError::UnknownDevice(_))) => Code::Device,
        Some(_) => Code::Training,
    }
}

fn code_of_data(error: &DataError) -> Code {
    if matches!(error, DataError::Worker { .. }) { Code::Internal } else { Code::Data }
}

fn code_of_inference(error: &InferenceError) -> Code {
    match error {
        InferenceError::NoRun { .. }
        | InferenceError::Unreadable { .. }
        | InferenceError::Elsewhere { .. }
        | InferenceError::Write { .. } => Code::Run,
        InferenceError::Config(_) | InferenceError::UnknownClass { .. } | InferenceError::TrainedWith { .. } => {
            Code::Config
        }
        InferenceError::Data(error) => code_of_data(error),
        InferenceError::NoWeights { .. }
        | InferenceError::NoExtra { .. }
        | InferenceError::NoFeatureMaps { .. }
        | InferenceError::Model(_)
        | InferenceError::Weights(_) => Code::Model,
        InferenceError::Libtorch(LibtorchError::NoCuda { .. } | LibtorchError::UnknownDevice(_)) => Code::Device,
        InferenceError::Libtorch(_) | InferenceError::Torch(_) => Code::Training,
    }
}
