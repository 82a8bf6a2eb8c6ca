//! Whether a run was healthy when it saved a checkpoint.

use std::path::Path;

use serde::Deserialize;

use crate::{
    checkpoint::{CheckpointError, read_host},
    config::Severity,
    diagnosis::Diagnosis,
};

/// The part of the host state that counts.
#[derive(Deserialize)]
struct Findings {
    #[serde(default)]
    diagnosis: Option<Diagnosis>,
}

/// Whether no finding of this severity or worse was open when the run saved the checkpoint at `path`.
///
/// # Errors
/// If the checkpoint is damaged or cannot be read.
pub fn is_healthy(path: &Path, severity: Severity) -> Result<bool, CheckpointError> {
    let Findings { diagnosis } = read_host(path)?;
    Ok(!diagnosis.iter().flat_map(Diagnosis::open_findings).any(|finding| finding.severity >= severity))
}
