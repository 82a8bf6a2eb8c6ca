//! The manifest of a checkpoint: its files with their sizes and hashes, used to detect incomplete or damaged
//! checkpoints.

use std::{collections::BTreeMap, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::CheckpointError;
use crate::{disk::Folder, events::LogPosition};

/// The format written by this version, which also reads all earlier formats.
pub(super) const FORMAT: u32 = 1;
pub(super) const MANIFEST_FILE: &str = "manifest.json";
/// Upper limit for the size of a manifest.
const MOST_BYTES: u64 = 1 << 20;

/// Describes a checkpoint and lists its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the manifest and of the listed files.
    pub format: u32,
    /// Version of gradwatch that wrote the checkpoint.
    pub gradwatch: String,
    /// Version of libtorch used.
    pub libtorch: String,
    /// Number of checkpoints that the run has taken, including this one.
    pub number: u64,
    /// Number of optimizer steps taken or skipped.
    pub step: u64,
    /// Number of completed epochs.
    pub epoch: u64,
    /// Wall time used by the run.
    pub elapsed_secs: f64,
    /// Time of writing by the machine's clock, for information only.
    pub saved_at: String,
    /// Validation metrics at this step, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Positions in the run's logs.
    pub logs: Vec<LogPosition>,
    /// All files except the manifest.
    pub files: Vec<FileEntry>,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// File name in the checkpoint's folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 hash of the file, in hexadecimal digits.
    pub blake3: String,
}

/// The format of the file. The hash covers the manifest's text.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    blake3: String,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

/// The fields that every format has.
#[derive(Deserialize)]
struct Version {
    format: u32,
    #[serde(default)]
    gradwatch: String,
}

impl Manifest {
    /// Serializes the file.
    pub(super) fn to_json(&self) -> io::Result<Vec<u8>> {
        let manifest = to_raw_value(self)?;
        let blake3 = blake3::hash(manifest.get().as_bytes()).to_hex().to_string();
        Ok(serde_json::to_vec(&Sealed { blake3, manifest: &manifest })?)
    }

    /// Parses the text of a file. Reads the format number first, because later formats may have other fields.
    fn parse(path: &Path, text: &[u8]) -> Result<Self, CheckpointError> {
        let refuse = |what: String| CheckpointError::damaged(path, format!("{MANIFEST_FILE}: {what}"));
        let unreadable = |error: serde_json::Error| refuse(error.to_string());
        let Sealed { blake3, manifest }: Sealed<'_> = serde_json::from_slice(text).map_err(unreadable)?;
        let hash = blake3::hash(manifest.get().as_bytes()).to_hex();
        if *hash != *blake3 {
            return Err(refuse(format!("got BLAKE3 {hash}, want {blake3}")));
        }
        let Version { format, gradwatch } = serde_json::from_str(manifest.get()).map_err(unreadable)?;
        if format > FORMAT {
            return Err(CheckpointError::Newer { path: path.to_owned(), got: format, by: gradwatch });
        }
        let manifest: Self = serde_json::from_str(manifest.get()).map_err(unreadable)?;
        let is_plain = |name: &str| {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
            name.chars().all(is_word) && name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        };
        match manifest.files.iter().find(|file| !is_plain(&file.name)) {
            Some(file) => Err(refuse(format!("{:?} is not a valid file name", file.name))),
            None => Ok(manifest),
        }
    }

    /// Reads the manifest of the checkpoint at `path`, without checking its files.
    ///
    /// # Errors
    /// If the manifest is damaged, has a later format, or cannot be read. Symbolic links are not followed.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        Self::read_in(&open(path)?)
    }

    /// Reads the manifest of the checkpoint in an open folder.
    pub(super) fn read_in(folder: &Folder) -> Result<Self, CheckpointError> {
        let path = folder.path();
        match folder.read(MANIFEST_FILE, MOST_BYTES) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if is_damage(&error) || error.kind() == io::ErrorKind::FileTooLarge => {
                Err(CheckpointError::damaged(path, format!("{MANIFEST_FILE}: {error}")))
            }
            Err(cause) => Err(CheckpointError::Read { path: path.join(MANIFEST_FILE), cause }),
        }
    }

    /// Total size of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// Opens the folder of a checkpoint.
pub(super) fn open(path: &Path) -> Result<Folder, CheckpointError> {
    Folder::open_unlinked(path).map_err(|cause| match is_damage(&cause) {
        true => CheckpointError::damaged(path, format!("{MANIFEST_FILE}: {cause}")),
        false => CheckpointError::Read { path: path.to_owned(), cause },
    })
}

/// The system's error number for an unreadable disk block.
const EIO: i32 = 5;

/// Whether an error means that a file is damaged, rather than temporarily inaccessible.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | UnexpectedEof) || error.raw_os_error() == Some(EIO)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    pub(crate) fn manifest(number: u64, step: u64, accuracy: Option<f64>) -> Manifest {
        Manifest {
            format: FORMAT,
            gradwatch: "0.1.0".into(),
            libtorch: "2.13.0".into(),
            number,
            step,
            epoch: 0,
            elapsed_secs: 0.1,
            saved_at: "2026-01-02T03:04:05Z".into(),
            metrics: accuracy.map(|accuracy| ("accuracy".to_owned(), accuracy)).into_iter().collect(),
            logs: vec![LogPosition { file: "metrics.jsonl".into(), bytes: 7, is_incomplete: false }],
            files: vec![FileEntry { name: "model.safetensors".into(), bytes: 8, blake3: "00".into() }],
        }
    }

    fn parse(text: &[u8]) -> Result<Manifest, CheckpointError> {
        Manifest::parse(Path::new("here"), text)
    }

    #[test]
    fn a_manifest_reads_back_and_any_flipped_bit_shows() {
        let before = manifest(1, 2, Some(0.1 + 0.2));
        let text = before.to_json().unwrap();
        assert_eq!(parse(&text).unwrap(), before);
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&damaged).is_err(), "bit {bit}");
        }
        for end in 0..text.len() {
            assert!(parse(&text[..end]).is_err());
        }
    }

    #[test]
    fn names_that_lead_out_of_the_folder_are_refused() {
        for name in ["../run.lock", "/etc/passwd", "a/b", "", ".hidden"] {
            let mut bad = manifest(1, 2, None);
            bad.files[0].name = name.into();
            let error = parse(&bad.to_json().unwrap()).unwrap_err().to_string();
            assert!(error.contains("is not a valid file name"), "{error}");
        }
    }

    #[test]
    fn a_later_format_is_said_and_a_huge_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let later = Manifest { format: 9, gradwatch: "7.0.0".into(), ..manifest(1, 2, None) };
        fs::write(path.join(MANIFEST_FILE), later.to_json().unwrap()).unwrap();
        let error = Manifest::read(path).unwrap_err().to_string();
        assert!(error.contains("has format 9, want at most 1; use gradwatch 7.0.0 or later"), "{error}");
        fs::File::create(path.join(MANIFEST_FILE)).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(Manifest::read(path), Err(CheckpointError::Damaged { .. })));
    }
}
