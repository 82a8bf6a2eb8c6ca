//! Finds and reads the newest valid checkpoint.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tch::Tensor;

use super::{
    CheckpointError, FileEntry, Manifest,
    contents::{CONFIG_FILE, EMA_FILE, HOST_FILE, MODEL_FILE, OPTIMIZER_FILE, TENSOR_FILES, TRAINING_FILE},
    list,
    manifest::{is_damage, open},
    name::aside,
};
use crate::disk::{Folder, NamedTensors, TensorFileError, read_tensors, write_into};

/// A checkpoint in memory, with all hashes verified.
#[derive(Debug)]
pub struct Loaded {
    /// Folder of the checkpoint.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

impl Loaded {
    /// Reads the checkpoint at `path` and verifies the size and hash of each file. Needs as much memory as the files.
    ///
    /// # Errors
    /// If any file is damaged or cannot be read. Symbolic links are not followed.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let folder = open(path)?;
        let manifest = Manifest::read_in(&folder)?;
        let mut files = BTreeMap::new();
        for entry in &manifest.files {
            files.insert(entry.name.clone(), read_whole(&folder, entry)?);
        }
        match TENSOR_FILES.iter().chain([&HOST_FILE, &CONFIG_FILE]).find(|name| !files.contains_key(**name)) {
            Some(missing) => Err(CheckpointError::damaged(path, format!("{missing}: not in the manifest"))),
            None => Ok(Self { path: path.to_owned(), manifest, files }),
        }
    }

    fn file(&self, name: &str) -> &[u8] {
        self.files.get(name).map_or(&[], Vec::as_slice)
    }

    fn into(&self, file: &'static str, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
        write_into(tensors, self.file(file)).map_err(self.refuse(file))
    }

    /// Creates the error for tensors of [`training`](Self::training) that do not match.
    pub fn refuse_training(&self, cause: TensorFileError) -> CheckpointError {
        self.refuse(TRAINING_FILE)(cause)
    }

    /// Creates the error for tensors of [`optimizer`](Self::optimizer) that do not match.
    pub fn refuse_optimizer(&self, cause: TensorFileError) -> CheckpointError {
        self.refuse(OPTIMIZER_FILE)(cause)
    }

    fn refuse(&self, file: &'static str) -> impl Fn(TensorFileError) -> CheckpointError {
        move |cause| CheckpointError::Tensors { path: self.path.clone(), file, cause }
    }

    /// Copies weights and buffers into `tensors`, all of them or none.
    ///
    /// # Errors
    /// If their names, shapes, or types differ.
    pub fn model_into(&self, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
        self.into(MODEL_FILE, tensors)
    }

    /// Copies the average of the weights into `tensors`, all of it or nothing.
    ///
    /// # Errors
    /// As for [`model_into`](Self::model_into).
    pub fn ema_into(&self, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
        self.into(EMA_FILE, tensors)
    }

    /// Copies moments and step counts into `tensors`, all of them or none.
    ///
    /// # Errors
    /// As for [`model_into`](Self::model_into).
    pub fn optimizer_into(&self, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
        self.into(OPTIMIZER_FILE, tensors)
    }

    /// Weights and buffers, on the CPU.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn model(&self) -> Result<NamedTensors, CheckpointError> {
        self.tensors(MODEL_FILE)
    }

    /// Average of the weights; empty if the run has none.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn ema(&self) -> Result<NamedTensors, CheckpointError> {
        self.tensors(EMA_FILE)
    }

    /// Moments and step counts.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn optimizer(&self) -> Result<NamedTensors, CheckpointError> {
        self.tensors(OPTIMIZER_FILE)
    }

    /// All other tensors.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn training(&self) -> Result<NamedTensors, CheckpointError> {
        self.tensors(TRAINING_FILE)
    }

    fn tensors(&self, file: &'static str) -> Result<NamedTensors, CheckpointError> {
        read_tensors(self.file(file)).map_err(self.refuse(file))
    }

    /// The run's state on the host.
    ///
    /// # Errors
    /// If its structure differs.
    pub fn host<H: DeserializeOwned>(&self) -> Result<H, CheckpointError> {
        let parsed = serde_json::from_slice(self.file(HOST_FILE));
        parsed.map_err(|error| CheckpointError::damaged(&self.path, format!("{HOST_FILE}: {error}")))
    }

    /// The run's config, as TOML.
    pub fn config(&self) -> String {
        String::from_utf8_lossy(self.file(CONFIG_FILE)).into_owned()
    }
}

