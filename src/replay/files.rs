//! Which files of a folder are a run's, and what stands beside its event files.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::ReplayError;
use crate::{
    config::Config,
    diagnosis::{Facts, LostImages},
    disk::{Folder, read_line},
};

/// No config comes near this.
const MOST_CONFIG_BYTES: u64 = 1 << 26;
/// Nor does a line about what is known before the first step.
const MOST_LINE_BYTES: u64 = 1 << 28;

/// An event file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub path: PathBuf,
    /// The folder of its part, `train` or that of validation, where each has one; empty where all is in one folder.
    pub part: &'static str,
    /// Whether it carries the run's steps.
    pub is_of_run: bool,
}

impl Source {
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Folders below one that are looked into.
const DEPTH: usize = 4;

/// Keras's callback writes training and validation into folders of their own, side by side; so do many loops.
const TRAIN: &str = "train";
const VALIDATION: [&str; 5] = ["validation", "val", "valid", "eval", "test"];

fn is_event_file(path: &Path) -> bool {
    path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().contains("tfevents"))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    let refuse = |cause| ReplayError::Folder { path: folder.to_owned(), cause };
    let entries = fs::read_dir(folder).map_err(refuse)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
    // The names of event files begin with the second in which they were made.
    paths.sort_unstable();
    Ok(paths)
}

/// The folder beside `train` that validation is in, where there are both.
fn validation_part(folder: &Path) -> Option<&'static str> {
    let has_events =
        |part: &str| entries(&folder.join(part)).is_ok_and(|paths| paths.iter().any(|path| is_event_file(path)));
    VALIDATION.into_iter().find(|part| has_events(part)).filter(|_| has_events(TRAIN))
}

/// The folders of runs in `path` and below it; `path` itself where it is a file.
///
/// # Errors
/// Where there is no such folder, or no event file anywhere in it.
pub fn runs(path: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    look_into(path, DEPTH, &mut found)?;
    if found.is_empty() { Err(ReplayError::NoEvents { path: path.to_owned() }) } else { Ok(found) }
}

fn look_into(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), ReplayError> {
    let paths = entries(folder)?;
    if validation_part(folder).is_some() || paths.iter().any(|path| is_event_file(path)) {
        found.push(folder.to_owned());
        return Ok(());
    }
    for inner in paths.iter().filter(|path| depth > 0 && path.is_dir() && !path.is_symlink()) {
        look_into(inner, depth - 1, found)?;
    }
    Ok(())
}

/// The event files of the run in a folder, in the order in which they were begun; or the one file that `path` is.
pub(super) fn sources(path: &Path) -> Result<Vec<Source>, ReplayError> {
    let of_run = |path: PathBuf| Source { path, part: "", is_of_run: true };
    if path.is_file() {
        return Ok(vec![of_run(path.to_owned())]);
    }
    let Some(validation) = validation_part(path) else {
        let files = entries(path)?.into_iter().filter(|path| is_event_file(path));
        return Ok(files.map(of_run).collect());
    };
    let mut sources = Vec::new();
    for part in [TRAIN, validation] {
        let files = entries(&path.join(part))?.into_iter().filter(|path| is_event_file(path));
        sources.extend(files.map(|path| Source { path, part, is_of_run: part == TRAIN }));
    }
    Ok(sources)
}

/// Takes out what is a symbolic link in the folder of a run of this program, and returns what there is to say of it.
pub(super) fn leave_links(sources: &mut Vec<Source>) -> Vec<String> {
    let links = sources.extract_if(.., |source| source.path.is_symlink());
    links
        .map(|source| format!("{} is a symbolic link, which a run folder has none of: left out", source.name()))
        .collect()
}

/// The folder of a run, which may have been given by one of its files.
pub(super) fn folder(path: &Path) -> &Path {
    if path.is_file() { path.parent().unwrap_or(path) } else { path }
}

/// The run's config, where this program trained it.
pub(super) fn config(folder: &Path, notes: &mut Vec<String>) -> Option<Config> {
    let path = folder.join("config.toml");
    let text = match Folder::open(folder).and_then(|folder| folder.read_text("config.toml", MOST_CONFIG_BYTES)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            notes.push(format!("config.toml is left out: {error}"));
            return None;
        }
    };
    match Config::parse_saved(&text, &path.display().to_string(), &[], folder) {
        Ok(config) => Some(config),
        Err(error) => {
            notes.push(format!("config.toml is not this program's, and is left out: {error}").replace('\n', " "));
            None
        }
    }
}

/// The first line of metrics.jsonl, and the last that says which images are lost.
pub(super) fn facts(folder: &Path, notes: &mut Vec<String>) -> Facts {
    let mut line = Vec::new();
    let opened = Folder::open(folder).and_then(|folder| folder.open_file("metrics.jsonl")).map(BufReader::new);
    let mut reader = match opened.and_then(|mut file| read_line(&mut file, &mut line, MOST_LINE_BYTES).map(|_| file)) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Facts::default(),
        Err(error) => {
            notes.push(format!("metrics.jsonl is left out, with what was known before the first step: {error}"));
            return Facts::default();
        }
    };
    let value: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
    if value["kind"] != "start" {
        return Facts::default();
    }
    let facts: Facts = serde_json::from_value(value).unwrap_or_default();
    Facts { lost_images: lost_images(&mut reader), ..facts }
}

/// What the last line about images that do not decode says; lines that are too long or torn say nothing.
fn lost_images(metrics: &mut impl BufRead) -> Vec<LostImages> {
    #[derive(Deserialize)]
    struct Line {
        classes: Vec<LostImages>,
    }
    let (mut line, mut last) = (Vec::new(), Vec::new());
    while matches!(read_line(metrics, &mut line, MOST_LINE_BYTES), Ok(true)) {
        if line.starts_with(b"{\"kind\":\"lost_images\"") {
            last.clone_from(&line);
        }
    }
    serde_json::from_slice::<Line>(&last).map(|line| line.classes).unwrap_or_default()
}
