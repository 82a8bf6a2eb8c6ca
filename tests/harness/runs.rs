//! Files of a finished run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::recorded::{event_files, scalars};

/// The event file of an uninterrupted run.
pub(crate) fn event_file(run: &Path) -> PathBuf {
    let mut found = event_files(run);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// [`scalars`] without time measurements, which differ between runs.
pub(crate) fn scalars_without_times(run: &Path) -> BTreeMap<(String, i64), u32> {
    scalars(run).into_iter().filter(|((tag, _), _)| !tag.starts_with("backward_ms/")).collect()
}

/// The bytes of the last weights.
pub(crate) fn last_weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("weights/last.safetensors")).unwrap()
}
