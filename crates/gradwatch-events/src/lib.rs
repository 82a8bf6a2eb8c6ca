//! TensorBoard event files, and the run folder that contains them.
//!
//! Layers, from the bottom up: [`masked_crc`], [`tf_record`], [`proto`], then [`SummaryWriter`] and [`EventFile`].
//!
//! ```
//! use gradwatch_events::{EventFile, Histogram, SummaryWriter, proto::What};
//!
//! let logdir = tempfile::tempdir()?;
//! let writer = SummaryWriter::create(logdir.path())?;
//! writer.scalar("loss/train", 1, 0.5)?;
//! writer.histogram("weights", 1, Histogram::of(&[-1.0, 0.0, 1.0], 30))?;
//! let path = writer.path().to_owned();
//! writer.close()?;
//!
//! let events = EventFile::open(&path)?.collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(events.len(), 3);
//! assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".into())));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod disk;
mod event_bytes;
mod event_file;
mod histogram;
pub mod hparams;
mod json_lines;
mod key;
mod layout;
pub mod masked_crc;
mod numbers;
mod position;
mod precision_recall;
pub mod proto;
mod run;
mod run_copy;
mod session;
mod summary_writer;
pub mod tf_record;
mod value;
mod writer_thread;

use std::{io, path::PathBuf};

pub use event_bytes::EventBytes;
pub use event_file::EventFile;
pub use histogram::Histogram;
pub use hparams::Hparams;
pub use json_lines::JsonLines;
pub use key::{Step, Tag, WallTime};
pub use layout::{Band, Category, Chart, Layout, exact_tag};
pub use numbers::Numbers;
pub use position::{LogPosition, PendingPosition};
pub use precision_recall::{PrecisionRecall, THRESHOLDS};
pub use run::{RunFolder, run_name};
pub use session::{Session, hparams_file, is_evaluation, is_hparams, is_session};
pub use summary_writer::SummaryWriter;
pub use tf_record::RecordError;
pub use value::Value;

/// Errors from the files of a run. Only [`EventsError::Write`] and [`EventsError::Incomplete`] occur during training;
/// the file then loses its further entries, but the run continues.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The folder already contains a run.
    #[error("run folder {} is already used; choose another --run-name or remove it", path.display())]
    AlreadyUsed {
        /// The folder.
        path: PathBuf,
    },
    /// The copy of a run already exists.
    #[error("{} already exists; resume it with gradwatch resume, or remove it", path.display())]
    CopyExists {
        /// The folder of the copy.
        path: PathBuf,
    },
    /// Another process uses the folder.
    #[error("run folder {} is in use by {holder}; wait for it to end or stop it", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, as recorded in the lock file.
        holder: String,
    },
    /// The folder does not contain a run.
    #[error("{} is not a run folder: {missing} is missing; want a run folder, e.g. logs/NAME", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// The missing file or folder.
        missing: &'static str,
    },
    /// A file in the run's folder is a link, a pipe, or similar. Writing to it would change something outside of the
    /// run.
    #[error("{}: {what}", path.display())]
    Elsewhere {
        /// The entry of the folder.
        path: PathBuf,
        /// The kind of entry, and how to fix it.
        what: String,
    },
    /// A file or folder cannot be created.
    #[error("{} cannot be created: {cause}; check run.logdir and its permissions", path.display())]
    Create {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Further writes to a file fail.
    #[error("{} cannot be written: {cause}; free disk space; later entries are not recorded", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// An event file lacks its last entries because writing failed.
    #[error("{} lacks its last {lost} entries: {cause}; free disk space before the next run", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// Number of missing entries.
        lost: u64,
        /// The system's error.
        cause: io::Error,
    },
    /// A file cannot be opened.
    #[error("{} cannot be read: {cause}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A record of an event file is damaged, or its end is missing (or not written yet).
    #[error("{} {cause}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The error and its position.
        cause: RecordError,
    },
    /// A complete record of an event file is not an event. The next record can be read.
    #[error(
        "{} has no valid event in the record at byte {offset}: {cause}; skip it, another program wrote it",
        path.display()
    )]
    NotAnEvent {
        /// The file.
        path: PathBuf,
        /// Start of the record.
        offset: u64,
        /// The decoding error.
        cause: prost::DecodeError,
    },
    /// Buckets do not form a histogram.
    #[error("cannot build a histogram: got {got}, want {want}; fix its buckets")]
    Histogram {
        /// The given value.
        got: String,
        /// The expected value.
        want: &'static str,
    },
    /// A time is NaN or infinite.
    #[error("got a wall time of {got}, want finite seconds since 1970")]
    WallTime {
        /// The seconds.
        got: f64,
    },
}
