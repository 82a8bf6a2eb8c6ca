//! The folder of one run.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use time::OffsetDateTime;

use super::{
    EventsError, JsonLines, LogPosition,
    position::cut,
    session::{host_name, session_of},
};
use crate::disk;

/// The file that says which process works in the folder. It stays when the process is gone; its lock does not.
const LOCK: &str = "run.lock";
const CONFIG: &str = "config.toml";
/// The logs of JSON lines.
const LINES: [&str; 2] = ["metrics.jsonl", "findings.jsonl"];

/// A run's folder, held by this process alone for as long as this lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The kernel gives the lock back when the process ends, however it ends.
    _lock: File,
}

impl RunFolder {
    /// Makes `logdir/name`. A folder that is there already is taken only when it is empty.
    ///
    /// # Errors
    /// Where the folder holds anything, or cannot be made or written.
    pub fn create(logdir: &Path, name: &str) -> Result<Self, EventsError> {
        let path = logdir.join(name);
        let refuse = |cause| EventsError::Create { path: path.clone(), cause };
        match fs::read_dir(&path) {
            Ok(entries) => {
                if entries.count() > 0 {
                    return Err(EventsError::AlreadyUsed { path });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&path).and_then(|()| disk::sync_folder(logdir)).map_err(refuse)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(EventsError::AlreadyUsed { path });
            }
            Err(error) => return Err(refuse(error)),
        }
        Self::hold(path)
    }

    /// The folder of a run that was begun before.
    ///
    /// # Errors
    /// Where it is no run's, or another process works in it.
    pub fn open(path: &Path) -> Result<Self, EventsError> {
        // Without this, the lock file would make a run of any folder.
        if !path.is_dir() {
            return Err(EventsError::NoRun { path: path.to_owned(), missing: "the folder" });
        }
        if !path.join(LOCK).exists() && !path.join(CONFIG).exists() {
            return Err(EventsError::NoRun { path: path.to_owned(), missing: CONFIG });
        }
        Self::hold(path.to_owned())
    }

    fn hold(path: PathBuf) -> Result<Self, EventsError> {
        let file = path.join(LOCK);
        let refuse = |cause| EventsError::Create { path: file.clone(), cause };
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file).map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&file).unwrap_or_default();
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(EventsError::InUse { path, holder: holder.to_owned() });
            }
            Err(TryLockError::Error(cause)) => {
                tracing::warn!(
                    "{} cannot be locked ({cause}): nothing keeps a second process from this run",
                    file.display()
                );
            }
        }
        let holder = format!("process {} on {}\n", std::process::id(), host_name());
        lock.set_len(0).and_then(|()| lock.write_all(holder.as_bytes())).map_err(refuse)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a small file of the run; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn write(&self, name: &str, content: &str) -> Result<(), EventsError> {
        let path = self.path.join(name);
        disk::replace(&path, content.as_bytes()).map_err(|cause| EventsError::Create { path, cause })
    }

    /// A log of JSON lines in the run, which goes on where it is there already.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub fn json_lines(&self, name: &str) -> Result<JsonLines, EventsError> {
        JsonLines::open(self.path.join(name))
    }

    /// The logs that a checkpoint keeps the positions of: the event files of sessions, and [`LINES`].
    fn logs(&self) -> Result<Vec<String>, EventsError> {
        let read = |cause| EventsError::Open { path: self.path.clone(), cause };
        let entries = fs::read_dir(&self.path).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
        let names = entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut logs: Vec<String> =
            names.filter(|name| session_of(name).is_some() || LINES.contains(&name.as_str())).collect();
        logs.sort_unstable();
        Ok(logs)
    }

    /// Event files of earlier sessions, as long as they are.
    ///
    /// # Errors
    /// Where they cannot be looked at.
    pub fn earlier_sessions(&self) -> Result<Vec<LogPosition>, EventsError> {
        let logs = self.logs()?.into_iter().filter(|name| session_of(name).is_some());
        let position = |file: String| {
            let path = self.path.join(&file);
            let length = fs::metadata(&path).map_err(|cause| EventsError::Open { path, cause })?.len();
            Ok(LogPosition { file, bytes: length, is_incomplete: false })
        };
        logs.map(position).collect()
    }

    /// Whether the run has recorded anything that a fresh start would lose.
    pub fn has_steps(&self) -> bool {
        let lines = File::open(self.path.join("metrics.jsonl")).map(|file| BufReader::new(file).lines());
        // The first line says what is known before the first step.
        lines.is_ok_and(|mut lines| lines.nth(1).is_some())
    }

    /// The number of the session that begins now.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn next_session(&self) -> Result<u32, EventsError> {
        Ok(self.logs()?.iter().filter_map(|name| session_of(name)).max().unwrap_or(0) + 1)
    }

    /// Takes the logs back to `positions`. An event file that is not among them is of steps that will be taken once more, and
    /// goes; so do lines. What is shorter than it was is said and cut to its whole entries.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn cut_back(&self, positions: &[LogPosition]) -> Result<(), EventsError> {
        for name in self.logs()? {
            let path = self.path.join(&name);
            let position = positions.iter().find(|position| position.file == name);
            let write = |cause| EventsError::Write { path: path.clone(), cause };
            match position {
                None if session_of(&name).is_some() => fs::remove_file(&path).map_err(write)?,
                _ => {
                    let want = position.map_or(0, |position| position.bytes);
                    let end = cut(&path, want).map_err(write)?;
                    if end < want {
                        tracing::warn!("{} ends at byte {end} instead of {want}: entries are lost", path.display());
                    }
                }
            }
        }
        for position in positions.iter().filter(|position| !self.path.join(&position.file).exists()) {
            tracing::warn!("{} is gone, with the entries of {} bytes", position.file, position.bytes);
        }
        disk::sync_folder(&self.path).map_err(|cause| EventsError::Write { path: self.path.clone(), cause })
    }
}

