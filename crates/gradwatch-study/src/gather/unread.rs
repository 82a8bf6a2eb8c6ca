//! Missing and damaged files of a run.

use std::{
    collections::BTreeSet,
    fmt::Display,
    io::{self, BufReader},
    path::Path,
};

use gradwatch_events::disk::{Folder, read_line};

use super::State;

/// Text of a run whose files are complete.
const NONE: &str = "none";

/// Text of a run without a folder.
const ALL: &str = "all";

/// The files of a run that could not be read completely, and why.
pub(super) struct Unread<'a> {
    pub run: &'a Path,
    /// `None` if the run has not ended, as far as the study knows. It may still be writing.
    state: Option<State>,
    files: BTreeSet<String>,
    pub notes: Vec<String>,
}

impl<'a> Unread<'a> {
    pub(super) fn new(run: &'a Path, state: Option<State>) -> Self {
        Self { run, state, files: BTreeSet::new(), notes: Vec::new() }
    }

    /// Notes a problem of a file: `cannot be read: ...`.
    pub(super) fn add(&mut self, file: &str, problem: impl Display) {
        self.notes.push(format!("{} {problem}", self.run.join(file).display()));
        self.files.insert(if file.is_empty() { ALL } else { file }.to_owned());
    }

    /// Notes that a file is missing, if the run should have it.
    pub(super) fn add_missing(&mut self, file: &str) {
        if self.should_have_files() {
            self.add(file, "is missing: its values are left out");
        }
    }

    /// Notes that the folder of the run is missing.
    pub(super) fn add_missing_folder(&mut self) {
        if self.should_have_files() {
            self.notes.push(format!("{} is missing: all of its values are left out", self.run.display()));
            self.files.insert(ALL.to_owned());
        }
    }

    /// A run that failed may have ended before it wrote a file.
    fn should_have_files(&self) -> bool {
        matches!(self.state, Some(State::Finished | State::Stopped))
    }

    /// Notes that a file ends within an entry, unless the run may have been killed while it wrote it.
    pub(super) fn add_cut(&mut self, file: &str) {
        if self.is_finished() {
            self.add(file, "ends within an entry: the run wrote more");
        }
    }

    /// Whether the run has ended by itself, so that its files are complete.
    pub(super) fn is_finished(&self) -> bool {
        self.state == Some(State::Finished)
    }

    /// Names of the files, separated by spaces; `None` if the run has neither ended nor any file.
    pub(super) fn names(&self) -> Option<String> {
        match self.files.is_empty() {
            true => (self.state.is_some() || self.run.is_dir()).then(|| NONE.to_owned()),
            false => Some(self.files.iter().map(String::as_str).collect::<Vec<_>>().join(" ")),
        }
    }

    /// Passes the lines of a file with a JSON object each to `each`, which returns whether a line is valid. Returns
    /// the number of damaged lines; `None` if the file was not read to its end, so that its last values are unknown.
    pub(super) fn read_lines(
        &mut self,
        file: &str,
        most_bytes: u64,
        mut each: impl FnMut(&mut Vec<u8>) -> bool,
    ) -> Option<usize> {
        let mut reader = match Folder::open(self.run).and_then(|folder| folder.open_file(file)) {
            Ok(opened) => BufReader::new(opened),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.add_missing(file);
                return None;
            }
            Err(error) => {
                self.add(file, format_args!("cannot be read: {error}"));
                return None;
            }
        };
        let (mut line, mut number, mut damaged) = (Vec::new(), 1u64, Vec::new());
        loop {
            match read_line(&mut reader, &mut line, most_bytes) {
                Ok(true) if each(&mut line) => {}
                Ok(true) => damaged.push(number),
                Ok(false) if line.is_empty() => break,
                // The line has no end.
                Ok(false) => {
                    self.add_cut(file);
                    break;
                }
                Err(error) => {
                    self.add(file, format_args!("cannot be read from line {number} on: {error}"));
                    return None;
                }
            }
            number += 1;
        }
        match damaged[..] {
            [] => {}
            [line] => self.add(file, format_args!("has a damaged line, which is left out: line {line}")),
            [first, ..] => {
                let count = damaged.len();
                self.add(
                    file,
                    format_args!("has {count} damaged lines, which are left out; the first is line {first}"),
                );
            }
        }
        Some(damaged.len())
    }
}
