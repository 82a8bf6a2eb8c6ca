//! Exit codes, one for each kind of failure.

use std::process::ExitCode;

use anyhow::Error;
use gradwatch::{
    checkpoint::CheckpointError,
    cli::{DiagnoseError, DiagnoseOutcome, StdoutError, WatchCommandError, WatchOutcome},
    config::ConfigError,
    data::DataError,
    disk::OutputError,
    distributed::DistributedError,
    evaluation::EvaluationError,
    events::EventsError,
    inference::InferenceError,
    libtorch::{LibtorchError, is_out_of_memory},
    model::ModelError,
    range_test::RatesError,
    recording::RecordingError,
    train::{PREEMPTED, TrainError},
    watch::WatchError,
};
use gradwatch_study::{StudyError, StudyFolderError, StudyOutputError};
use signal_hook::consts::SIGUSR1;

use super::{checkpoints::ExportError, compare::OneRun, evaluate::NoFiles, study::RunsError};

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
       or find-lr has no learning rate to suggest
   12  diagnose, compare, watch: nothing to read, or no known tags, in at least one run
   13  a command that prints its result cannot write to stdout, such as on a full disk, or watch
       cannot use the terminal
   14  out of memory: the model and its batches do not fit on the device
   15  distributed training: another rank failed, is missing, or has another config, data set,
       or version
   16  training diverged: too many steps in a row had a gradient or an update that is not finite
       (optimizer.max_skipped_steps)
   17  another process uses the run folder, or another study its folder
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

/// Whether the message of an error lists the problems of a config, one a line. Only this list may have several lines: it
/// escapes the line breaks in names and values.
pub(crate) fn is_list(error: &Error) -> bool {
    let config = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(TrainError::Config(config)), _) | (_, Some(InferenceError::Config(config))) => Some(config),
        _ => error.downcast_ref(),
    };
    let study = error.downcast_ref();
    matches!(config, Some(ConfigError::Invalid { .. }))
        || matches!(study, Some(StudyError::Invalid { .. } | StudyError::NoValidRun { .. }))
}

/// Maps an error to its exit code.
pub(crate) fn code_of(error: &Error) -> Code {
    // Out of memory can occur anywhere, and only libtorch's message identifies it.
    if is_out_of_memory(&format!("{error:#}")) {
        return Code::Memory;
    }
    if error.is::<ConfigError>() || error.is::<StudyError>() {
        return Code::Config;
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_study(error);
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_study_folder(error);
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_events(error);
    }
    if error.is::<OutputError>() || error.is::<StudyOutputError>() {
        return Code::Run;
    }
    if error.is::<RatesError>() || error.is::<OneRun>() {
        return Code::Usage;
    }
    if error.is::<StdoutError>() {
        return Code::Output;
    }
    if let Some(error) = error.downcast_ref::<DiagnoseError>() {
        return match error {
            DiagnoseError::Replay(_) => Code::Unreadable,
            DiagnoseError::Output(_) => Code::Run,
            DiagnoseError::Stdout(_) => Code::Output,
        };
    }
    if let Some(error) = error.downcast_ref::<WatchCommandError>() {
        return match error {
            WatchCommandError::Watch(WatchError::Path { .. }) => Code::Unreadable,
            WatchCommandError::Watch(WatchError::Terminal(_)) | WatchCommandError::Stdout(_) => Code::Output,
            WatchCommandError::Watch(WatchError::Panic(_)) => Code::Internal,
        };
    }
    if error.is::<CheckpointError>() || error.is::<ExportError>() {
        return Code::Checkpoint;
    }
    if error.is::<DistributedError>() {
        return Code::Rank;
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_training(error);
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_inference(error);
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_evaluation(error);
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_data(error);
    }
    if error.is::<NoFiles>() {
        return Code::Data;
    }
    if error.is::<ModelError>() {
        return Code::Model;
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_libtorch(error, Code::Internal);
    }
    Code::Internal
}

fn code_of_study(error: &RunsError) -> Code {
    match error {
        RunsError::Many { .. } => Code::Usage,
        RunsError::OtherConfig { .. } | RunsError::Nothing { .. } => Code::Run,
    }
}

fn code_of_study_folder(error: &StudyFolderError) -> Code {
    match error {
        StudyFolderError::InUse { .. } => Code::InUse,
        StudyFolderError::Events(error) => code_of_events(error),
        _ => Code::Run,
    }
}

fn code_of_events(error: &EventsError) -> Code {
    match error {
        EventsError::InUse { .. } => Code::InUse,
        _ => Code::Run,
    }
}

