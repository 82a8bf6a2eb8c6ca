//! Checkpoints: everything a run needs to go on as if it had never stopped, in folders that are whole or not there.
//!
//! A checkpoint is a folder `checkpoints/epoch-0002-step-00000120` with tensors as safetensors, the rest as JSON, and a
//! manifest with the size and the BLAKE3 hash of each file. It is written beside, synced and renamed by a thread of its own;
//! training waits only while its tensors are copied. Reading one executes nothing.
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
pub use restore::{Loaded, newest_whole};
pub use retention::{Kept, Retention, kept};
pub use writer::CheckpointWriter;

use crate::disk::TensorFileError;

/// The folder of the checkpoints in a run's folder.
pub const FOLDER: &str = "checkpoints";

/// Why a checkpoint could not be written or read. No whole one is touched by any of these.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused while one was written. The run may go on; it has the checkpoints from before.
    #[error("checkpoint {} cannot be written: {cause}; free space or mend its permissions, earlier checkpoints are whole", path.display())]
    Write {
        /// The checkpoint or the file in it.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// The file system refused while one was read.
    #[error("checkpoint {} cannot be read: {cause}; mend its permissions or copy it anew", path.display())]
    Read {
        /// The checkpoint or the file in it.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// What lies there is not what was written.
    #[error("checkpoint {} is damaged: {what}", path.display())]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// Which file, what was found and what was wanted.
        what: String,
    },
    /// A later version of this program wrote it.
    #[error("checkpoint {} has format {got}, want at most {}; use gradwatch {by} or later", path.display(), manifest::FORMAT)]
    Newer {
        /// The checkpoint.
        path: PathBuf,
        /// Its format.
        got: u32,
        /// The version that wrote it.
        by: String,
    },
    /// There are checkpoints, and none of them is whole.
    #[error("{}: none of {count} checkpoint(s) is whole; they are left there as damaged-*, copy one anew or train again", folder.display())]
    NoneWhole {
        /// The folder of the checkpoints.
        folder: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// A run has no checkpoint to go on from.
    #[error(
        "{} has no checkpoint to go on from: its checkpoints are off, gone, or it was killed before its first step; {remedy}",
        run.display()
    )]
    Missing {
        /// The run's folder.
        run: PathBuf,
        /// What to do instead.
        remedy: &'static str,
    },
    /// It is of something else than what it is to be put into.
    #[error("checkpoint {} is of another run: {file}: {cause}", path.display())]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// The file in it.
        file: &'static str,
        /// What differs.
        cause: TensorFileError,
    },
    /// The tensors could not be copied out of training.
    #[error("the state of the run cannot be copied: {0}")]
    Snapshot(TensorFileError),
    /// The system gives no thread, or the thread has died.
    #[error("checkpoints cannot be written: {0}; start the run again with gradwatch resume")]
    Thread(io::Error),
}

impl CheckpointError {
    fn damaged(path: &Path, what: String) -> Self {
        Self::Damaged { path: path.to_owned(), what }
    }
}
