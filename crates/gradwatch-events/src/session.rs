//! The names and first entries of event files. Each session of a run has its own file.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use prost::Message;

use super::{
    EventsError, Step, WallTime,
    proto::{Event, SessionLog, SessionStatus, What},
    tf_record::append_record,
};
use crate::disk::Folder;

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".session-";
const EVALUATION: &str = ".evaluation";
const HPARAMS: &str = ".hparams";
/// Maximum number of names to try for a new file.
const NAMES: usize = 1000;

/// Content of an event file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Session(Session),
    Evaluation,
    Other,
}

/// The time from a start of the program to its end. A run that was killed and resumed has several sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Session number, from 1.
    pub number: u32,
    /// First step of the session.
    pub step: Step,
}

/// Returns the session number from the name of a session's event file; `None` for any other file.
pub(super) fn session_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.rsplit_once(SUFFIX)?.1.parse().ok()
}

/// Whether this is the name of a session's event file.
pub fn is_session(name: &str) -> bool {
    session_of(name).is_some()
}

/// Returns the name of the event file with hyperparameters in a folder whose last session file is `session`; `None` for
/// a folder without sessions. TensorBoard reads it after that file and before those of later sessions.
pub fn hparams_file(session: Option<&str>) -> String {
    match session {
        Some(name) => format!("{name}{HPARAMS}"),
        None => format!("{PREFIX}0000000000{HPARAMS}"),
    }
}

/// Whether this is the name of an event file with hyperparameters. It contains no steps of a run.
pub fn is_hparams(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(HPARAMS)
}

/// Whether this is the name of an event file with evaluation results.
pub fn is_evaluation(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(EVALUATION)
}

/// Opens the folder for event files, and creates it if it is missing.
pub(super) fn make_folder(logdir: &Path) -> Result<Folder, EventsError> {
    Folder::make(logdir).map_err(|cause| EventsError::Create { path: logdir.to_owned(), cause })
}

/// Creates an event file with its first records. Returns its path and handle.
pub(super) fn create_file(folder: &Folder, kind: Kind) -> Result<(PathBuf, File), EventsError> {
    let now = WallTime::now();
    let mut tries = 0..NAMES;
    loop {
        let name = file_name(folder, now, kind);
        let made = folder.create_new(&name).and_then(|mut file| {
            file.write_all(&first_records(now, kind))?;
            Ok(file)
        });
        let path = folder.path().join(&name);
        match made {
            // The host name and process ID can collide with those of another container.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tries.next().is_some() => {}
            Ok(file) => return Ok((path, file)),
            Err(cause) => return Err(EventsError::Create { path, cause }),
        }
    }
}

/// Returns a file name in TensorFlow's format. The number distinguishes several writers of one process. TensorBoard
/// reads a run's files in the order of their names, so a later session always gets a later time, even if the clock was
/// set back.
fn file_name(logdir: &Folder, now: WallTime, kind: Kind) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let host = host_name();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let now = now.as_secs() as u64;
    let (secs, suffix) = match kind {
        Kind::Session(session) => (
            latest(logdir).map_or(0, |latest| latest.saturating_add(1)).max(now),
            format!("{SUFFIX}{:03}", session.number),
        ),
        Kind::Evaluation => (now, EVALUATION.to_owned()),
        Kind::Other => (now, String::new()),
    };
    format!("{PREFIX}{secs:010}.{host}.{}.{number}{suffix}", std::process::id())
}

/// Name of this machine.
pub(super) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// Latest time in the names of a folder's event files.
fn latest(logdir: &Folder) -> Option<u64> {
    let secs = |name: &str| name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok();
    logdir.names().ok()?.iter().filter_map(|name| secs(name.to_str()?)).max()
}

/// The first records of a file: its version and, for a resumed run, the mark that makes TensorBoard discard later
/// steps.
pub(super) fn first_records(wall_time: WallTime, kind: Kind) -> Vec<u8> {
    let mut records = Vec::new();
    let mut append = |step: i64, what: What| {
        let event = Event { wall_time: wall_time.as_secs(), step, what: Some(what) };
        append_record(&mut records, &event.encode_to_vec());
    };
    append(0, What::FileVersion("brain.Event:2".into()));
    if let Kind::Session(Session { number: 2.., step }) = kind {
        let log = SessionLog { status: SessionStatus::Start.into(), ..SessionLog::default() };
        append(step.to_stored(), What::SessionLog(log));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventFile;

    #[test]
    fn a_session_is_known_by_its_file_s_name() {
        let logdir = tempfile::tempdir().unwrap();
        let session = Session { number: 12, step: 7u64.into() };
        let name = |kind| file_name(&Folder::open(logdir.path()).unwrap(), WallTime::now(), kind);
        let of_session = name(Kind::Session(session));
        assert_eq!((session_of(&of_session), is_evaluation(&of_session)), (Some(12), false));
        let of_evaluation = name(Kind::Evaluation);
        assert_eq!((session_of(&of_evaluation), is_evaluation(&of_evaluation)), (None, true));
        let other = name(Kind::Other);
        assert_eq!((session_of(&other), is_evaluation(&other)), (None, false));
        assert_eq!(session_of("metrics.jsonl"), None);
        for of_hparams in [hparams_file(Some(&of_session)), hparams_file(None)] {
            assert_eq!((session_of(&of_hparams), is_hparams(&of_hparams)), (None, true));
        }
        assert!(!is_hparams(&of_session));
    }

    #[test]
    fn a_later_session_has_the_later_name_though_the_clock_went_backwards() {
        let logdir = tempfile::tempdir().unwrap();
        fs::write(logdir.path().join("events.out.tfevents.4000000000.host.1.0.session-001"), "").unwrap();
        let second = Kind::Session(Session { number: 2, step: 0u64.into() });
        let name = file_name(&Folder::open(logdir.path()).unwrap(), WallTime::now(), second);
        assert!(name.starts_with("events.out.tfevents.4000000001."), "{name}");
    }

    #[test]
    fn a_resumed_session_begins_with_its_mark() {
        let now = WallTime::now();
        let events = |number| {
            let records = first_records(now, Kind::Session(Session { number, step: 7u64.into() }));
            EventFile::new("file", &records[..]).map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(events(1).len(), 1);
        let resumed = events(2);
        assert_eq!((resumed.len(), resumed[1].step), (2, 7));
        assert!(matches!(&resumed[1].what, Some(What::SessionLog(log)) if log.status == 1));
    }
}
