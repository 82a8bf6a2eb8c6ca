//! The names of checkpoints, and which there are.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::CheckpointError;

/// Where in a run a checkpoint was taken. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CheckpointName {
    /// Optimizer steps that were taken or skipped.
    pub step: u64,
    /// Epochs that were finished; at the end of one, it tells before from after.
    pub epoch: u64,
    /// Whether all that is due there was done; a signal may come before an evaluation.
    pub is_settled: bool,
}

const UNSETTLED: &str = "-interrupted";

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch-{:04}-step-{:08}", self.epoch, self.step)?;
        f.write_str(if self.is_settled { "" } else { UNSETTLED })
    }
}

impl FromStr for CheckpointName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (place, is_settled) = text.strip_suffix(UNSETTLED).map_or((text, true), |place| (place, false));
        let (epoch, step) = place.strip_prefix("epoch-").and_then(|rest| rest.split_once("-step-")).ok_or(())?;
        let name = Self { step: step.parse().map_err(|_| ())?, epoch: epoch.parse().map_err(|_| ())?, is_settled };
        // One spelling alone, so that two folders are never one checkpoint.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// The checkpoints of a folder, the oldest first; none where the folder is missing. Whether they are whole is not looked at.
///
/// # Errors
/// Where the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<(CheckpointName, PathBuf)>, CheckpointError> {
    let read = |cause| CheckpointError::Read { path: folder.to_owned(), cause };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(read)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(read(error)),
    };
    let named = |entry: fs::DirEntry| Some((entry.file_name().to_string_lossy().parse().ok()?, entry.path()));
    let mut found: Vec<(CheckpointName, PathBuf)> = entries.into_iter().filter_map(named).collect();
    found.sort_unstable();
    Ok(found)
}

/// A name for a damaged checkpoint, out of the way of whole ones: `damaged-<name>`, numbered where that is taken.
pub(super) fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let first = path.with_file_name(format!("damaged-{name}"));
    let mut numbered = (1..u32::MAX).map(|number| path.with_file_name(format!("damaged-{name}-{number}")));
    if first.exists() { numbered.find(|path| !path.exists()).unwrap_or(first) } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_sort_by_step_and_have_one_spelling() {
        let name = |step, epoch| CheckpointName { step, epoch, is_settled: true };
        let interrupted = CheckpointName { is_settled: false, ..name(9, 1) };
        assert_eq!(interrupted.to_string(), "epoch-0001-step-00000009-interrupted");
        assert!(name(9, 0) < interrupted && interrupted < name(9, 1));
        assert_eq!(name(120, 2).to_string(), "epoch-0002-step-00000120");
        for name in [name(0, 0), name(9, 1), name(u64::MAX, 99_999), interrupted] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for other in ["epoch-2-step-120", "epoch-0002-step-00000120.partial", "damaged-epoch-0000-step-00000000", ""] {
            assert!(other.parse::<CheckpointName>().is_err(), "{other}");
        }
        assert!(name(9, 0) < name(9, 1) && name(9, 1) < name(10, 1));
    }

    #[test]
    fn what_is_put_aside_has_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(aside(&path), folder.path().join("damaged-a"));
        fs::create_dir(folder.path().join("damaged-a")).unwrap();
        assert_eq!(aside(&path), folder.path().join("damaged-a-1"));
    }
}
