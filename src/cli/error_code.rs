//! Exit codes of errors.

use anyhow::Error;
use gradwatch::{
    checkpoint::CheckpointError,
    cli::{DiagnoseError, FollowError, StdoutError, WatchCommandError},
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
    supervisor::SupervisorError,
    train::TrainError,
    watch::WatchError,
};
use gradwatch_study::{StudyError, StudyFolderError, StudyOutputError};

use super::{
    checkpoints::ExportError, compare::OneRun, evaluate::NoFiles, exit::Code, repair::NoRepair, study::RunsError,
};

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
    if let Some(error) = error.downcast_ref() {
        return code_of_supervisor(error);
    }
    if error.is::<NoRepair>() {
        return Code::Unrepaired;
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
            DiagnoseError::Replay(_) | DiagnoseError::Follow(FollowError::Path { .. }) => Code::Unreadable,
            DiagnoseError::Follow(FollowError::Format(_)) => Code::Usage,
            DiagnoseError::Follow(FollowError::Signals(_)) => Code::Internal,
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

fn code_of_supervisor(error: &SupervisorError) -> Code {
    match error {
        SupervisorError::Read(_) | SupervisorError::Write { .. } => Code::Run,
        SupervisorError::Events(error) => code_of_events(error),
        SupervisorError::Checkpoint(_) | SupervisorError::Missing { .. } => Code::Checkpoint,
        SupervisorError::Config(_) => Code::Config,
        SupervisorError::Train(error) => code_of_training(error),
        SupervisorError::Replay(_) => Code::Unreadable,
        SupervisorError::NoFolder => Code::Internal,
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
        | TrainError::RepairOnRanks { .. }
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