/// Reads only the run's state on the host from the checkpoint at `path`.
///
/// # Errors
/// If it is damaged or cannot be read, or its structure differs.
pub fn read_host<H: DeserializeOwned>(path: &Path) -> Result<H, CheckpointError> {
    let folder = open(path)?;
    let manifest = Manifest::read_in(&folder)?;
    let damaged = |what: String| CheckpointError::damaged(path, format!("{HOST_FILE}: {what}"));
    let entry = manifest.files.iter().find(|entry| entry.name == HOST_FILE);
    let bytes = read_whole(&folder, entry.ok_or_else(|| damaged("not in the manifest".to_owned()))?)?;
    serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))
}

/// Reads a file of the checkpoint in a folder, and verifies it against the manifest.
fn read_whole(folder: &Folder, entry: &FileEntry) -> Result<Vec<u8>, CheckpointError> {
    let FileEntry { name, bytes: want, blake3 } = entry;
    let path = folder.path();
    let bytes = match read_file(folder, name, *want) {
        Err(error) if is_damage(&error) => return Err(CheckpointError::damaged(path, format!("{name}: {error}"))),
        Err(cause) => return Err(CheckpointError::Read { path: path.join(name), cause }),
        Ok(Err(got)) => return Err(CheckpointError::damaged(path, format!("{name}: got {got} bytes, want {want}"))),
        Ok(Ok(bytes)) => bytes,
    };
    let hash = blake3::hash(&bytes).to_hex();
    if *hash != **blake3 {
        return Err(CheckpointError::damaged(path, format!("{name}: got BLAKE3 {hash}, want {blake3}")));
    }
    Ok(bytes)
}

/// Reads a file. If its size is not `want`, returns the size without allocating memory.
fn read_file(folder: &Folder, name: &str, want: u64) -> io::Result<Result<Vec<u8>, u64>> {
    let file = folder.open_file(name)?;
    let there = file.metadata()?.len();
    if there != want {
        return Ok(Err(there));
    }
    let mut bytes = Vec::new();
    let room = usize::try_from(want).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.take(want).read_to_end(&mut bytes)?;
    let got = bytes.len() as u64;
    // The file may have been truncated in the meantime.
    Ok(if got == want { Ok(bytes) } else { Err(got) })
}

/// Loads the newest valid checkpoint of a folder; `None` if there are no checkpoints. Logs each damaged checkpoint,
/// renames it to `damaged-*`, and falls back to the previous one.
///
/// # Errors
/// If there are checkpoints but none is valid, or if one cannot be read for another reason.
pub fn newest_whole(folder: &Path) -> Result<Option<Loaded>, CheckpointError> {
    let found = list(folder)?;
    for (name, path) in found.iter().rev() {
        match Loaded::read(path) {
            Ok(loaded) => return Ok(Some(loaded)),
            Err(error @ CheckpointError::Damaged { .. }) => {
                let put_aside = || -> io::Result<String> {
                    let folder = Folder::open_unlinked(folder)?;
                    let name = name.to_string();
                    let aside = aside(&folder, &name);
                    folder.rename(name, &aside)?;
                    Ok(aside)
                };
                match put_aside() {
                    Ok(aside) => tracing::error!(
                        "{error}; renamed to {}; falling back to the previous checkpoint",
                        folder.join(aside).display()
                    ),
                    Err(cause) => tracing::error!(
                        "{error}; falling back to the previous checkpoint (this one cannot be renamed: {cause})"
                    ),
                }
            }
            Err(error) => return Err(error),
        }
    }
    match found.len() {
        0 => Ok(None),
        count => Err(CheckpointError::NoneWhole { folder: folder.to_owned(), count }),
    }
}
