//! Errors between ranks.

use std::time::Duration;

use crate::libtorch::LibtorchError;

/// Errors between ranks. The run cannot continue: a rank that is gone leaves the others without its part.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// A variable of the launcher is missing or invalid.
    #[error("environment variable {name}: got {got}, want {want}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// The value.
        got: String,
        /// The valid values.
        want: String,
    },
    /// Rank 0 cannot serve the store, or the store does not answer.
    #[error("the store of the ranks at {address} {problem}: {remedy}")]
    Store {
        /// Host and port.
        address: String,
        /// What happened.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Not all ranks have joined.
    #[error(
        "after {} s, {ranks} of {world} had not joined; check that they were started, or raise \
         distributed.start_timeout_seconds",
        waited.as_secs()
    )]
    Missing {
        /// The missing ranks, in words.
        ranks: String,
        /// Number of ranks.
        world: usize,
        /// Time since the start.
        waited: Duration,
    },
    /// Two ranks do not belong to the same run.
    #[error("{rank} has another {what} than rank 0: {difference}")]
    Differs {
        /// The rank, in words.
        rank: String,
        /// The part that differs.
        what: &'static str,
        /// How it differs.
        difference: String,
    },
    /// Another rank has ended or does not answer.
    #[error("{0}")]
    Lost(String),
    /// libtorch reported an error.
    #[error(transparent)]
    Libtorch(#[from] LibtorchError),
}

impl From<tch::TchError> for DistributedError {
    fn from(error: tch::TchError) -> Self {
        Self::Libtorch(error.into())
    }
}