fn code_of_training(error: &TrainError) -> Code {
    match error {
        TrainError::Evaluation(error) => code_of_evaluation(error),
        TrainError::Recording(error) => code_of_recording(error),
        TrainError::Distributed(error) => code_of_distributed(error),
        TrainError::Config(_)
        | TrainError::SingleImage { .. }
        | TrainError::TrainingSize { .. }
        | TrainError::NoSuchParameters { .. }
        | TrainError::NoSuchStatistics { .. }
        | TrainError::NothingToTrain
        | TrainError::NoFeatureMaps { .. }
        | TrainError::RankBuffers { .. }
        | TrainError::NoHead => Code::Config,
        TrainError::Checkpoint(_)
        | TrainError::Changed { .. }
        | TrainError::OtherData { .. }
        | TrainError::OtherClasses(_)
        | TrainError::OtherModel { .. }
        | TrainError::RankStreams => Code::Checkpoint,
        TrainError::NonFinite { .. } | TrainError::NonFiniteUpdate { .. } => Code::Diverged,
        TrainError::Gradient(_) | TrainError::Optim(_) => Code::Training,
    }
}

fn code_of_recording(error: &RecordingError) -> Code {
    match error {
        RecordingError::Events(error) => code_of_events(error),
        RecordingError::Weights(_) => Code::Model,
        RecordingError::Picture(_) => Code::Training,
        RecordingError::Inference(error) => code_of_inference(error),
        RecordingError::NoSuchClass { .. } => Code::Config,
    }
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
        InferenceError::NoWeights { .. } | InferenceError::NoExtra { .. } | InferenceError::NoFeatureMaps { .. } => {
            Code::Model
        }
        InferenceError::Evaluation(error) => code_of_evaluation(error),
        InferenceError::Torch(_) => Code::Training,
    }
}

fn code_of_evaluation(error: &EvaluationError) -> Code {
    match error {
        EvaluationError::Data(error) => code_of_data(error),
        EvaluationError::Model(_) | EvaluationError::Weights(_) => Code::Model,
        EvaluationError::Libtorch(error) => code_of_libtorch(error, Code::Training),
        EvaluationError::Distributed(error) => code_of_distributed(error),
        EvaluationError::NoImages { .. } => Code::Data,
        EvaluationError::ClassWeights { .. } => Code::Config,
    }
}

fn code_of_distributed(error: &DistributedError) -> Code {
    match error {
        DistributedError::Libtorch(error) => code_of_libtorch(error, Code::Rank),
        _ => Code::Rank,
    }
}

/// `failed` is the code of a failed operation.
fn code_of_libtorch(error: &LibtorchError, failed: Code) -> Code {
    match error {
        LibtorchError::NoCuda { .. } | LibtorchError::UnknownDevice(_) => Code::Device,
        LibtorchError::Operation { .. } | LibtorchError::Argument { .. } | LibtorchError::Tch(_) => failed,
    }
}

fn code_of_data(error: &DataError) -> Code {
    match error {
        DataError::Worker { .. } => Code::Internal,
        DataError::Missing { .. }
        | DataError::Io { .. }
        | DataError::Truncated { .. }
        | DataError::TrailingBytes { .. }
        | DataError::WrongMagic { .. }
        | DataError::Gzip { .. }
        | DataError::CountMismatch { .. }
        | DataError::LabelOutOfRange { .. }
        | DataError::ShapeMismatch { .. }
        | DataError::Empty { .. }
        | DataError::TooFewImages { .. }
        | DataError::ClassWithoutImages { .. }
        | DataError::ClassIsGone { .. }
        | DataError::NoClassFolders { .. }
        | DataError::UnclearLayout { .. }
        | DataError::UnknownClass { .. }
        | DataError::ClassNames { .. }
        | DataError::Manifest(_)
        | DataError::OneClass { .. }
        | DataError::ShardPattern { .. }
        | DataError::Shard { .. }
        | DataError::Parquet { .. }
        | DataError::SeveralSets { .. }
        | DataError::PythonVersion { .. }
        | DataError::BadImage { .. }
        | DataError::NoImageFile { .. }
        | DataError::NoImageFiles { .. }
        | DataError::OtherClasses { .. }
        | DataError::NotThere { .. }
        | DataError::NoSuchImage { .. }
        | DataError::PixelCount { .. }
        | DataError::Channels { .. }
        | DataError::TooLarge { .. }
        | DataError::NoMemory { .. }
        | DataError::PixelScale { .. }
        | DataError::PixelScaleChannels { .. }
        | DataError::NoBatch { .. } => Code::Data,
    }
}
