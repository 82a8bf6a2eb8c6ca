//! Output files named by the user: checked before any work starts, written after it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown};

use super::Folder;

/// Maximum number of consecutive links to follow, as on Linux.
const MOST_LINKS: usize = 40;

/// Reason why a file was not written. An existing file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file already exists.
    #[error("{} already exists; choose another name, or replace it with --force", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system reported an error, or the path cannot be written to.
    #[error("{} cannot be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

impl OutputError {
    /// Creates the error for `path`: already exists, or cannot be written.
    pub fn of(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        if cause.kind() == io::ErrorKind::AlreadyExists { Self::Exists { path } } else { Self::Write { path, cause } }
    }
}

/// A file to be written, or a stream that receives the bytes instead.
///
/// Symbolic links are followed. A regular file is replaced once the new file is complete, and keeps its mode and owner.
/// Pipes and character devices are written to and never replaced. If a pipe has no reader, writing waits for one.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    to: To,
}

#[derive(Debug)]
enum To {
    Stdout,
    /// A pipe or a device; `None` until it is opened.
    Stream(Option<File>),
    File {
        /// Target of the links.
        target: PathBuf,
        may_replace: bool,
    },
}

impl Output {
    /// Checks the path and whether it can be written to, without opening it. `-` is stdout. An existing regular file is
    /// replaced only if `may_replace` is set.
    ///
    /// # Errors
    /// If the file exists and must not be replaced, its folder is missing or not writable, or the path is a folder, a
    /// disk, or a socket.
    pub fn choose(path: &Path, may_replace: bool) -> Result<Self, OutputError> {
        let to = if path == Path::new("-") { Ok(To::Stdout) } else { look_at(path, may_replace) };
        match to {
            Ok(to) => Ok(Self { path: path.to_owned(), to }),
            Err(cause) => Err(OutputError::of(path, cause)),
        }
    }

    /// The path given by the user.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the bytes go to stdout, which then cannot be used for messages.
    pub fn is_stdout(&self) -> bool {
        matches!(self.to, To::Stdout)
    }

    /// Whether a second write appends to the first, as on stdout and in a pipe, instead of replacing it.
    pub fn is_stream(&self) -> bool {
        !matches!(self.to, To::File { .. })
    }

    /// Writes all bytes. If a pipe has no reader, blocks until a signal ends the process.
    ///
    /// # Errors
    /// If the system reports an error, or a file that must not be replaced was created in the meantime.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        let written = match &mut self.to {
            To::Stdout => write_stdout(bytes),
            To::Stream(stream) => write_stream(&self.path, stream, bytes),
            To::File { target, may_replace } => write_file(target, *may_replace, bytes),
        };
        written.map_err(|cause| OutputError::of(&self.path, cause))
    }
}

fn look_at(path: &Path, may_replace: bool) -> io::Result<To> {
    let refuse = |message: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found?),
    };
    if let Some(found) = &found {
        let kind = found.file_type();
        if kind.is_dir() {
            return refuse("it is a folder; give a file name");
        }
        if kind.is_block_device() {
            return refuse("it is a disk; give a file name");
        }
        if kind.is_socket() {
            return refuse("it is a socket; give a file name");
        }
        // The path may be /dev/stdout, even if the shell redirects it to a file.
        let stdout = io::stdout().as_fd().try_clone_to_owned().and_then(|stdout| File::from(stdout).metadata());
        if stdout.is_ok_and(|stdout| (stdout.dev(), stdout.ino()) == (found.dev(), found.ino())) {
            return Ok(To::Stdout);
        }
        if !kind.is_file() {
            return Ok(To::Stream(None));
        }
        if !may_replace {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
    }
    let target = target(path)?;
    if target.file_name().is_none() {
        return refuse("it is not a file name");
    }
    match Folder::open(folder_of(&target)).and_then(|folder| folder.check_writable()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => refuse("its folder does not exist"),
        checked => checked.map(|()| To::File { target, may_replace }),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Returns the final target of `path` if it is a link. The target need not exist.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&target) {
            Ok(to) => target = folder_of(&target).join(to),
            // Not a link, or missing.
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "its symbolic links form a loop"))
}

/// If the reader closes its end early, that is not an error.
fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn write_stream(path: &Path, stream: &mut Option<File>, bytes: &[u8]) -> io::Result<()> {
    let file = match stream {
        Some(file) => file,
        None => {
            let file = OpenOptions::new().write(true).custom_flags(OFlags::NOCTTY.bits() as i32).open(path)?;
            let kind = file.metadata()?.file_type();
            if !kind.is_fifo() && !kind.is_char_device() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it was replaced in the meantime"));
            }
            stream.insert(file)
        }
    };
    file.write_all(bytes)
}

fn write_file(target: &Path, may_replace: bool, bytes: &[u8]) -> io::Result<()> {
    let folder = Folder::open(folder_of(target))?;
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let keep_mode = |file: &File| {
        if let Ok(earlier) = folder.stat(name) {
            // Only root can change the owner; otherwise the writer owns the file, like any new file.
            let _ = fchown(file, Some(Uid::from_raw(earlier.st_uid)), Some(Gid::from_raw(earlier.st_gid)));
            fchmod(file, Mode::from_raw_mode(earlier.st_mode & 0o777))?;
        }
        Ok(())
    };
    let place = |beside: &std::ffi::OsStr| match may_replace {
        true => folder.rename(beside, name),
        false => folder.rename_new(beside, name),
    };
    folder.write_beside(bytes, keep_mode, place)
}

/// Writes a file atomically: it replaces the file at `path` once it is complete and on disk, so a crash leaves either
/// the old or the new one. Symbolic links are followed. Pipes and devices are written to and not replaced.
///
/// # Errors
/// If the system reports an error. The old file is unchanged, unless only the sync of its folder failed.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match look_at(path, true)? {
        To::Stdout => write_stdout(bytes),
        To::Stream(mut stream) => write_stream(path, &mut stream, bytes),
        To::File { target, .. } => write_file(&target, true, bytes),
    }
}

#[cfg(test)]
mod tests;
