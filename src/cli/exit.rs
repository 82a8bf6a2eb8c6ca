//! Exit codes: one for each kind of failure.

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

/// What the process says when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// All is well.
    Success,
    /// A failure of the program itself.
    Internal,
    /// The config is wrong.
    Config,
    /// The data cannot be used.
    Data,
    /// The model cannot be built, or its weights not be loaded or written.
    Model,
    /// The run's folder or files, or the file to write, cannot be made.
    Run,
    /// The device is not there.
    Device,
    /// Training could not go on.
    Training,
    /// Training ended, or a run was judged, but something was left out on the way.
    Partial,
    /// A checkpoint cannot be written, none is whole, or it is of another experiment.
    Checkpoint,
    /// A finding ended the run.
    Finding,
    /// A run's files cannot be judged.
    Unreadable,
    /// stdout cannot be written.
    Output,
    /// A device has too little memory.
    Memory,
    /// A signal ended the run.
    Signal(i32),
}

/// The codes as `--help` tells them. 2 is clap's own, for a wrong command line.
pub const HELP: &str = "\
Exit codes:
    0  success
    1  internal error
    2  wrong command line
    3  config: unknown, missing or wrong keys; a class that there is not
    4  data: missing, damaged or unusable files
    5  model: it cannot be built, or its weights cannot be loaded or written
    6  run folder or output: in use, no run's, there already, or not writable
    7  device: no such device, no CUDA
    8  training or a pass could not go on: gradients that are not finite, an operation that libtorch does not take
    9  done, but something was left out: bad images, entries of a log, the last weights (a checkpoint has them), the files of an
       evaluation that was printed, a damaged file that diagnose met
   10  checkpoint: none is whole, it is of another experiment, or it cannot be written
   11  ended by a finding, as diagnosis.stop_at or an action asks for, with a checkpoint if they are on
   12  diagnose: nothing to read, or nothing of it is known, in one run at least
   13  stdout cannot be written, by a command whose result that is: the disk is full
   14  the device has too little memory for the model and its batches
   75  ended by SIGUSR1 (preemption), with a checkpoint if they are on: run it again with --resume auto
  129  ended by SIGHUP (the terminal was closed), likewise; nohup keeps it away
  130  ended by Ctrl-C (SIGINT), likewise
  131  ended by SIGQUIT, likewise
  143  ended by SIGTERM, likewise
A signal that comes before training begins, and a second one, end the process at once.";

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

/// The code of an error.
pub fn code_of(error: &Error) -> Code {
    // Whatever was being done, libtorch says so in words alone.
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
