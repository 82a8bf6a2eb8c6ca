//! Writes one checkpoint: beside, synced, renamed, so that it is whole or not there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    CheckpointError, CheckpointName, Contents, FileEntry, Manifest,
    contents::{CONFIG_FILE, HOST_FILE, TENSOR_FILES},
    manifest::{FORMAT, MANIFEST_FILE},
};
use crate::{
    disk::{self, TensorFile},
    events::{LogPosition, PendingPosition},
    libtorch::torch_version,
};

/// The end of the name of a folder that is being written or removed.
const PARTIAL: &str = ".partial";

/// The beginning of the name of one that is being replaced.
const EARLIER: &str = "earlier-";

/// [`Contents`] with copies of the tensors, which training does not change any more.
pub(super) struct Snapshot<H> {
    pub number: u64,
    pub files: Vec<TensorFile>,
    pub contents: Contents<H>,
}

/// Writes a snapshot into `folder` and returns its manifest.
pub(super) fn save<H: Serialize>(folder: &Path, snapshot: &mut Snapshot<H>) -> Result<Manifest, CheckpointError> {
    let path = folder.join(snapshot.contents.name.to_string());
    let partial = partial_name(&path);
    let written = write_files(&partial, snapshot).and_then(|manifest| {
        disk::point("rename");
        // Where the run was at this place before: until the new one has the name, the next start takes the old one back.
        let earlier = path.exists().then(|| earlier_name(&path));
        if let Some(earlier) = &earlier {
            fs::rename(&path, earlier)?;
            disk::point("replaced");
        }
        fs::rename(&partial, &path)?;
        disk::point("renamed");
        disk::sync_folder(folder)?;
        earlier.map_or(Ok(()), fs::remove_dir_all)?;
        Ok(manifest)
    });
    written.map_err(|cause| {
        // Its own failure says nothing that the first one does not; what stays is removed at the next start.
        let _ = fs::remove_dir_all(&partial);
        CheckpointError::Write { path, cause }
    })
}

fn write_files<H: Serialize>(folder: &Path, snapshot: &mut Snapshot<H>) -> io::Result<Manifest> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let Snapshot { number, files, contents } = snapshot;
    let mut entries = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| {
        let hash = disk::write_hashed(&folder.join(name), bytes, "checkpoint")?;
        entries.push(FileEntry { name: name.to_owned(), bytes: bytes.len() as u64, blake3: hash.to_hex().to_string() });
        Ok::<_, io::Error>(())
    };
    for (name, file) in TENSOR_FILES.iter().zip(files.iter()) {
        write(name, file.bytes())?;
    }
    write(HOST_FILE, &serde_json::to_vec(&contents.host)?)?;
    write(CONFIG_FILE, contents.config.as_bytes())?;
    // What the logs say of the steps before this one is on the disk first: a checkpoint never knows more than they do.
    let mut logs: Vec<LogPosition> = contents.finished_logs.clone();
    for log in contents.logs.drain(..).map(PendingPosition::wait) {
        logs.push(log?);
    }
    let manifest = Manifest {
        format: FORMAT,
        gradwatch: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch: torch_version().to_owned(),
        number: *number,
        step: contents.name.step,
        epoch: contents.name.epoch,
        elapsed_secs: contents.elapsed_secs,
        saved_at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        metrics: contents.metrics.clone(),
        logs,
        files: entries,
    };
    disk::write_hashed(&folder.join(MANIFEST_FILE), &manifest.to_json()?, "manifest")?;
    disk::sync_folder(folder)?;
    Ok(manifest)
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(PARTIAL);
    path.with_file_name(name)
}

fn earlier_name(path: &Path) -> PathBuf {
    path.with_file_name(format!("{EARLIER}{}", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// Removes a checkpoint, unless something else was put into it. A crash on the way leaves a folder that is no checkpoint.
pub(super) fn remove(path: &Path) -> Result<(), CheckpointError> {
    let manifest = Manifest::read(path)?;
    let doomed = partial_name(path);
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            if name != *MANIFEST_FILE && !manifest.files.iter().any(|file| name == *file.name) {
                return Err(io::Error::other(format!("{} in it is not of this program", name.to_string_lossy())));
            }
        }
        fs::rename(path, &doomed)?;
        disk::point("retention");
        fs::remove_dir_all(&doomed)
    };
    remove().map_err(|cause| CheckpointError::Write { path: path.to_owned(), cause })
}

/// Removes what a process that died has left of checkpoints it was writing or removing, and takes back one that was to be
/// replaced.
pub(super) fn clear_partial(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_partial = |name: &str| name.strip_suffix(PARTIAL).is_some_and(|n| n.parse::<CheckpointName>().is_ok());
        if is_partial(&name.to_string_lossy()) {
            fs::remove_dir_all(entry.path())?;
        }
        let name = name.to_string_lossy();
        if let Some(replaced) = name.strip_prefix(EARLIER).filter(|name| name.parse::<CheckpointName>().is_ok()) {
            let path = folder.join(replaced);
            if path.exists() { fs::remove_dir_all(entry.path())? } else { fs::rename(entry.path(), path)? }
        }
    }
    Ok(())
}
