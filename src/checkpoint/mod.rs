//! Checkpoints: everything a run needs to resume bit for bit, in folders that are either complete or absent.
//!
//! A checkpoint is a folder `checkpoints/epoch-0002-step-00000120` with tensors in safetensors files, all other state
//! in JSON, and a manifest with the size and BLAKE3 hash of each file. A separate thread writes it to a temporary
//! folder, fsyncs it, and renames it. Training waits only while its tensors are copied. Reading a checkpoint does not
//! execute any code.
//!
//! ```
//! use gradwatch::checkpoint::{CheckpointName, CheckpointWriter, Contents, Retention, newest_whole};
//! use tch::Tensor;
//!
//! let folder = tempfile::tempdir()?;
//! let weight = Tensor::from_slice(&[1.0f32, 2.0]);
//! let contents = |step| Contents {
//!     name: CheckpointName { step, epoch: 0, is_settled: true },
//!     model: vec![("weight".to_owned(), weight.shallow_clone())],
//!     host: serde_json::json!({ "lessons": step }),
//!     ..Contents::default()
//! };
//! let mut writer = CheckpointWriter::start(folder.path(), Retention { keep_last: 2, ..Retention::default() })?;
//! writer.save(contents(10))?;
//! writer.save(contents(20))?;
//! writer.finish().into_iter().collect::<Result<Vec<_>, _>>()?;
//!
//! let _ = weight.shallow_clone().fill_(0.0);
//! let loaded = newest_whole(folder.path())?.expect("one was saved");
//! loaded.model_into(&[("weight".to_owned(), weight.shallow_clone())])?;
//! assert_eq!((loaded.manifest.step, weight.double_value(&[1])), (20, 2.0));
//! assert_eq!(loaded.host::<serde_json::Value>()?["lessons"], 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod average;
mod contents;
mod manifest;
mod name;
mod restore;
mod retention;
mod save;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use average::average;
pub use contents::Contents;
pub use manifest::{FileEntry, Manifest};
pub use name::{CheckpointName, list};
pub use restore::{Loaded, newest_whole, read_host};
pub use retention::{Kept, Retention, kept};
pub use save::{move_checkpoint, remove_after};
pub use writer::CheckpointWriter;

use crate::{disk::TensorFileError, number::count as plural};

/// Name of the checkpoint folder in a run's folder.
pub const FOLDER: &str = "checkpoints";

/// Reason why a checkpoint could not be written or read. None of these errors affects valid checkpoints.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Writing failed. The run can continue and still has its earlier checkpoints.
    #[error(
        "checkpoint {} cannot be written: {cause}; free disk space or fix its permissions; earlier checkpoints are \
         intact",
        path.display()
    )]
    Write {
        /// The checkpoint or the file in it.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Reading failed.
    #[error("checkpoint {} cannot be read: {cause}; fix its permissions or copy it again", path.display())]
    Read {
        /// The checkpoint or the file in it.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The files differ from those that were written.
    #[error("checkpoint {} is damaged: {what}", path.display())]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// The file, its actual contents, and the expected contents.
        what: String,
    },
    /// A later version of gradwatch wrote the checkpoint.
    #[error(
        "checkpoint {} has format {got}, want at most {}; use gradwatch {by} or later",
        path.display(),
        manifest::FORMAT
    )]
    Newer {
        /// The checkpoint.
        path: PathBuf,
        /// Its format.
        got: u32,
        /// The version that wrote it.
        by: String,
    },
    /// There are checkpoints, but none of them is valid.
    #[error(
        "{}: none of {} is valid; they are renamed to damaged-*, copy one again or train again",
        folder.display(),
        plural(*count as u64, "checkpoint")
    )]
    NoneWhole {
        /// The folder of the checkpoints.
        folder: PathBuf,
        /// Number of checkpoints.
        count: usize,
    },
    /// The run has no checkpoint to resume from.
    #[error(
        "{} has no checkpoint to resume from: checkpoints are off or deleted, or the run was killed before its first \
         step; {remedy}",
        run.display()
    )]
    Missing {
        /// The run's folder.
        run: PathBuf,
        /// How to fix it.
        remedy: &'static str,
    },
    /// The checkpoint does not match the target of the restore.
    #[error("checkpoint {} belongs to another run: {file}: {cause}", path.display())]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// The file in it.
        file: &'static str,
        /// The difference.
        cause: TensorFileError,
    },
    /// Copying the tensors failed.
    #[error("cannot copy the state of the run: {0}")]
    Snapshot(TensorFileError),
    /// The system could not start a thread, or the thread ended.
    #[error("cannot write checkpoints: {0}; restart the run with gradwatch resume")]
    Thread(io::Error),
}

impl CheckpointError {
    fn damaged(path: &Path, what: String) -> Self {
        Self::Damaged { path: path.to_owned(), what }
    }
}
