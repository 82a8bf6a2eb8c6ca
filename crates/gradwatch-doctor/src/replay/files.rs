//! Finds the event files of a run, and reads the config next to them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use gradwatch_events::{disk::Folder, is_hparams};

use super::ReplayError;
use crate::config::Config;

/// Largest config file to read, in bytes.
const MOST_CONFIG_BYTES: u64 = 1 << 26;

/// An event file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub path: PathBuf,
    /// Name of the subfolder of the file; empty for files in the run folder itself.
    pub part: String,
    /// Whether the file contains the run's training steps.
    pub is_of_run: bool,
}

impl Source {
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Levels of subfolders to search.
const DEPTH: usize = 4;

/// Keras's callback writes training and validation to separate subfolders; many training loops do too.
pub(super) const TRAIN: &str = "train";
pub(super) const VALIDATION: [&str; 5] = ["validation", "val", "valid", "eval", "test"];

fn is_event_file(path: &Path) -> bool {
    let is_of_run = |name: &str| name.contains("tfevents") && !is_hparams(name);
    path.is_file() && path.file_name().is_some_and(|name| is_of_run(&name.to_string_lossy()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    let refuse = |cause| ReplayError::Folder { path: folder.to_owned(), cause };
    let entries = fs::read_dir(folder).map_err(refuse)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
    // Names of event files start with their creation time in seconds.
    paths.sort_unstable();
    Ok(paths)
}

/// The event files in a folder itself, in the order of their creation. Files of the HParams page contain no steps, so
/// they are not among them.
///
/// # Errors
/// If the folder cannot be read.
pub fn event_files(folder: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    Ok(entries(folder)?.into_iter().filter(|path| is_event_file(path)).collect())
}

/// Validation folder next to `train`, if both contain event files.
fn validation_part(folder: &Path) -> Option<&'static str> {
    let has_events = |part: &str| event_files(&folder.join(part)).is_ok_and(|paths| !paths.is_empty());
    VALIDATION.into_iter().find(|part| has_events(part)).filter(|_| has_events(TRAIN))
}

/// Finds the run folders in `path` and its subfolders, or returns `path` itself if it is a file.
///
/// # Errors
/// If a folder cannot be read, or if there are no event files in any of them.
pub fn runs(path: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    find_runs(path, DEPTH, &mut found)?;
    if found.is_empty() { Err(ReplayError::NoEvents { path: path.to_owned() }) } else { Ok(found) }
}

fn find_runs(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), ReplayError> {
    let paths = entries(folder)?;
    if validation_part(folder).is_some() || paths.iter().any(|path| is_event_file(path)) {
        found.push(folder.to_owned());
        return Ok(());
    }
    for inner in paths.iter().filter(|path| depth > 0 && path.is_dir() && !path.is_symlink()) {
        find_runs(inner, depth - 1, found)?;
    }
    Ok(())
}

/// The event files of the run in a folder, in the order of their creation, or the single file at `path`.
///
/// `SummaryWriter.add_scalars` writes each curve to a subfolder, next to an event file of the run itself. Keras writes
/// `train` and `validation`, and nothing next to them.
pub(super) fn sources(path: &Path) -> Result<Vec<Source>, ReplayError> {
    let of_run = |path: PathBuf| Source { path, part: String::new(), is_of_run: true };
    if path.is_file() {
        return Ok(vec![of_run(path.to_owned())]);
    }
    let paths = entries(path)?;
    let mut sources: Vec<Source> = paths.iter().filter(|path| is_event_file(path)).cloned().map(of_run).collect();
    let mut parts: Vec<String> =
        validation_part(path).map(|part| vec![TRAIN.to_owned(), part.to_owned()]).unwrap_or_default();
    if !sources.is_empty() {
        let folders = paths.iter().filter(|path| path.is_dir() && !path.is_symlink());
        let names = folders.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        parts.extend(names.filter(|name| !parts.contains(name)).collect::<Vec<_>>());
    }
    for part in parts {
        let files = event_files(&path.join(&part))?;
        sources.extend(files.into_iter().map(|path| Source { path, part: part.clone(), is_of_run: part == TRAIN }));
    }
    Ok(sources)
}

/// Bytes of the event files of the run at `path`, and the time of the last write to one of them; `None` without files.
pub(crate) fn extent(path: &Path) -> Option<(u64, SystemTime)> {
    let files = sources(path).ok()?.into_iter().filter_map(|source| fs::metadata(source.path).ok());
    let extents = files.filter_map(|metadata| Some((metadata.len(), metadata.modified().ok()?)));
    extents.reduce(|(bytes, last), (more, other)| (bytes + more, last.max(other)))
}

/// Removes symbolic links from the files of a gradwatch run, and returns a note for each.
pub(super) fn remove_links(sources: &mut Vec<Source>) -> Vec<String> {
    let links = sources.extract_if(.., |source| source.path.is_symlink());
    links
        .map(|source| format!("{} is skipped: it is a symbolic link, and a run folder has none", source.name()))
        .collect()
}

/// Folder of a run. `path` may also be one of its files.
pub(super) fn folder(path: &Path) -> &Path {
    if path.is_file() { path.parent().unwrap_or(path) } else { path }
}

/// Config of the run, if gradwatch trained it.
pub(super) fn config(folder: &Path, notes: &mut Vec<String>) -> Option<Config> {
    let path = folder.join("config.toml");
    let text = match Folder::open(folder).and_then(|folder| folder.read_text("config.toml", MOST_CONFIG_BYTES)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            notes.push(format!("config.toml is skipped: {error}"));
            return None;
        }
    };
    match Config::parse_saved(&text, &path.display().to_string(), &[], folder) {
        Ok(config) => Some(config),
        Err(error) => {
            notes.push(format!("config.toml is skipped, not written by gradwatch: {error}").replace('\n', " "));
            None
        }
    }
}
