//! Files that are whole or not there at all, whatever happens while they are written.

mod fault;
mod json;
mod regular_file;
mod tensor_file;

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
};

pub(crate) use fault::point;
pub(crate) use json::{exact_rows, nan_from_null};
pub use regular_file::{open_regular, read_regular, read_regular_text};
pub(crate) use tensor_file::list;
pub use tensor_file::{NamedTensors, TensorFile, TensorFileError, copy_named, read_tensors, write_into};

/// Bytes of one write.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes all bytes. `name` is what a test calls this place to break it, in the middle of the bytes.
pub(crate) fn write_all(file: &mut File, bytes: &[u8], name: &'static str) -> io::Result<()> {
    match fault::before_write(name, bytes.len())? {
        None => file.write_all(bytes),
        Some(torn) => {
            file.write_all(&bytes[..torn])?;
            fault::strike()
        }
    }
}

/// Writes a file that takes the place of the one at `path` once it is whole and on the disk: a crash leaves the old one or the
/// new one.
///
/// # Errors
/// Where the system refuses. The old file is as it was, unless only the sync of its folder failed.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let written = File::create(&beside)
        .and_then(|mut file| write_all(&mut file, bytes, "replace").and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Its own failure says nothing that the first one does not.
        let _ = fs::remove_file(&beside);
    }
    written.and_then(|()| sync_folder(path.parent().unwrap_or(Path::new(""))))
}

/// Writes a new file, syncs it, and returns the BLAKE3 hash of its bytes, which is taken meanwhile.
pub(crate) fn write_hashed(path: &Path, bytes: &[u8], name: &'static str) -> io::Result<blake3::Hash> {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        bytes.chunks(CHUNK_BYTES).try_for_each(|chunk| write_all(&mut file, chunk, name))?;
        file.sync_all()
    };
    thread::scope(|scope| {
        let hash = thread::Builder::new().spawn_scoped(scope, || blake3::hash(bytes))?;
        write()?;
        hash.join().map_err(|_| io::Error::other("its hash could not be taken"))
    })
}

/// Waits until what was made, renamed or removed in a folder is on the disk.
///
/// # Errors
/// Where the system refuses.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".partial");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_take_the_place_leaves_it_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new").is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_hash_is_that_of_all_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..CHUNK_BYTES + 7).map(|index| index as u8).collect();
        assert_eq!(write_hashed(&path, &bytes, "test").unwrap(), blake3::hash(&bytes));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}
