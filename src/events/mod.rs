//! TensorBoard event files, and the run folder they lie in.
//!
//! From bytes upwards: [`masked_crc`], [`tf_record`], [`proto`], then [`SummaryWriter`] and [`EventFile`].
//!
//! ```
//! use gradwatch::events::{EventFile, Histogram, SummaryWriter, proto::What};
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

mod event_file;
mod facts;
mod histogram;
mod json_lines;
mod key;
mod layout;
pub mod masked_crc;
mod numbers;
mod position;
mod precision_recall;
pub mod proto;
mod run;
mod session;
mod summary_writer;
mod telemetry;
mod tensor_histogram;
pub mod tf_record;
mod value;
mod writer_thread;

use std::{io, path::PathBuf};

pub use event_file::EventFile;
pub use facts::write_facts;
pub use histogram::Histogram;
pub use json_lines::JsonLines;
pub use key::{Step, Tag, WallTime};
pub use layout::{Band, Category, Chart, Layout, exact_tag};
pub use numbers::Numbers;
pub use position::{LogPosition, PendingPosition};
pub use precision_recall::{PrecisionRecall, THRESHOLDS};
pub use run::{RunFolder, run_name};
pub use session::{Session, is_evaluation};
pub use summary_writer::SummaryWriter;
pub use telemetry::{
    write_gradient_bands, write_gradients, write_histograms, write_layers, write_slope, write_timeline, write_updates,
    write_weights,
};
pub use tf_record::RecordError;
pub use value::Value;

/// What can go wrong with the files of a run. Only [`EventsError::Write`] and [`EventsError::Incomplete`] happen while
/// training; they cost the file's further entries, not the run.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The folder already holds a run.
    #[error("run folder {} is already used; choose another --run-name or remove it", path.display())]
    AlreadyUsed {
        /// The folder.
        path: PathBuf,
    },
    /// Another process works in the folder.
    #[error("run folder {} is in use by {holder}; wait for it to end or stop it", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, as far as it says who it is.
        holder: String,
    },
    /// The folder is no run's.
    #[error("{} holds no run: {missing} is missing; want the folder of a run, e.g. logs/NAME", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// What a run has.
        missing: &'static str,
    },
    /// A file of a run's folder is a link, a pipe or the like: writing to it would change something outside of the run.
    #[error("{}: {what}", path.display())]
    Elsewhere {
        /// The entry of the folder.
        path: PathBuf,
        /// What it is, and what to do.
        what: String,
    },
    /// A file or folder cannot be made.
    #[error("{} cannot be created: {cause}; check run.logdir and its permissions", path.display())]
    Create {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// A file cannot be written any further.
    #[error("{} cannot be written: {cause}; free space, what follows is not recorded", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// An event file lacks its last entries: it could not be written to its end.
    #[error("{} lacks its last {lost} entries: {cause}; free space before the next run", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// Entries that are missing.
        lost: u64,
        /// The system's reason.
        cause: io::Error,
    },
    /// A file cannot be opened.
    #[error("{} cannot be read: {cause}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// A record of an event file is damaged, or its end is not there (yet).
    #[error("{} {cause}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        cause: RecordError,
    },
    /// A whole record of an event file is no event. The next one can be read.
    #[error("{} holds no event in the record at byte {offset}: {cause}; skip it, another program wrote it", path.display())]
    NotAnEvent {
        /// The file.
        path: PathBuf,
        /// Start of the record.
        offset: u64,
        /// What is wrong with its data.
        cause: prost::DecodeError,
    },
    /// Buckets do not make a histogram.
    #[error("a histogram cannot be made: got {got}, want {want}; mend the buckets given to it")]
    Histogram {
        /// What was given.
        got: String,
        /// What is needed.
        want: &'static str,
    },
    /// A time is NaN or infinite.
    #[error("a wall time is {got}; want finite seconds since 1970")]
    WallTime {
        /// The seconds.
        got: f64,
    },
}
