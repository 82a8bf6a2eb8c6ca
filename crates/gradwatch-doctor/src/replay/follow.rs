//! A run that is read while it is being written.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use gradwatch_events::disk::open_regular;

use super::{Replay, ReplayError, ReplayEvent, files, metrics::Metrics, reading::Reading};

/// Identity, length, and first bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    /// An event file starts with the time of its creation, which tells whether it was written again in place.
    start: Vec<u8>,
}

impl Stamp {
    const START: u64 = 64;

    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let mut start = Vec::new();
        let _ = open_regular(path).map(|file| file.take(Self::START).read_to_end(&mut start));
        Some(Self { file: (metadata.dev(), metadata.ino()), bytes: metadata.len(), start })
    }

    /// Whether a file that was read up to a byte has only grown since.
    fn has_only_grown(then: Option<&Self>, now: Option<&Self>, bytes_read: u64) -> bool {
        match (then, now) {
            (None, None) => true,
            (Some(then), Some(now)) => {
                then.file == now.file && now.bytes >= bytes_read && now.start.starts_with(&then.start)
            }
            _ => false,
        }
    }
}

/// Reads a run as far as it is written, and reads on later. Memory does not grow with the length of the run.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use gradwatch_doctor::replay::{Follow, ReplayEvent};
/// use gradwatch_events::SummaryWriter;
///
/// let logdir = tempfile::tempdir()?;
/// let writer = SummaryWriter::create(logdir.path())?;
/// (0..20).try_for_each(|step| writer.scalar("loss", step, 2.0))?;
/// writer.close()?;
/// let mut follow = Follow::open(logdir.path(), &[])?;
/// let mut last = 0;
/// let mut each = |event| if let ReplayEvent::Step(sample) = event { last = sample.step };
/// assert!(follow.read(Instant::now() + Duration::from_secs(60), &mut each));
/// // The last steps stay open for values that come late.
/// follow.look_ahead(&mut each);
/// assert_eq!(last, 19);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Follow {
    replay: Replay,
    reading: Reading,
    metrics: Metrics,
    /// Stamps of the event files at their opening, and those of config.toml and metrics.jsonl.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    others: [(PathBuf, Option<Stamp>); 2],
    /// Number of parameters in the facts at the opening.
    parameters: usize,
}

impl Follow {
    /// Events to read before looking at the clock again.
    const BATCH: usize = 256;

    /// Opens a run like [`Replay::open`].
    ///
    /// # Errors
    /// If there is nothing to read, or if a pattern is invalid.
    pub fn open(path: &Path, patterns: &[String]) -> Result<Self, ReplayError> {
        // Taken first, so that a file that is replaced during the opening is noticed.
        let stamped = |path: PathBuf| (Stamp::of(&path), path);
        let others = ["config.toml", "metrics.jsonl"].map(|name| stamped(files::folder(path).join(name)));
        let before: Vec<_> = files::sources(path)?.into_iter().map(|source| stamped(source.path)).collect();
        let (replay, metrics) = Replay::open_with_metrics(path, patterns)?;
        let of_source =
            |path: &PathBuf| before.iter().find(|(_, other)| other == path).and_then(|(stamp, _)| stamp.clone());
        let stamps = replay.sources.iter().map(|source| (source.path.clone(), of_source(&source.path))).collect();
        let mut reading = Reading::new(&replay);
        reading.follow();
        let others = others.map(|(stamp, path)| (path, stamp));
        let parameters = replay.facts.parameters.len();
        Ok(Self { parameters, replay, reading, metrics, stamps, others })
    }

    /// Passes on what was written since the last call, except for the last [`Replay::AHEAD`] steps. Returns whether
    /// everything was read before the deadline.
    pub fn read(&mut self, deadline: Instant, mut each: impl FnMut(ReplayEvent)) -> bool {
        let Self { replay, reading, metrics, .. } = self;
        let mut places = std::mem::take(&mut replay.rank_places);
        if let Err(error) = metrics.read(&mut replay.facts, &mut places) {
            replay.notes.push(format!("metrics.jsonl cannot be read any further: {error}"));
            *metrics = Metrics::default();
        }
        let mut each = |mut event| {
            places.add_to(&mut event);
            each(event);
        };
        reading.events.read_on();
        let mut events = 0;
        let is_done = loop {
            let Some(event) = reading.events.next() else { break true };
            reading.add(replay, event, &mut each);
            events += 1;
            if events % Self::BATCH == 0 && Instant::now() >= deadline {
                break false;
            }
        };
        replay.rank_places = places;
        is_done
    }

