//! Series of a run from its event files.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufReader},
    path::Path,
};

use gradwatch_doctor::config::matches;
use gradwatch_events::{
    EventFile, EventsError, Numbers, RecordError,
    disk::Folder,
    is_evaluation, is_hparams,
    proto::{Event, What},
};

/// Values by step, by tag.
pub type Series = BTreeMap<String, BTreeMap<u64, f64>>;

/// Reads the series of a run whose tags match a pattern, in which `*` stands for any characters. Of a step that the run
/// took twice, the later value counts. Returns them with notes about what could not be read. A record that is still
/// being written is not noted.
pub fn read_series(run: &Path, patterns: &[&str]) -> (Series, Vec<String>) {
    let (mut reader, mut notes) = (Reader { patterns, wanted: HashMap::new(), series: Series::new() }, Vec::new());
    let unreadable = |path: &Path, cause: io::Error| format!("{} cannot be read: {cause}", path.display());
    let (folder, names) = match event_files(run) {
        Ok(files) => files,
        Err(cause) => return (reader.series, vec![unreadable(run, cause)]),
    };
    for name in names {
        let path = run.join(&name);
        let file = match folder.open_file(&name) {
            Ok(file) => file,
            Err(cause) => {
                notes.push(unreadable(&path, cause));
                continue;
            }
        };
        for event in EventFile::new(path, BufReader::new(file)) {
            match event {
                Ok(event) => reader.add(event),
                Err(EventsError::Record { cause: RecordError::Truncated { .. }, .. }) => {}
                Err(error) => notes.push(error.to_string()),
            }
        }
    }
    (reader.series, notes)
}

/// The folder of a run, and the names of its event files in the order of their creation. Evaluations after the end of
/// the run and sessions of the HParams page are not part of it.
fn event_files(run: &Path) -> io::Result<(Folder, Vec<String>)> {
    let folder = Folder::open(run)?;
    let names = folder.names()?.into_iter().filter_map(|name| name.into_string().ok());
    let is_of_run = |name: &String| name.contains("tfevents") && !is_evaluation(name) && !is_hparams(name);
    let mut names: Vec<String> = names.filter(is_of_run).collect();
    // They start with the time in seconds.
    names.sort_unstable();
    Ok((folder, names))
}

struct Reader<'a> {
    patterns: &'a [&'a str],
    /// Whether a tag matches a pattern.
    wanted: HashMap<String, bool>,
    series: Series,
}

impl Reader<'_> {
    fn add(&mut self, event: Event) {
        let (Ok(step), Some(What::Summary(summary))) = (u64::try_from(event.step), event.what) else { return };
        for mut value in summary.value {
            let tag = std::mem::take(&mut value.tag);
            if self.is_wanted(&tag)
                && let Some(Numbers::Scalar(number)) = Numbers::of(value)
            {
                self.series.entry(tag).or_default().insert(step, number);
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
