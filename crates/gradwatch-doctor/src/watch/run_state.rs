//! State of a run, from its files and the lock of its process.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

use gradwatch_events::disk::read_regular_text;

/// Whether a run trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunState {
    /// Its files grow.
    #[default]
    Training,
    /// Its process lives, but its files have not grown for long.
    Stalled,
    /// It reached its last step, or ended by itself.
    Finished,
    /// Its process is gone before the last step.
    Stopped,
    /// Its files have not grown for long. Nothing tells whether a process still uses them.
    Silent,
}

impl RunState {
    /// Word for the state.
    pub fn label(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Stalled => "stalled",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Silent => "ended?",
        }
    }
}

/// What is known about the process that writes a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// It holds the lock of the run folder.
    Alive,
    /// It has ended.
    Gone,
    /// Another program writes the files, or the process is on another machine.
    Unknown,
}

/// Facts from which the state follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    pub writer: Writer,
    /// Time since the last write to the event files.
    pub silence: Duration,
    /// Longest recent time between two steps.
    pub longest_gap: Duration,
    pub steps: u64,
    pub total_steps: Option<u64>,
    /// Whether the run wrote its report after its last event, which it does when it ends without being killed.
    pub has_last_report: bool,
    /// Whether the config lets the run end before its last step.
    pub may_end_early: bool,
}

impl Signs {
    /// A run that evaluates or saves a checkpoint writes nothing for longer than between two steps.
    const LEAST_SILENCE: Duration = Duration::from_secs(60);
    const GAPS: u32 = 5;

    pub(super) fn state(&self) -> RunState {
        let is_silent = self.silence > Self::LEAST_SILENCE.max(self.longest_gap.saturating_mul(Self::GAPS));
        // The last steps may not be tracked.
        let is_complete = self.total_steps.is_some_and(|total| self.steps >= total);
        let has_ended = self.has_last_report && (is_complete || self.may_end_early || self.total_steps.is_none());
        match self.writer {
            Writer::Alive if is_silent => RunState::Stalled,
            Writer::Alive => RunState::Training,
            _ if is_complete || has_ended => RunState::Finished,
            Writer::Gone => RunState::Stopped,
            Writer::Unknown if self.has_last_report => RunState::Stopped,
            Writer::Unknown if is_silent => RunState::Silent,
            Writer::Unknown => RunState::Training,
        }
    }
}

/// Looks for the process that holds the lock of a run folder. Only reads: taking the lock, even for a moment, could keep
/// a run from starting.
pub(super) fn writer(folder: &Path) -> Writer {
    const MOST_BYTES: u64 = 4096;
    let lock = folder.join("run.lock");
    let Ok(text) = read_regular_text(&lock, MOST_BYTES) else { return Writer::Unknown };
    let holder = text.trim().strip_prefix("process ").and_then(|text| text.split_once(" on "));
    let Some((process, host)) = holder.and_then(|(process, host)| Some((process.parse::<u32>().ok()?, host))) else {
        return Writer::Unknown;
    };
    let here = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if here.trim() != host {
        return Writer::Unknown;
    }
    let inode = fs::metadata(&lock).map(|metadata| metadata.ino()).unwrap_or_default();
    match fs::read_to_string("/proc/locks") {
        Ok(locks) if holds(&locks, process, inode) => Writer::Alive,
        _ if !Path::new(&format!("/proc/{process}")).exists() => Writer::Gone,
        // The number may belong to another process by now, or the file system may have no locks.
        _ => Writer::Unknown,
    }
}

/// Whether a process of this machine holds the lock of a run folder.
pub fn is_held(folder: &Path) -> bool {
    writer(folder) == Writer::Alive
}

/// Whether a line of /proc/locks says that the process holds a lock on the file.
fn holds(locks: &str, process: u32, inode: u64) -> bool {
    // 1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF
    let is_it = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, _, holder, file, ..] = fields[..] else { return false };
        let held = file.rsplit_once(':').map(|(_, inode)| inode);
        holder.parse() == Ok(process) && held.is_some_and(|held| held.parse() == Ok(inode))
    };
    locks.lines().any(is_it)
}

/// Whether the report of a run is later than its last event.
pub(super) fn has_last_report(folder: &Path, last_write: Option<SystemTime>) -> bool {
    let written = fs::metadata(folder.join("report.html")).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| last_write.is_some_and(|last| written >= last))
}

#[cfg(test)]
mod tests {
    use gradwatch_events::RunFolder;

    use super::*;

    const SIGNS: Signs = Signs {
        writer: Writer::Alive,
        silence: Duration::from_secs(5),
        longest_gap: Duration::from_secs(1),
        steps: 50,
        total_steps: Some(100),
        has_last_report: false,
        may_end_early: false,
    };

    #[test]
    fn a_run_trains_stalls_stops_and_finishes() {
        assert_eq!(SIGNS.state(), RunState::Training);
        let silent = Signs { silence: Duration::from_secs(61), ..SIGNS };
        assert_eq!(silent.state(), RunState::Stalled);
        // A step takes 20 s, so 61 s are nothing unusual.
        assert_eq!(Signs { longest_gap: Duration::from_secs(20), ..silent }.state(), RunState::Training);
        let gone = Signs { writer: Writer::Gone, ..SIGNS };
        assert_eq!(gone.state(), RunState::Stopped);
        assert_eq!(Signs { steps: 100, ..gone }.state(), RunState::Finished);
        // Stopped by a signal: the report is there, but steps are missing.
        assert_eq!(Signs { has_last_report: true, ..gone }.state(), RunState::Stopped);
        assert_eq!(Signs { has_last_report: true, may_end_early: true, ..gone }.state(), RunState::Finished);
    }

    #[test]
    fn files_of_another_program_do_not_tell_why_they_no_longer_grow() {
        let foreign = Signs { writer: Writer::Unknown, total_steps: None, ..SIGNS };
        assert_eq!(foreign.state(), RunState::Training);
        assert_eq!(Signs { silence: Duration::from_secs(3600), ..foreign }.state(), RunState::Silent);
    }

    #[test]
    fn the_holder_of_a_lock_is_found_without_taking_it() {
        let logdir = tempfile::tempdir().unwrap();
        assert_eq!(writer(logdir.path()), Writer::Unknown);
        let run = RunFolder::create(logdir.path(), "run").unwrap();
        let path = run.path().to_owned();
        assert_eq!(writer(&path), Writer::Alive);
        drop(run);
        // This process lives, but no longer holds the lock.
        assert_eq!(writer(&path), Writer::Unknown);
        let here = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        // Process numbers end below 2^22.
        fs::write(path.join("run.lock"), format!("process 4194305 on {here}")).unwrap();
        assert_eq!(writer(&path), Writer::Gone);
        fs::write(path.join("run.lock"), "process 4194305 on another-host\n").unwrap();
        assert_eq!(writer(&path), Writer::Unknown);
    }

    #[test]
    fn a_lock_of_another_process_or_file_is_none_of_this_run() {
        let locks = "1: POSIX  ADVISORY  READ 9 fd:01:5 0 EOF\n2: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF\n";
        assert!(holds(locks, 1234, 5678));
        assert!(!holds(locks, 9, 5678) && !holds(locks, 1234, 5) && !holds("", 1234, 5678));
    }
}