    /// Passes on the last steps, which stay open. The next [`read`](Self::read) passes them on again with the values
    /// that come late.
    pub fn look_ahead(&self, each: impl FnMut(ReplayEvent)) {
        self.look_ahead_to(u64::MAX, each);
    }

    /// Like [`look_ahead`](Self::look_ahead), without the last step, whose values may not all be written yet.
    pub fn look_ahead_before_last(&self, each: impl FnMut(ReplayEvent)) {
        self.look_ahead_to(self.reading.position.last_open().unwrap_or_default(), each);
    }

    fn look_ahead_to(&self, end: u64, mut each: impl FnMut(ReplayEvent)) {
        let mut each = |mut event| {
            self.replay.rank_places.add_to(&mut event);
            each(event);
        };
        self.reading.position.clone().pass_on(end, &self.replay.facts, &mut each);
    }

    /// Adds new event files. Returns whether a file was cut back, replaced, or removed, or precedes files already read,
    /// so that the run must be opened again.
    pub fn is_outdated(&mut self) -> bool {
        let changed = |(path, then): &(PathBuf, Option<Stamp>), bytes_read: u64| {
            !Stamp::has_only_grown(then.as_ref(), Stamp::of(path).as_ref(), bytes_read)
        };
        let cut_back = |(source, bytes): (usize, u64)| self.stamps.get(source).is_some_and(|file| changed(file, bytes));
        // A run that was opened before metrics.jsonl had its first line, with the facts, is opened again.
        let [config, metrics] = &self.others;
        self.reading.events.bytes_read().any(cut_back)
            || changed(config, 0)
            || changed(metrics, self.metrics.bytes_read())
            || self.replay.facts.parameters.len() != self.parameters
            || !self.add_sources()
    }

    /// Adds event files that are new. Returns whether all of them come after the known ones.
    fn add_sources(&mut self) -> bool {
        let Ok(sources) = files::sources(&self.replay.path) else { return false };
        let last = self.replay.sources.iter().filter(|source| source.part.is_empty()).map(|source| &source.path).max();
        let is_known = |path: &Path| self.stamps.iter().any(|(known, _)| known == path);
        let new: Vec<_> = sources.into_iter().filter(|source| !is_known(&source.path)).collect();
        // Links in a run folder of gradwatch are skipped.
        let is_link = |path: &Path| self.replay.config.is_some() && path.is_symlink();
        if new.iter().any(|new| new.part.is_empty() && Some(&new.path) < last && !is_link(&new.path)) {
            return false;
        }
        for source in new.into_iter().filter(|source| !is_link(&source.path)) {
            self.reading.events.add(self.replay.sources.len(), source.path.clone());
            self.stamps.push((source.path.clone(), Stamp::of(&source.path)));
            self.replay.sources.push(source);
        }
        true
    }

    /// Config, facts, roles, and notes so far.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Notes about everything read so far. With `is_over`, also about files that end inside a record.
    pub fn notes(&self, is_over: bool) -> Vec<String> {
        let torn = self.reading.events.torn().filter(|_| is_over);
        let torn =
            torn.map(|source| format!("{} ends within a record: it was cut off", self.replay.sources[source].name()));
        let mut notes: Vec<String> = self.replay.notes.iter().cloned().chain(torn).collect();
        notes.extend(self.reading.notes());
        notes.extend(self.replay.last_notes(&self.reading.position));
        notes
    }

    /// Checks that a value was read, and that a tag is known.
    ///
    /// # Errors
    /// If neither is so.
    pub fn check_values(&self) -> Result<(), ReplayError> {
        self.replay.check_values()
    }

    /// Bytes read of the event files, and bytes that they have.
    pub fn progress(&self) -> [u64; 2] {
        let bytes = self.stamps.iter().filter_map(|(path, _)| Some(fs::metadata(path).ok()?.len())).sum();
        [self.reading.events.bytes_read().map(|(_, bytes)| bytes).sum(), bytes]
    }

    /// Time of the last write to an event file.
    pub fn last_write(&self) -> Option<SystemTime> {
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        self.stamps.iter().filter_map(|(path, _)| modified(path)).max()
    }
}
