//! The scalars in the event files of a run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use gradwatch::events::{
    EventFile,
    proto::{Content, What},
};

/// The event files of a run, in the order in which TensorBoard reads them.
pub(crate) fn event_files(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let is_events = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents.");
    let mut found: Vec<PathBuf> = entries.filter(is_events).collect();
    found.sort();
    found
}

/// Every scalar of a run: the bits of each value by tag and step. Fails on a damaged or truncated file, or if the steps
/// of a tag do not increase.
pub(crate) fn scalars(run: &Path) -> BTreeMap<(String, i64), u32> {
    let mut values = BTreeMap::new();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for event in event_files(run).into_iter().flat_map(|file| EventFile::open(file).unwrap()) {
        let event = event.unwrap();
        let Some(What::Summary(summary)) = event.what else { continue };
        for value in summary.value {
            if let Some(Content::SimpleValue(number)) = value.content {
                let before = last.insert(value.tag.clone(), event.step);
                assert!(before < Some(event.step), "{} at step {} after {before:?}", value.tag, event.step);
                values.insert((value.tag, event.step), number.to_bits());
            }
        }
    }
    values
}
