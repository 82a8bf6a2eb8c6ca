//! Series of a run from its event files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::BufReader,
    path::Path,
};

use gradwatch_doctor::{config::matches, number::count, replay::event_files};
use gradwatch_events::{
    EventFile, EventsError, Numbers, RecordError,
    disk::Folder,
    is_evaluation,
    proto::{Event, What},
};

/// Values by step, by tag.
pub type Series = BTreeMap<String, BTreeMap<u64, f64>>;

/// The series of a run, and the state of its event files.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunSeries {
    /// The series whose tags match.
    pub series: Series,
    /// All tags, of any kind of data.
    pub tags: BTreeSet<String>,
    /// Highest step with a value, of any tag.
    pub last_step: Option<u64>,
    /// Number of event files of the run.
    pub files: usize,
    /// Names of files that could not be read completely, each with the problem.
    pub damaged: Vec<(String, String)>,
    /// Names of files that end within a record: they are still being written, or were cut off.
    pub cut: Vec<String>,
}

/// Reads the series of a run whose tags match a pattern, in which `*` stands for any characters. If a step was taken
/// twice, the later value wins. Evaluations after the end of the run are not part of it.
pub fn read_series(run: &Path, patterns: &[&str]) -> RunSeries {
    let mut reader = Reader { patterns, wanted: HashMap::new(), of_run: RunSeries::default() };
    let unreadable = |error: &dyn std::fmt::Display| (String::new(), format!("cannot be read: {error}"));
    let (folder, paths) = match (Folder::open(run), event_files(run)) {
        (Ok(folder), Ok(paths)) => (folder, paths),
        (Err(cause), _) => {
            reader.of_run.damaged.push(unreadable(&cause));
            return reader.of_run;
        }
        (_, Err(cause)) => {
            reader.of_run.damaged.push(unreadable(&cause));
            return reader.of_run;
        }
    };
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    names.filter(|name| !is_evaluation(name)).for_each(|name| reader.read(&folder, name));
    reader.of_run.tags = reader.wanted.into_keys().collect();
    reader.of_run
}

struct Reader<'a> {
    patterns: &'a [&'a str],
    /// Whether a tag matches a pattern.
    wanted: HashMap<String, bool>,
    of_run: RunSeries,
}

impl Reader<'_> {
    fn read(&mut self, folder: &Folder, name: &str) {
        self.of_run.files += 1;
        let file = match folder.open_file(name) {
            Ok(file) => file,
            Err(cause) => {
                self.of_run.damaged.push((name.to_owned(), format!("cannot be read: {cause}")));
                return;
            }
        };
        let (mut has_events, mut errors) = (false, Vec::new());
        for event in EventFile::new(name, BufReader::new(file)) {
            match event {
                Ok(event) => {
                    has_events = true;
                    self.add(event);
                }
                Err(EventsError::Record { cause: RecordError::Truncated { .. }, .. }) => {
                    self.of_run.cut.push(name.to_owned());
                }
                Err(EventsError::Record { cause, .. }) => errors.push(cause.to_string()),
                Err(EventsError::NotAnEvent { offset, cause, .. }) => {
                    errors.push(format!("has no event in the record at byte {offset}: {cause}"));
                }
                Err(error) => errors.push(error.to_string()),
            }
        }
        let is_cut = self.of_run.cut.last().is_some_and(|cut| cut == name);
        if !has_events && errors.is_empty() && !is_cut {
            // Every file starts with a record of its version.
            self.of_run.cut.push(name.to_owned());
        }
        match &errors[..] {
            [] => {}
            [error] => self.of_run.damaged.push((name.to_owned(), error.clone())),
            [first, others @ ..] => {
                let problem = format!("{first} ({} of this kind)", count(others.len(), "more error"));
                self.of_run.damaged.push((name.to_owned(), problem));
            }
        }
    }

    fn add(&mut self, event: Event) {
        let (Ok(step), Some(What::Summary(summary))) = (u64::try_from(event.step), event.what) else { return };
        if !summary.value.is_empty() {
            self.of_run.last_step = self.of_run.last_step.max(Some(step));
        }
        for mut value in summary.value {
            let tag = std::mem::take(&mut value.tag);
            if self.is_wanted(&tag)
                && let Some(Numbers::Scalar(number)) = Numbers::of(value)
            {
                self.of_run.series.entry(tag).or_default().insert(step, number);
            }
        }
    }

    fn is_wanted(&mut self, tag: &str) -> bool {
        if let Some(is_wanted) = self.wanted.get(tag) {
            return *is_wanted;
        }
        let is_wanted = self.patterns.iter().any(|pattern| matches(pattern, tag));
        self.wanted.insert(tag.to_owned(), is_wanted);
        is_wanted
    }
}