/// A run's name where the user gives none: the config's file name and the time, `fashion-mnist-20260102-150405`.
pub fn run_name(config: &Path, now: OffsetDateTime) -> String {
    let stem = config.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let (date, time) = (now.date(), now.time());
    format!(
        "{}-{:04}{:02}{:02}-{:02}{:02}{:02}",
        stem.unwrap_or_else(|| "run".into()),
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_anything_is_refused_and_left_as_it_was() {
        let logdir = tempfile::tempdir().unwrap();
        fs::create_dir(logdir.path().join("run")).unwrap();
        let run = RunFolder::create(logdir.path(), "run").unwrap();
        run.write("config.toml", "seed = 1").unwrap();
        let error = RunFolder::create(logdir.path(), "run").unwrap_err();
        assert!(matches!(&error, EventsError::AlreadyUsed { .. }), "{error}");
        assert_eq!(fs::read_to_string(run.path().join("config.toml")).unwrap(), "seed = 1");
        fs::write(logdir.path().join("file"), "").unwrap();
        assert!(matches!(RunFolder::create(logdir.path(), "file"), Err(EventsError::AlreadyUsed { .. })));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = RunFolder::create(Path::new("/proc/gradwatch"), "run").unwrap_err().to_string();
        assert!(error.starts_with("/proc/gradwatch/run cannot be created: "), "{error}");
    }

    #[test]
    fn a_run_is_held_by_one_process_and_let_go_with_it() {
        let logdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(logdir.path(), "run").unwrap();
        let path = run.path().to_owned();
        let error = RunFolder::open(&path).unwrap_err();
        assert!(error.to_string().contains(&format!("in use by process {} on ", std::process::id())), "{error}");
        drop(run);
        // What a process that died leaves: the file, and no lock.
        assert!(path.join(LOCK).exists());
        drop(RunFolder::open(&path).unwrap());
        fs::write(path.join(LOCK), "").unwrap();
        RunFolder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_is_no_run_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("none")] {
            assert!(matches!(RunFolder::open(&path), Err(EventsError::NoRun { .. })));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn logs_are_cut_back_and_those_of_steps_to_come_go() {
        let logdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(logdir.path(), "run").unwrap();
        let write = |name: &str, text: &str| fs::write(run.path().join(name), text).unwrap();
        let read = |name: &str| fs::read_to_string(run.path().join(name)).unwrap();
        let [first, second] = [1, 2].map(|number| format!("events.out.tfevents.1.host.1.0.session-{number:03}"));
        write(&first, "abc");
        write(&second, "def");
        write("events.out.tfevents.1.other", "of another program");
        write("metrics.jsonl", "1\n2\n");
        let at = |file: &str, bytes| LogPosition { file: file.to_owned(), bytes, is_incomplete: false };
        assert_eq!(run.earlier_sessions().unwrap(), [at(&first, 3), at(&second, 3)]);
        assert_eq!(run.next_session().unwrap(), 3);
        run.cut_back(&[at(&first, 2), at("metrics.jsonl", 2)]).unwrap();
        assert_eq!((read(&first), read("metrics.jsonl")), ("ab".into(), "1\n".into()));
        assert!(!run.path().join(&second).exists());
        assert_eq!(read("events.out.tfevents.1.other"), "of another program");
        run.cut_back(&[]).unwrap();
        assert_eq!(read("metrics.jsonl"), "");
    }

    #[test]
    fn a_name_is_made_of_the_config_and_the_time() {
        let now = OffsetDateTime::from_unix_timestamp(1_767_366_245).unwrap();
        assert_eq!(run_name(Path::new("configs/fashion-mnist.toml"), now), "fashion-mnist-20260102-150405");
    }
}
