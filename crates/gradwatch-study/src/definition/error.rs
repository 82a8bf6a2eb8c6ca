//! Errors of study files.

use std::{io, path::PathBuf};

use gradwatch_doctor::{
    config::{ConfigError, Problem, listed},
    printable,
};

/// Error of a study file. None of these changes anything on disk.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The file could not be opened.
    #[error("study {}: {cause}; want the path of a TOML file", printable::path(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Reason from the operating system, or the actual kind of file.
        cause: io::Error,
    },
    /// The file is not valid TOML.
    #[error("study {} is not valid TOML: {message}", printable::line(name))]
    Syntax {
        /// Name of the file.
        name: String,
        /// Location and reason, on one line.
        message: String,
    },
    /// Keys or values are invalid; lists all of them, as [`ConfigError::Invalid`] does.
    #[error("study {}{}", printable::line(name), listed(problems))]
    Invalid {
        /// Name of the file.
        name: String,
        /// All problems, in the order of their keys.
        problems: Vec<Problem>,
    },
    /// The config of every run is invalid.
    #[error("study {}: the configs of all {runs} runs are invalid; that of {run}: {cause}", printable::line(name))]
    NoValidRun {
        /// Name of the file.
        name: String,
        /// Number of runs.
        runs: usize,
        /// The first run.
        run: String,
        /// Problem of its config.
        cause: Box<ConfigError>,
    },
}
