//! The names and first entries of event files, one file for each session of a run.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use prost::Message;

use super::{
    Step, WallTime,
    proto::{Event, SessionLog, SessionStatus, What},
    tf_record::append_record,
};

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".session-";

/// From a start of the program to its end. A run that was killed and resumed has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// From 1.
    pub number: u32,
    /// The first step that is written.
    pub step: Step,
}

/// The number in the name of a session's event file; `None` for any other file.
pub(super) fn session_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.rsplit_once(SUFFIX)?.1.parse().ok()
}

/// A name as TensorFlow gives it; the number keeps the writers of one process apart. TensorBoard reads a run's files in the order
/// of their names, so that one made later gets a later time, whatever the clock says.
pub(super) fn file_name(logdir: &Path, now: WallTime, session: Option<Session>) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let host = host_name();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let secs = match session {
        Some(_) => latest(logdir).map_or(0, |latest| latest + 1).max(now.as_secs() as u64),
        None => now.as_secs() as u64,
    };
    let suffix = session.map(|session| format!("{SUFFIX}{:03}", session.number)).unwrap_or_default();
    format!("{PREFIX}{secs:010}.{host}.{}.{number}{suffix}", std::process::id())
}

/// The name of this machine.
pub(super) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// The latest time in the names of a folder's event files.
fn latest(logdir: &Path) -> Option<u64> {
    let entries = fs::read_dir(logdir).ok()?.filter_map(Result::ok);
    let secs = |name: &str| name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok();
    entries.filter_map(|entry| secs(&entry.file_name().to_string_lossy())).max()
}

/// What a file begins with: its version, and where a run goes on, the mark that voids what was shown of later steps.
pub(super) fn first_records(wall_time: WallTime, session: Option<Session>) -> Vec<u8> {
    let mut records = Vec::new();
    let mut append = |step: i64, what: What| {
        let event = Event { wall_time: wall_time.as_secs(), step, what: Some(what) };
        append_record(&mut records, &event.encode_to_vec());
    };
    append(0, What::FileVersion("brain.Event:2".into()));
    if let Some(Session { number: 2.., step }) = session {
        let log = SessionLog { status: SessionStatus::Start.into(), ..SessionLog::default() };
        append(step.to_stored(), What::SessionLog(log));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventFile;

    #[test]
    fn a_session_is_known_by_its_file_s_name() {
        let logdir = tempfile::tempdir().unwrap();
        let session = Session { number: 12, step: 7u64.into() };
        let name = file_name(logdir.path(), WallTime::now(), Some(session));
        assert_eq!(session_of(&name), Some(12));
        assert_eq!(session_of(&file_name(logdir.path(), WallTime::now(), None)), None);
        assert_eq!(session_of("metrics.jsonl"), None);
    }

    #[test]
    fn a_later_session_has_the_later_name_though_the_clock_went_backwards() {
        let logdir = tempfile::tempdir().unwrap();
        fs::write(logdir.path().join("events.out.tfevents.4000000000.host.1.0.session-001"), "").unwrap();
        let name = file_name(logdir.path(), WallTime::now(), Some(Session { number: 2, step: 0u64.into() }));
        assert!(name.starts_with("events.out.tfevents.4000000001."), "{name}");
    }

    #[test]
    fn a_resumed_session_begins_with_its_mark() {
        let now = WallTime::now();
        let events = |number| {
            let records = first_records(now, Some(Session { number, step: 7u64.into() }));
            EventFile::new("file", &records[..]).map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(events(1).len(), 1);
        let resumed = events(2);
        assert_eq!((resumed.len(), resumed[1].step), (2, 7));
        assert!(matches!(&resumed[1].what, Some(What::SessionLog(log)) if log.status == 1));
    }
}
