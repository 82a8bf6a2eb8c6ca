//! All runs below a folder that train.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Event, Once, What, run::FollowedRun};
use crate::{
    diagnosis::{Finding, Severity},
    number::count,
    printable, replay,
};

/// Follows a run, or the runs below a folder.
pub(crate) struct Follower {
    root: PathBuf,
    tags: Vec<String>,
    runs: BTreeMap<PathBuf, FollowedRun>,
    once: Once,
    scanned: Option<Instant>,
}

impl Follower {
    /// Time between two looks for new runs.
    const SCAN: Duration = Duration::from_secs(5);

    /// Follows the run at `root`, or the runs below it. Unknown tags are mapped by patterns of the form `role=pattern`.
    pub(crate) fn new(root: &Path, tags: &[String]) -> Self {
        Self { root: root.to_owned(), tags: tags.to_vec(), runs: BTreeMap::new(), once: Once::default(), scanned: None }
    }

    /// Reads what is new, until the deadline, and passes on what there is to tell. Returns whether everything is read.
    pub(crate) fn poll(&mut self, deadline: Instant, mut tell: impl FnMut(Event)) -> bool {
        if self.runs.is_empty() || self.scanned.is_none_or(|scanned| scanned.elapsed() >= Self::SCAN) {
            self.scanned = Some(Instant::now());
            self.scan(&mut tell);
        }
        let is_alone = self.is_one_run();
        for (path, run) in &mut self.runs {
            if !is_alone && !run.is_due() {
                continue;
            }
            let name = (!is_alone).then(|| printable::path(path.strip_prefix(&self.root).unwrap_or(path)));
            if !run.poll(deadline, &mut |what| tell(Event { run: path.clone(), name: name.clone(), what })) {
                return false;
            }
        }
        true
    }

    /// Whether the path is a run, and not a folder of runs.
    fn is_one_run(&self) -> bool {
        self.runs.len() == 1 && self.runs.contains_key(&self.root)
    }

    fn scan(&mut self, tell: &mut impl FnMut(Event)) {
        let Self { root, tags, runs, once, .. } = self;
        let mut note = |run: &Path, text: String| {
            if once.is_new(&format!("{} {text}", run.display())) {
                tell(Event { run: run.to_owned(), name: None, what: What::Note(text) });
            }
        };
        let found = match replay::runs(root) {
            Ok(found) => found,
            // The run itself tells that its files are gone, and is there again when they are.
            Err(_) if runs.contains_key(root) => return,
            Err(replay::ReplayError::NoEvents { .. }) => {
                note(root, "no event files yet (events.out.tfevents.*); waits for them".into());
                Vec::new()
            }
            Err(error) => {
                note(root, format!("cannot be read now, so gradwatch waits: {}", printable::line(&error.to_string())));
                Vec::new()
            }
        };
        runs.retain(|path, _| {
            let is_there = found.contains(path);
            if !is_there {
                note(path, "was removed".into());
            }
            is_there
        });
        let is_one_run = found == [root.clone()];
        let mut idle = 0;
        for path in found {
            if is_one_run || runs.contains_key(&path) || FollowedRun::is_live(&path) {
                runs.entry(path.clone()).or_insert_with(|| FollowedRun::new(&path, tags));
            } else {
                idle += 1;
            }
        }
        if idle > 0 {
            let does = if idle == 1 { "does not grow and is" } else { "do not grow and are" };
            note(root, format!("{} {does} followed only when new steps come", count(idle, "run")));
        }
    }

    /// Worst severity of the open findings of a run that has ended; `None` while it may go on. A folder of several runs
    /// never ends, because runs may be added.
    pub(crate) fn end(&self) -> Option<Option<Severity>> {
        let run = self.runs.get(&self.root).filter(|run| self.is_one_run() && run.has_ended())?;
        Some(run.worst())
    }

    /// Worst severity of the open findings of all runs, if no file has changed for so long. `None` also without files.
    pub(crate) fn idle(&self, time: Duration) -> Option<Option<Severity>> {
        let quiet = self.runs.values().map(FollowedRun::quiet).min();
        quiet.filter(|quiet| *quiet >= time)?;
        Some(self.runs.values().filter_map(FollowedRun::worst).max())
    }

    /// The first finding with this severity or a worse one, with its run.
    pub(crate) fn confirmed(&self, least: Severity) -> Option<(&Path, &Finding)> {
        self.runs.iter().find_map(|(path, run)| Some((path.as_path(), run.confirmed(least)?)))
    }
}
