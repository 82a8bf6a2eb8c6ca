//! Writes one checkpoint atomically: to a temporary folder, fsynced, renamed. It is either complete or absent.

use std::{io, path::Path};

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    CheckpointError, CheckpointName, Contents, FileEntry, Manifest,
    contents::{CONFIG_FILE, HOST_FILE, TENSOR_FILES},
    list,
    manifest::{FORMAT, MANIFEST_FILE},
};
use crate::{
    disk::{self, Folder, TensorFile},
    events::{LogPosition, PendingPosition},
    libtorch::torch_version,
};

/// Suffix of a folder while it is written or removed.
const PARTIAL: &str = ".partial";

/// Prefix of a checkpoint while a new one replaces it.
const EARLIER: &str = "earlier-";

/// [`Contents`] with copies of the tensors, which training no longer changes.
pub(super) struct Snapshot<H> {
    pub number: u64,
    pub files: Vec<TensorFile>,
    pub contents: Contents<H>,
}

/// Writes a snapshot into `folder` and returns its manifest.
pub(super) fn save<H: Serialize>(folder: &Folder, snapshot: &mut Snapshot<H>) -> Result<Manifest, CheckpointError> {
    let name = snapshot.contents.name.to_string();
    let partial = format!("{name}{PARTIAL}");
    let written = write_files(folder, &partial, snapshot).and_then(|manifest| {
        disk::point("rename");
        // A checkpoint of this step already exists: until the new one has the name, the next start restores the old
        // one.
        let earlier = folder.contains(&name).then(|| format!("{EARLIER}{name}"));
        if let Some(earlier) = &earlier {
            folder.rename(&name, earlier)?;
            disk::point("replaced");
        }
        folder.rename(&partial, &name)?;
        disk::point("renamed");
        folder.sync()?;
        earlier.map_or(Ok(()), |earlier| folder.remove_folder(earlier))?;
        Ok(manifest)
    });
    written.map_err(|cause| {
        // A second failure adds no information to the first; the next start removes the rest.
        let _ = folder.remove_folder(&partial);
        CheckpointError::Write { path: folder.path().join(&name), cause }
    })
}

fn write_files<H: Serialize>(parent: &Folder, name: &str, snapshot: &mut Snapshot<H>) -> io::Result<Manifest> {
    if parent.contains(name) {
        parent.remove_folder(name)?;
    }
    parent.new_folder(name)?;
    let folder = parent.folder(name)?;
    let Snapshot { number, files, contents } = snapshot;
    let mut entries = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| {
        let hash = disk::write_hashed(folder.create_new(name)?, bytes, "checkpoint")?;
        entries.push(FileEntry { name: name.to_owned(), bytes: bytes.len() as u64, blake3: hash.to_hex().to_string() });
        Ok::<_, io::Error>(())
    };
    for (name, file) in TENSOR_FILES.iter().zip(files.iter()) {
        write(name, file.bytes().map_err(io::Error::other)?)?;
    }
    write(HOST_FILE, &serde_json::to_vec(&contents.host)?)?;
    write(CONFIG_FILE, contents.config.as_bytes())?;
    // Waits until the logs of the steps before this one are on disk: a checkpoint is never newer than the logs.
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
    disk::write_hashed(folder.create_new(MANIFEST_FILE)?, &manifest.to_json()?, "manifest")?;
    folder.sync()?;
    Ok(manifest)
}

/// Removes a checkpoint, unless it contains other files. A crash midway leaves a folder that is not a valid checkpoint.
pub(super) fn remove(folder: &Folder, name: CheckpointName) -> Result<(), CheckpointError> {
    let name = name.to_string();
    let path = folder.path().join(&name);
    let refuse = |cause| CheckpointError::Write { path: path.clone(), cause };
    let inner = folder.folder(&name).map_err(refuse)?;
    let manifest = Manifest::read_in(&inner)?;
    let doomed = format!("{name}{PARTIAL}");
    let remove = || -> io::Result<()> {
        for entry in inner.names()? {
            if entry != *MANIFEST_FILE && !manifest.files.iter().any(|file| entry == *file.name) {
                return Err(io::Error::other(format!("gradwatch did not write {} in it", entry.to_string_lossy())));
            }
        }
        folder.rename(&name, &doomed)?;
        disk::point("retention");
        folder.remove_folder(&doomed)
    };
    remove().map_err(refuse)
}

/// Removes all checkpoints of later steps from a folder; all of them for `None`. The newest goes first, so that a crash
/// midway leaves a run as it was at some step.
///
/// # Errors
/// If the system reports an error, or a checkpoint contains other files.
pub fn remove_after(folder: &Path, step: Option<u64>) -> Result<(), CheckpointError> {
    for (name, path) in list(folder)?.iter().rev().filter(|(name, _)| step.is_none_or(|step| name.step > step)) {
        let refuse = |cause| CheckpointError::Write { path: path.clone(), cause };
        let parent = Folder::open_unlinked(folder).map_err(refuse)?;
        remove(&parent, *name)?;
        parent.sync().map_err(refuse)?;
    }
    Ok(())
}

/// Moves the newest checkpoint of a step from one folder to another, which is created if it is missing. Does
/// nothing if there is none.
///
/// # Errors
/// If the system reports an error.
pub fn move_checkpoint(from: &Path, to: &Path, step: u64) -> Result<(), CheckpointError> {
    let Some((name, path)) = list(from)?.into_iter().rfind(|(name, _)| name.step == step) else { return Ok(()) };
    let moved = || -> io::Result<()> {
        let (parent, name_of) = (to.parent().unwrap_or(to), to.file_name().unwrap_or_default());
        let to = Folder::open_unlinked(parent)?.make_folder(name_of)?;
        Folder::open_unlinked(from)?.move_to(name.to_string(), &to)
    };
    moved().map_err(|cause| CheckpointError::Write { path, cause })?;
    disk::point("moved");
    Ok(())
}

/// Removes the remains of checkpoints that a killed process was writing or removing, and restores one that it was
/// replacing.
pub(super) fn clear_partial(folder: &Folder) -> io::Result<()> {
    let is_checkpoint = |name: &&str| name.parse::<CheckpointName>().is_ok();
    for name in folder.names()?.iter().filter_map(|name| name.to_str()) {
        if name.strip_suffix(PARTIAL).filter(is_checkpoint).is_some() {
            folder.remove_folder(name)?;
        }
        if let Some(replaced) = name.strip_prefix(EARLIER).filter(is_checkpoint) {
            if folder.contains(replaced) { folder.remove_folder(name)? } else { folder.rename(name, replaced)? }
        }
    }
    Ok(())
}
