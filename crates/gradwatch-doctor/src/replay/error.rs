//! Errors while reading the files of a run.

use std::{io, path::PathBuf};

use gradwatch_events::EventsError;

use crate::{config::Named, number::count};

use super::Role;

/// An error while reading the files of a run. Reading does not change them.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The folder cannot be read.
    #[error("{}: {cause}; want a run folder, such as logs/NAME, or an event file", path.display())]
    Folder {
        /// Requested path.
        path: PathBuf,
        /// Error from the operating system.
        cause: io::Error,
    },
    /// There are no event files.
    #[error(
        "{} and its subfolders contain no event files (events.out.tfevents.*); want a run folder, such as logs/NAME",
        path.display()
    )]
    NoEvents {
        /// Requested path.
        path: PathBuf,
    },
    /// The folder contains no run itself, but its subfolders do.
    #[error(
        "{} contains no run itself, but {} in its subfolders; want one of them, such as {}",
        path.display(), count(runs.len(), "run"), runs.first().unwrap_or(path).display()
    )]
    SeveralRuns {
        /// Requested path.
        path: PathBuf,
        /// Folders of the runs.
        runs: Vec<PathBuf>,
    },
    /// A file cannot be opened.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The event files contain no values.
    #[error(
        "{}: no value could be read from its {}{}; want files written by a SummaryWriter or a \
         TensorBoard callback",
        path.display(), count(*files, "event file"), reasons(notes)
    )]
    NoValues {
        /// Requested path.
        path: PathBuf,
        /// Number of event files.
        files: usize,
        /// Problems noted while reading them.
        notes: Vec<String>,
    },
    /// None of the tags is known.
    #[error(
        "{}: {} ({}); map them with --tag, such as --tag loss=my_loss --tag \
         grad_norm=my_norms/*",
        path.display(), unknown(*tags), examples.join(", ")
    )]
    NothingKnown {
        /// Requested path.
        path: PathBuf,
        /// Number of tags.
        tags: usize,
        /// Some of the tags.
        examples: Vec<String>,
    },
    /// A tag pattern has no `*` for the name of the parameter or layer.
    #[error("tag pattern {got}: want a * for the name of the parameter or layer, such as grad_norm=my_norms/*")]
    NoName {
        /// The pattern.
        got: String,
    },
    /// A tag pattern is not valid.
    #[error("tag pattern {got}: want ROLE=PATTERN; the roles are {}", roles())]
    Pattern {
        /// The pattern.
        got: String,
    },
}

fn roles() -> String {
    Role::MEMBERS.iter().map(|role| role.label()).collect::<Vec<_>>().join(", ")
}

fn unknown(tags: usize) -> String {
    if tags == 1 { "its only tag is not known".into() } else { format!("none of its {tags} tags is known") }
}

fn reasons(notes: &[String]) -> String {
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) }
}
