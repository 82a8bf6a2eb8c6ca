//! An open folder that follows no links below it, so that entries planted in a run folder cannot redirect reads or
//! writes.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{
    Access, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, accessat, fstat, fsync, mkdirat, openat, renameat,
    renameat_with, statat, unlinkat,
};

use super::{regular_file::read_all, write_all};

/// Prefix and suffix of temporary names.
const BESIDE: (&str, &str) = (".gradwatch-", ".partial");
/// Maximum number of temporary names to try. Collisions occur only if two hosts share a disk and a process ID.
const TRIES: usize = 1000;

/// An open folder. Names refer to its direct entries. If a file is expected, a symbolic link, pipe, or device is an
/// error, and opening it never blocks.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    handle: Arc<OwnedFd>,
}

impl Folder {
    /// Opens a folder from a user-given path. Symbolic links in the path are followed.
    ///
    /// # Errors
    /// If the folder does not exist or cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let handle = rustix::fs::open(name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), handle: Arc::new(handle) })
    }

    /// Like [`open`](Self::open), but creates the folder and its parents if they are missing.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and if it cannot be created.
    pub fn make(path: &Path) -> io::Result<Self> {
        match fs::create_dir_all(path) {
            // The path is a file.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(io::ErrorKind::NotADirectory.into()),
            made => made.and_then(|()| Self::open(path)),
        }
    }

    /// Opens a folder inside a run folder. `path` itself must not be a symbolic link.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and if `path` is a link.
    pub fn open_unlinked(path: &Path) -> io::Result<Self> {
        match path.file_name() {
            Some(name) => {
                let inner = Self::open(path.parent().unwrap_or(Path::new("")))?.folder(name)?;
                Ok(Self { path: path.to_owned(), ..inner })
            }
            // `.`, `..`, and `/` are not links.
            None => Self::open(path),
        }
    }

    /// The path used to open the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a subfolder.
    ///
    /// # Errors
    /// If it is missing, a link, or not a folder.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = single(name.as_ref())?;
        if is(&self.stat(name)?, FileType::Symlink) {
            return Err(linked());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(&*self.handle, name, flags, Mode::empty())?;
        Ok(Self { path: self.path.join(name), handle: Arc::new(handle) })
    }

    /// Opens a subfolder, and creates it if it is missing.
    ///
    /// # Errors
    /// As for [`folder`](Self::folder), and if it cannot be created.
    pub fn make_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        match self.new_folder(&name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => match self.folder(&name) {
                // On a read-only disk, `mkdirat` reports that error even if the folder exists.
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => Err(error),
                opened => opened,
            },
            _ => self.folder(name),
        }
    }

    /// Creates a new subfolder.
    ///
    /// # Errors
    /// If the name is taken, or the folder cannot be created.
    pub fn new_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        mkdirat(&*self.handle, single(name.as_ref())?, Mode::from_raw_mode(0o777))?;
        self.sync()
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// If it is missing or not a regular file.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_with(name.as_ref(), OFlags::RDONLY)
    }

    /// Reads a regular file of at most `most_bytes` bytes.
    ///
    /// # Errors
    /// As for [`open_file`](Self::open_file), and if it is larger.
    pub fn read(&self, name: impl AsRef<OsStr>, most_bytes: u64) -> io::Result<Vec<u8>> {
        read_all(self.open_file(name)?, most_bytes)
    }

    /// Reads a regular text file of at most `most_bytes` bytes.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and if it is not UTF-8.
    pub fn read_text(&self, name: impl AsRef<OsStr>, most_bytes: u64) -> io::Result<String> {
        let text = String::from_utf8(self.read(name, most_bytes)?);
        text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
    }

    /// Opens a regular file for appending, and creates it if it is missing.
    ///
    /// # Errors
    /// If it is not a regular file, has several names (hard links), or cannot be written.
    pub fn append(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_own(name.as_ref(), OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
    }

    /// Opens a regular file for reading and writing, and creates it if it is missing.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn change(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_own(name.as_ref(), OFlags::RDWR | OFlags::CREATE)
    }

    /// Creates a new file.
    ///
    /// # Errors
    /// If the name is taken, even by a dangling link, or if the file cannot be created.
    pub fn create_new(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&*self.handle, single(name.as_ref())?, flags, Mode::from_raw_mode(0o666))?.into())
    }

    /// Writes a file atomically: once it is complete and on disk, it replaces any entry of that name, including a link.
    ///
    /// # Errors
    /// If the system reports an error. The old entry is unchanged, unless only the sync of the folder failed.
    pub fn replace(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
        let name = single(name.as_ref())?;
        self.write_beside(bytes, |_| Ok(()), |beside| self.rename(beside, name))
    }

    /// Writes a file under a temporary name, syncs it, and calls `place` to move it to its final name.
    pub(super) fn write_beside(
        &self,
        bytes: &[u8],
        prepare: impl FnOnce(&File) -> io::Result<()>,
        place: impl FnOnce(&OsStr) -> io::Result<()>,
    ) -> io::Result<()> {
        let (beside, mut file) = self.create_beside()?;
        let written = prepare(&file)
            .and_then(|()| write_all(&mut file, bytes, "replace"))
            .and_then(|()| file.sync_all())
            .and_then(|()| place(&beside));
        if written.is_err() {
            // A failure to remove the file adds nothing to the first error.
            let _ = self.remove(&beside);
        }
        written.and_then(|()| self.sync())
    }

    /// Creates a new file with an unused temporary name.
    fn create_beside(&self) -> io::Result<(OsString, File)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        for _ in 0..TRIES {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!("{}{}-{number}{}", BESIDE.0, std::process::id(), BESIDE.1));
            match self.create_new(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|file| (name, file)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Removes temporary files of a process that died. No other process may be writing to the folder.
    ///
    /// # Errors
    /// If the folder cannot be read, or a temporary file cannot be removed.
    pub fn remove_partial(&self) -> io::Result<()> {
        let names = self.names()?.into_iter();
        let is_partial = |name: &OsString| {
            let name = name.to_string_lossy();
            name.starts_with(BESIDE.0) && name.ends_with(BESIDE.1)
        };
        names.filter(is_partial).try_for_each(|name| self.remove(name))
    }

    /// Renames an entry. An existing entry of the new name is replaced; links are not followed.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(renameat(&*self.handle, single(from.as_ref())?, &*self.handle, single(to.as_ref())?)?)
    }

    /// Moves an entry to another folder of the same file system, where nothing has its name.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn move_to(&self, name: impl AsRef<OsStr>, to: &Self) -> io::Result<()> {
        let name = single(name.as_ref())?;
        renameat(&*self.handle, name, &*to.handle, name)?;
        to.sync()?;
        self.sync()
    }

    /// Renames an entry to a name that must not be taken.
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match renameat_with(&*self.handle, from, &*self.handle, to, RenameFlags::NOREPLACE) {
            // Not every file system supports this.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !self.contains(to) => self.rename(from, to),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
            renamed => Ok(renamed?),
        }
    }

    /// Removes a file, or a link itself (not its target).
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&*self.handle, single(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes a subfolder with its contents. Links in it are removed, not followed.
    ///
    /// # Errors
    /// If it is missing or not a folder, or if any of its contents cannot be removed.
    pub fn remove_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = single(name.as_ref())?;
        let inner = self.folder(name)?;
        for entry in inner.names()? {
            if is(&inner.stat(&entry)?, FileType::Directory) {
                inner.remove_folder(entry)?
            } else {
                inner.remove(entry)?
            }
        }
        Ok(unlinkat(&*self.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// Returns the names of all entries, sorted.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&*self.handle)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether an entry of this name exists, including a dangling link.
    pub fn contains(&self, name: impl AsRef<OsStr>) -> bool {
        self.stat(name.as_ref()).is_ok()
    }

    /// Returns the reason why a run must not use an entry of its folder: it is a link, it is neither a regular file nor
    /// a folder, or, if it will be overwritten, it has several names. `None` if there is no objection.
    pub fn objection(&self, name: impl AsRef<OsStr>, is_written_over: bool) -> Option<io::Error> {
        let stat = self.stat(name.as_ref()).ok().filter(|stat| !is(stat, FileType::Directory))?;
        refuse_special(&stat).or_else(|| refuse_hard_links(&stat).filter(|_| is_written_over))
    }

    /// Checks whether files can be created in the folder, according to its permissions.
    ///
    /// # Errors
    /// If the folder is not writable.
    pub fn check_writable(&self) -> io::Result<()> {
        Ok(accessat(&*self.handle, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())?)
    }

    /// Waits until created, renamed, and removed entries are on disk.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&*self.handle)?)
    }

    /// Returns the metadata of an entry. For a link, that of the link itself.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(statat(&*self.handle, single(name)?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn open_own(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let file = self.open_with(name, flags)?;
        refuse_hard_links(&fstat(&file)?).map_or(Ok(file), Err)
    }

    fn open_with(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let name = single(name)?;
        // Checked before opening, because opening a device can have side effects.
        if let Some(refusal) = self.stat(name).ok().as_ref().and_then(refuse_special) {
            return Err(refusal);
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(openat(&*self.handle, name, flags, Mode::from_raw_mode(0o666))?);
        // Checked again after opening, because the entry may have been replaced in between.
        refuse_special(&fstat(&file)?).map_or(Ok(file), Err)
    }
}

/// Checks that a name is a single entry of the folder.
fn single(name: &OsStr) -> io::Result<&OsStr> {
    match Path::new(name).file_name() {
        Some(last) if last == name => Ok(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "want the name of one file, without slashes")),
    }
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

fn linked() -> io::Error {
    let message = "it is a symbolic link, and gradwatch does not follow links inside a run folder: copy the run with \
                   cp -rL, or move the \
                   whole folder and set run.logdir";
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn refuse_special(stat: &Stat) -> Option<io::Error> {
    let got = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return None,
        FileType::Symlink => return Some(linked()),
        FileType::Directory => return Some(io::ErrorKind::IsADirectory.into()),
        FileType::Fifo => "pipe",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::Socket => "socket",
        FileType::Unknown => "special file",
    };
    Some(io::Error::new(io::ErrorKind::InvalidInput, format!("it is a {got}, not a regular file")))
}

fn refuse_hard_links(stat: &Stat) -> Option<io::Error> {
    // Converts to u64, because the type of the system's number differs between platforms.
    #[allow(clippy::useless_conversion)]
    let names = u64::from(stat.st_nlink);
    (names > 1).then(|| {
        let message = format!(
            "it has {names} hard links, and writing to one changes the others: copy the run with cp -r and use the copy"
        );
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

#[cfg(test)]
mod tests;
