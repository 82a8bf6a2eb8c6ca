//! What can keep the files of a run from being read.

use std::{io, path::PathBuf};

use crate::{config::Named, events::EventsError};

use super::Role;

/// Nothing of it touches the run.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such folder.
    #[error("{}: {cause}; want a run's folder, such as logs/NAME, or an event file", path.display())]
    Folder {
        /// What was asked for.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It holds nothing to read.
    #[error("{} holds no event files (events.out.tfevents.*), and no folder in it does; want a run's folder, such as logs/NAME", path.display())]
    NoEvents {
        /// What was asked for.
        path: PathBuf,
    },
    /// A file cannot be opened.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// Its event files hold no values.
    #[error(
        "{}: no value could be read from its {files} event file(s){}; want files that a SummaryWriter or a TensorBoard callback wrote", path.display(), reasons(notes)
    )]
    NoValues {
        /// What was asked for.
        path: PathBuf,
        /// How many event files there are.
        files: usize,
        /// What was noticed while reading them.
        notes: Vec<String>,
    },
    /// The values of no tag are of a known kind.
    #[error(
        "{}: none of its {tags} tags is known ({}); say which is what, such as --tag loss=my_loss --tag grad_norm=my_norms/*", path.display(), examples.join(", ")
    )]
    NothingKnown {
        /// The folder.
        path: PathBuf,
        /// How many tags were seen.
        tags: usize,
        /// Some of them.
        examples: Vec<String>,
    },
    /// A pattern does not say where in the tag the name stands.
    #[error("tag pattern {got}: want a * for the name of the parameter or layer, such as grad_norm=my_norms/*")]
    NoName {
        /// What was given.
        got: String,
    },
    /// A pattern of tags says nothing.
    #[error("tag pattern {got}: want ROLE=PATTERN, the role one of {}", roles())]
    Pattern {
        /// What was given.
        got: String,
    },
}

fn roles() -> String {
    Role::MEMBERS.iter().map(|role| role.label()).collect::<Vec<_>>().join(", ")
}

fn reasons(notes: &[String]) -> String {
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) }
}
