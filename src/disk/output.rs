//! Where a user wants a file: looked at before any work is done, written after it.

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

/// Links that are followed one after the other, as Linux has it.
const MOST_LINKS: usize = 40;

/// Why a file is not written. What is there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// It is there already.
    #[error("{} exists; give another name, or --force to replace it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system reports an error, or the name leads to what cannot be written.
    #[error("{} cannot be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
}

impl OutputError {
    /// That `path` cannot be written, or is there already.
    pub fn of(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        if cause.kind() == io::ErrorKind::AlreadyExists { Self::Exists { path } } else { Self::Write { path, cause } }
    }
}

/// A file that is going to be written, or what takes the bytes in place of one.
///
/// Symbolic links are followed. A regular file is replaced once its successor is whole, and keeps its mode and owner. Pipes and
/// character devices are written as they are, and never replaced; a pipe without a reader is waited for.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    to: To,
}

#[derive(Debug)]
enum To {
    Stdout,
    /// A pipe or a device, once it is open.
    Stream(Option<File>),
    File {
        /// Where the links lead.
        target: PathBuf,
        may_replace: bool,
    },
}

impl Output {
    /// Looks at what the name leads to, and whether it can be written; nothing is opened for writing yet. `-` is stdout. A
    /// regular file that is there is replaced only if `may_replace`.
    ///
    /// # Errors
    /// If the file is there and may not be replaced, its folder is missing or cannot be written, or the name leads to a folder,
    /// a disk or a socket.
    pub fn choose(path: &Path, may_replace: bool) -> Result<Self, OutputError> {
        let to = if path == Path::new("-") { Ok(To::Stdout) } else { look_at(path, may_replace) };
        match to {
            Ok(to) => Ok(Self { path: path.to_owned(), to }),
            Err(cause) => Err(OutputError::of(path, cause)),
        }
    }

    /// The name that the user gave.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the bytes go to stdout, which then is not for messages.
    pub fn is_stdout(&self) -> bool {
        matches!(self.to, To::Stdout)
    }

    /// Whether what is written a second time follows the first, as on stdout and in a pipe, and does not replace it.
    pub fn is_stream(&self) -> bool {
        !matches!(self.to, To::File { .. })
    }

    /// Writes the whole file. Blocks while a pipe has no reader, until a signal ends the process.
    ///
    /// # Errors
    /// If the system reports one, or a file has come to be there meanwhile that may not be replaced.
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
            return refuse("it is a folder; give the name of a file");
        }
        if kind.is_block_device() {
            return refuse("it is a disk; give the name of a file");
        }
        if kind.is_socket() {
            return refuse("it is a socket; give the name of a file");
        }
        // /dev/stdout, also where the shell sends it into a file.
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
        return refuse("it is no name of a file");
    }
    match Folder::open(folder_of(&target)).and_then(|folder| folder.check_writable()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => refuse("its folder does not exist"),
        checked => checked.map(|()| To::File { target, may_replace }),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Where the links lead that `path` may be, whether or not anything is there.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&target) {
            Ok(to) => target = folder_of(&target).join(to),
            // No link, or nothing there.
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "its symbolic links lead in a circle"))
}

/// Who closes the other end has seen enough.
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
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it was exchanged meanwhile"));
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
            // Only root may give a file away; without that, it is the writer's as a new one would be.
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

/// Writes a file that takes the place of the one at `path` once it is whole and on the disk: a crash leaves the old one or the
/// new one. Symbolic links are followed; a pipe or a device is written and not replaced.
///
/// # Errors
/// If the system reports one. The old file is as it was, unless only the sync of its folder failed.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match look_at(path, true)? {
        To::Stdout => write_stdout(bytes),
        To::Stream(mut stream) => write_stream(path, &mut stream, bytes),
        To::File { target, .. } => write_file(&target, true, bytes),
    }
}

#[cfg(test)]
mod tests;
