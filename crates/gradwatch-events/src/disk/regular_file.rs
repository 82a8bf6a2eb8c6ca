//! Reads files named by the user. Anything but a regular file is an error, and opening a pipe or a device never blocks.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Opens a regular file for reading. Symbolic links are followed.
///
/// # Errors
/// If the system reports an error, or with [`io::ErrorKind::InvalidInput`] if the path is a pipe, a device, a socket,
/// or a folder. The file type is checked after opening, so a file that is replaced in between cannot pass.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Without this flag, opening a pipe would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let got = match kind {
        kind if kind.is_dir() => "folder",
        kind if kind.is_fifo() => "pipe",
        kind if kind.is_char_device() || kind.is_block_device() => "device",
        kind if kind.is_socket() => "socket",
        _ => "special file",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is a {got}, not a regular file")))
}

/// Reads a regular file.
///
/// # Errors
/// As for [`open_regular`]; [`io::ErrorKind::FileTooLarge`] if the file has more than `most_bytes`.
pub fn read_regular(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    read_all(open_regular(path)?, most_bytes)
}

/// Reads an open file of at most `most_bytes` bytes. Fails with [`io::ErrorKind::OutOfMemory`] if it does not fit into
/// memory.
pub(super) fn read_all(file: File, most_bytes: u64) -> io::Result<Vec<u8>> {
    let too_large = |bytes: u64| {
        io::Error::new(io::ErrorKind::FileTooLarge, format!("it has {bytes} bytes, and the limit is {most_bytes}"))
    };
    let length = file.metadata()?.len();
    if length > most_bytes {
        return Err(too_large(length));
    }
    let mut bytes = Vec::new();
    let room = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
    // A growing file, or a file in /proc, can be longer than its metadata says.
    file.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// Reads a regular text file.
///
/// # Errors
/// As for [`read_regular`]; [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_regular_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    String::from_utf8(read_regular(path, most_bytes)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Reads the next line of a file, including its line break, into `line`. Returns whether the line is complete within
/// `most_bytes`. At most `most_bytes` are read, even if the file has no line break.
///
/// # Errors
/// If the system reports an error.
pub fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>, most_bytes: u64) -> io::Result<bool> {
    line.clear();
    file.take(most_bytes).read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n"))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, process::Command};

    use super::*;

    fn message(path: &Path) -> String {
        open_regular(path).unwrap_err().to_string()
    }

    #[test]
    fn only_a_regular_file_opens_and_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let _listener = UnixListener::bind(path("socket")).unwrap();
        std::fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("endless")).unwrap();
        assert_eq!(message(&path("pipe")), "it is a pipe, not a regular file");
        assert_eq!(message(&path("endless")), "it is a device, not a regular file");
        assert_eq!(message(folder.path()), "it is a folder, not a regular file");
        // The system itself refuses to open a socket.
        assert!(open_regular(&path("socket")).is_err());
        assert_eq!(open_regular(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read_regular(&path("link"), 4).unwrap(), b"text");
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused_with_both_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_regular_text(&path, 5).unwrap(), "12345");
        assert_eq!(read_regular(&path, 4).unwrap_err().to_string(), "it has 5 bytes, and the limit is 4");
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_regular_text(&path, 5).unwrap_err().to_string(), "it is not UTF-8 text");
    }

    #[test]
    fn a_line_without_an_end_is_read_up_to_the_limit() {
        let (mut file, mut line) = (&b"one\n12345678\nend"[..], Vec::new());
        assert!(read_line(&mut file, &mut line, 4).unwrap() && line == b"one\n");
        assert!(!read_line(&mut file, &mut line, 4).unwrap() && line == b"1234");
        assert!(read_line(&mut file, &mut line, 9).unwrap() && line == b"5678\n");
        assert!(!read_line(&mut file, &mut line, 9).unwrap() && line == b"end");
    }
}
