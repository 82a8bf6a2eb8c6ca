//! A folder held open, below which nothing is reached through a link: what others put into a run folder leads nowhere else.

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

/// Both ends of a temporary name.
const BESIDE: (&str, &str) = (".gradwatch-", ".partial");
/// Temporary names that are tried. They are taken only where two hosts share a disk and a process number.
const TRIES: usize = 1000;

/// A folder that is open. Names are those of entries right in it; a symbolic link, a pipe or a device among them is an error
/// where a file is wanted, and nothing waits for one.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    handle: Arc<OwnedFd>,
}

impl Folder {
    /// Opens a folder that a user names. Symbolic links on the way to it are followed.
    ///
    /// # Errors
    /// If there is no such folder, or it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let handle = rustix::fs::open(name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), handle: Arc::new(handle) })
    }

    /// The same for one that is made if it is missing, with the folders on the way to it.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and if it cannot be made.
    pub fn make(path: &Path) -> io::Result<Self> {
        match fs::create_dir_all(path) {
            // A file has the name.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(io::ErrorKind::NotADirectory.into()),
            made => made.and_then(|()| Self::open(path)),
        }
    }

    /// Opens a folder inside a run folder: `path` itself must not be a symbolic link.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and if it is a link.
    pub fn open_unlinked(path: &Path) -> io::Result<Self> {
        match path.file_name() {
            Some(name) => {
                let inner = Self::open(path.parent().unwrap_or(Path::new("")))?.folder(name)?;
                Ok(Self { path: path.to_owned(), ..inner })
            }
            // `.`, `..` and `/` are no links.
            None => Self::open(path),
        }
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder in it.
    ///
    /// # Errors
    /// If it is missing, a link, or no folder.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = single(name.as_ref())?;
        if is(&self.stat(name)?, FileType::Symlink) {
            return Err(linked());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(&*self.handle, name, flags, Mode::empty())?;
        Ok(Self { path: self.path.join(name), handle: Arc::new(handle) })
    }

    /// Opens a folder in it, which is made if it is missing.
    ///
    /// # Errors
    /// As for [`folder`](Self::folder), and if it cannot be made.
    pub fn make_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        match self.new_folder(&name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => match self.folder(&name) {
                // On a read-only disk the answer is that, also for a folder that is there.
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => Err(error),
                opened => opened,
            },
            _ => self.folder(name),
        }
    }

    /// Makes a folder in it that is not there yet.
    ///
    /// # Errors
    /// If anything of that name is there, or the folder cannot be made.
    pub fn new_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        mkdirat(&*self.handle, single(name.as_ref())?, Mode::from_raw_mode(0o777))?;
        self.sync()
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// If it is missing, or no regular file.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_with(name.as_ref(), OFlags::RDONLY)
    }

    /// All bytes of a regular file of at most so many.
    ///
    /// # Errors
    /// As for [`open_file`](Self::open_file), and if it is larger.
    pub fn read(&self, name: impl AsRef<OsStr>, most_bytes: u64) -> io::Result<Vec<u8>> {
        read_all(self.open_file(name)?, most_bytes)
    }

    /// The text of a regular file of at most so many bytes.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and if it is not UTF-8.
    pub fn read_text(&self, name: impl AsRef<OsStr>, most_bytes: u64) -> io::Result<String> {
        let text = String::from_utf8(self.read(name, most_bytes)?);
        text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
    }

    /// Opens a regular file to write at its end; it is made if it is missing.
    ///
    /// # Errors
    /// If it is no regular file, has further names (hard links), or cannot be written.
    pub fn append(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_own(name.as_ref(), OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
    }

    /// Opens a regular file to read it and to write over it; it is made if it is missing.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn change(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_own(name.as_ref(), OFlags::RDWR | OFlags::CREATE)
    }

    /// Makes a file that is not there yet.
    ///
    /// # Errors
    /// If anything of that name is there, also a link to nothing, or the file cannot be made.
    pub fn create_new(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&*self.handle, single(name.as_ref())?, flags, Mode::from_raw_mode(0o666))?.into())
    }

    /// Writes a file that takes the place of whatever has its name, a link too, once it is whole and on the disk.
    ///
    /// # Errors
    /// If the system reports one. What was there is as it was, unless only the sync of the folder failed.
    pub fn replace(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
        let name = single(name.as_ref())?;
        self.write_beside(bytes, |_| Ok(()), |beside| self.rename(beside, name))
    }

    /// Writes a file under a temporary name, syncs it, and lets `place` give it its own.
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
            // Its own failure says nothing that the first one does not.
            let _ = self.remove(&beside);
        }
        written.and_then(|()| self.sync())
    }

    /// A new file under a name that nothing has.
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

    /// Removes what a process that died has left under temporary names. For a folder in which no other process writes.
    ///
    /// # Errors
    /// If the folder cannot be read, or such a file cannot be removed.
    pub fn remove_partial(&self) -> io::Result<()> {
        let names = self.names()?.into_iter();
        let is_partial = |name: &OsString| {
            let name = name.to_string_lossy();
            name.starts_with(BESIDE.0) && name.ends_with(BESIDE.1)
        };
        names.filter(is_partial).try_for_each(|name| self.remove(name))
    }

    /// Gives an entry another name. What has that name is replaced; a link is not followed.
    ///
    /// # Errors
    /// If the system reports one.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(renameat(&*self.handle, single(from.as_ref())?, &*self.handle, single(to.as_ref())?)?)
    }

    /// The same for a name that nothing has yet.
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match renameat_with(&*self.handle, from, &*self.handle, to, RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !self.contains(to) => self.rename(from, to),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
            renamed => Ok(renamed?),
        }
    }

    /// Removes a file, or a link and not what it leads to.
    ///
    /// # Errors
    /// If the system reports one.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&*self.handle, single(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes a folder and all below it. Links in it are removed and not followed.
    ///
    /// # Errors
    /// If it is missing or no folder, or anything of it cannot be removed.
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

    /// The names of all entries, sorted.
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

    /// Whether anything has this name, also a link to nothing.
    pub fn contains(&self, name: impl AsRef<OsStr>) -> bool {
        self.stat(name.as_ref()).is_ok()
    }

    /// Why a run may not use an entry of its folder: it is a link, or neither a regular file nor a folder, or, where it is to
    /// be written over, it has further names. `None` if nothing speaks against it.
    pub fn objection(&self, name: impl AsRef<OsStr>, is_written_over: bool) -> Option<io::Error> {
        let stat = self.stat(name.as_ref()).ok().filter(|stat| !is(stat, FileType::Directory))?;
        refuse_special(&stat).or_else(|| refuse_hard_links(&stat).filter(|_| is_written_over))
    }

    /// Whether files can be made in it, as far as the system tells.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check_writable(&self) -> io::Result<()> {
        Ok(accessat(&*self.handle, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())?)
    }

    /// Waits until what was made, renamed or removed in it is on the disk.
    ///
    /// # Errors
    /// If the system reports one.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&*self.handle)?)
    }

    /// Of the entry itself, where that is a link.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(statat(&*self.handle, single(name)?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn open_own(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let file = self.open_with(name, flags)?;
        refuse_hard_links(&fstat(&file)?).map_or(Ok(file), Err)
    }

    fn open_with(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let name = single(name)?;
        // Before it is opened, since opening a device may do something.
        if let Some(refusal) = self.stat(name).ok().as_ref().and_then(refuse_special) {
            return Err(refusal);
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(openat(&*self.handle, name, flags, Mode::from_raw_mode(0o666))?);
        // And after it: it may have been exchanged in between.
        refuse_special(&fstat(&file)?).map_or(Ok(file), Err)
    }
}

/// A name is one entry of the folder, and leads to no other.
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
    let message = "it is a symbolic link, and none inside a run folder is followed: copy the run with cp -rL, or move the \
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
    // As wide as the system's number, which differs between platforms.
    #[allow(clippy::useless_conversion)]
    let names = u64::from(stat.st_nlink);
    (names > 1).then(|| {
        let message = format!(
            "it has {names} names (hard links), and writing to one changes the others: copy the run with cp -r and use the copy"
        );
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

#[cfg(test)]
mod tests;
