//! Crash-safe files: complete or absent, even if a write is interrupted.

mod fault;
mod folder;
mod output;
mod regular_file;

use std::{
    fs::File,
    io::{self, Write},
    thread,
};

#[doc(hidden)]
pub use fault::{kills_at, point};
pub use folder::Folder;
pub use output::{Output, OutputError, replace};
pub use regular_file::{open_regular, read_line, read_regular, read_regular_text};

/// Number of bytes per write.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes all bytes. `name` identifies this point for fault injection, which can interrupt the write halfway.
pub fn write_all(file: &mut File, bytes: &[u8], name: &'static str) -> io::Result<()> {
    match fault::before_write(name, bytes.len())? {
        None => file.write_all(bytes),
        Some(torn) => {
            file.write_all(&bytes[..torn])?;
            fault::strike()
        }
    }
}

/// Writes a newly created file, syncs it, and returns the BLAKE3 hash of its bytes, which is computed in parallel.
pub fn write_hashed(mut file: File, bytes: &[u8], name: &'static str) -> io::Result<blake3::Hash> {
    let mut write = || -> io::Result<()> {
        bytes.chunks(CHUNK_BYTES).try_for_each(|chunk| write_all(&mut file, chunk, name))?;
        file.sync_all()
    };
    thread::scope(|scope| {
        let hash = thread::Builder::new().spawn_scoped(scope, || blake3::hash(bytes))?;
        write()?;
        hash.join().map_err(|_| io::Error::other("its hash could not be computed"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert_eq!(write_hashed(File::create_new(&path).unwrap(), &bytes, "test").unwrap(), blake3::hash(&bytes));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}
