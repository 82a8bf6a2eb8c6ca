//! Names of checkpoints, and listing them.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::CheckpointError;
use crate::disk::Folder;

/// Position in a run at which a checkpoint was taken. Later positions compare as greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CheckpointName {
    /// Number of optimizer steps taken or skipped.
    pub step: u64,
    /// Number of completed epochs. At the last step of an epoch, it distinguishes before and after its end.
    pub epoch: u64,
    /// Whether all work due at this position is done. A signal can interrupt a run before an evaluation.
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
        // Only the canonical spelling is valid, so that two folders never have the same name.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// Lists the checkpoints in a folder, oldest first, without validating them. Empty if the folder is missing.
///
/// # Errors
/// If the folder cannot be read or is a symbolic link.
pub fn list(folder: &Path) -> Result<Vec<(CheckpointName, PathBuf)>, CheckpointError> {
    let read = |cause| CheckpointError::Read { path: folder.to_owned(), cause };
    let names = match Folder::open_unlinked(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.and_then(|folder| folder.names()).map_err(read)?,
    };
    let named = |name: &std::ffi::OsString| Some((name.to_str()?.parse().ok()?, folder.join(name)));
    let mut found: Vec<(CheckpointName, PathBuf)> = names.iter().filter_map(named).collect();
    found.sort_unstable();
    Ok(found)
}

/// Returns a name that moves a damaged checkpoint out of the way: `damaged-<name>`, with a number if that is taken.
pub(super) fn aside(folder: &Folder, name: &str) -> String {
    let first = format!("damaged-{name}");
    let mut numbered = (1..u32::MAX).map(|number| format!("damaged-{name}-{number}"));
    if folder.contains(&first) { numbered.find(|name| !folder.contains(name)).unwrap_or(first) } else { first }
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
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        assert_eq!(aside(&folder, "a"), "damaged-a");
        folder.new_folder("damaged-a").unwrap();
        assert_eq!(aside(&folder, "a"), "damaged-a-1");
    }
}
