//! Writes the results of a study for TensorBoard's HParams page, and for its table of runs on the Time Series page.
//!
//! TensorBoard takes the folder of a session's hyperparameters as the run of its metrics. The session of a run is
//! therefore in a separate event file in the run's folder. Resuming, replaying, and diagnosing the run skip this file. The
//! columns of the page are in an event file in the study's folder, which is TensorBoard's `--logdir`.

use std::{
    io,
    path::{Path, PathBuf},
};

use gradwatch_events::{
    EventBytes, EventFile, EventsError, Hparams, RunFolder, Value, WallTime,
    disk::Folder,
    hparams::{Domain, Experiment, Hparam, HparamValue, Metric, SessionEnd, SessionStart, Status},
    hparams_file, is_hparams, is_session,
};

use super::{Cell, ColumnKind, Results};

/// Prefix of the tags of results, which keeps them apart from the series of the run.
const PREFIX: &str = "study/";

/// Contents of the page, besides the axes of the study.
#[derive(Debug, Clone, Copy)]
pub struct HparamsPage<'a> {
    /// Markdown text.
    pub description: &'a str,
    /// Columns of the results. Their numbers become scalars `study/<column>` of the run, at its last step.
    pub columns: &'a [&'a str],
    /// Tags of the run's own scalars, such as `accuracy/validation`. The page shows the last value of each, and all
    /// values of a selected session.
    pub tags: &'a [&'a str],
}

/// Writes the columns to `folder`, and the session of each run to the run's folder. Replaces the files of an earlier call.
/// Runs that differ only by their seed have one line, with the means of their metrics.
///
/// Returns one line per run with a folder and without a session, with the reason: it has no events, or another process
/// uses its folder.
///
/// # Errors
/// If a file cannot be written.
pub fn write_hparams(folder: &Path, results: &Results, page: HparamsPage<'_>) -> Result<Vec<String>, EventsError> {
    let (mut left_out, mut created) = (Vec::new(), None);
    let has_started = |index: &usize| results.rows[*index].folder.is_dir();
    for index in (0..results.rows.len()).filter(has_started) {
        match write_session(results, index, page) {
            Ok(started) => created = Some(created.map_or(started, |created: f64| created.min(started))),
            Err(error @ EventsError::Write { .. }) => return Err(error),
            Err(error) => left_out.push(format!("{} is not on the HParams page: {error}", results.rows[index].run)),
        }
    }
    let metric = |tag: String, display_name: &str| Metric { tag, display_name: display_name.to_owned() };
    let columns = page.columns.iter().map(|column| metric(format!("{PREFIX}{column}"), column));
    let created = WallTime::from_secs(created.unwrap_or(0.0))?;
    let experiment = Experiment {
        description: page.description.to_owned(),
        created,
        hparams: axes(results).map(|(column, name)| hparam(results, column, name)).collect(),
        metrics: columns.chain(page.tags.iter().map(|tag| metric((*tag).to_owned(), ""))).collect(),
    };
    let mut bytes = EventBytes::new(created);
    bytes.hparams(created, Hparams::Experiment(experiment));
    let write = |cause| EventsError::Write { path: folder.join(hparams_file(None)), cause };
    Folder::make(folder).and_then(|folder| folder.replace(hparams_file(None), &bytes.into_bytes())).map_err(write)?;
    Ok(left_out)
}

/// Index and name of each axis.
fn axes(results: &Results) -> impl Iterator<Item = (usize, &str)> {
    let columns = results.columns.iter().enumerate().filter(|(_, column)| column.kind == ColumnKind::Axis);
    columns.map(|(index, column)| (index, column.name.as_str()))
}

/// Values of an axis in the order of their first run.
fn hparam(results: &Results, column: usize, name: &str) -> Hparam {
    let mut values = Vec::new();
    for value in (0..results.rows.len()).filter_map(|row| value(results, column, row)) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    Hparam { name: name.to_owned(), display_name: String::new(), domain: Domain::Discrete(values) }
}

/// Value of an axis. The page wants one type per column, so numbers next to text are text. Its numbers would round large
/// integers, which are therefore text too.
fn value(results: &Results, column: usize, row: usize) -> Option<HparamValue> {
    let has_text = results.rows.iter().any(|row| matches!(row.cells[column], Cell::Text(_) | Cell::Integer(_)));
    match &results.rows[row].cells[column] {
        Cell::Text(text) => Some(HparamValue::Text(text.clone())),
        Cell::Number(number) if has_text => Some(HparamValue::Text(number.to_string())),
        Cell::Number(number) => Some(HparamValue::Number(*number)),
        Cell::Integer(integer) => Some(HparamValue::Text(integer.to_string())),
        Cell::Missing => None,
    }
}

/// Writes the session of a run. Returns the time of its start in seconds since 1970.
fn write_session(results: &Results, row: usize, page: HparamsPage<'_>) -> Result<f64, EventsError> {
    let path = &results.rows[row].folder;
    let run = RunFolder::open(path)?;
    let read = |cause| EventsError::Open { path: path.clone(), cause };
    // Names of event files are ASCII, and start with their creation time in seconds.
    let mut names: Vec<_> =
        run.folder().names().map_err(read)?.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort_unstable();
    let mut sessions = names.iter().filter(|name| is_session(name));
    let no_events = || EventsError::NoRun { path: path.clone(), missing: "its event file" };
    let first = sessions.next().ok_or_else(no_events)?;
    let name = hparams_file(Some(sessions.next_back().unwrap_or(first)));
    let started = started(&path.join(first))?;
    let number = |column: &str| number(results, column, row);
    let ended =
        WallTime::from_secs(started.as_secs() + number("seconds").filter(|secs| secs.is_finite()).unwrap_or(0.0))?;
    let bytes = session(results, row, page, started, ended);
    let write = |cause| EventsError::Write { path: path.join(&name), cause };
    run.folder().replace(&name, &bytes).map_err(write)?;
    for earlier in names.iter().filter(|earlier| is_hparams(earlier) && **earlier != name) {
        run.folder().remove(earlier).map_err(write)?;
    }
    Ok(started.as_secs())
}

/// The event file of a session.
fn session(results: &Results, row: usize, page: HparamsPage<'_>, started: WallTime, ended: WallTime) -> Vec<u8> {
    let number = |column: &str| number(results, column, row);
    let values: Vec<_> =
        axes(results).filter_map(|(column, name)| Some((name.to_owned(), value(results, column, row)?))).collect();
    let mut bytes = EventBytes::new(started);
    let start = SessionStart { group: group(&values), values, started };
    bytes.hparams(started, Hparams::SessionStart(start));
    // Steps are whole and never negative; the cast of any other number saturates.
    let step = number("steps").unwrap_or(0.0) as u64;
    for (column, number) in page.columns.iter().filter_map(|column| Some((column, number(column)?))) {
        bytes.value(ended, format!("{PREFIX}{column}"), step, Value::Scalar(number));
    }
    let status = match text(results, "state", row) {
        Some("finished") => Status::Success,
        Some("failed") => Status::Failure,
        _ => Status::Unknown,
    };
    bytes.hparams(ended, Hparams::SessionEnd(SessionEnd { status, ended }));
    bytes.into_bytes()
}

/// The name that runs with equal values have in common.
fn group(values: &[(String, HparamValue)]) -> String {
    let value = |value: &HparamValue| match value {
        HparamValue::Number(number) => number.to_string(),
        HparamValue::Text(text) => text.clone(),
        HparamValue::Bool(bool) => bool.to_string(),
    };
    values.iter().map(|(name, of_run)| format!("{name}={}", value(of_run))).collect::<Vec<_>>().join(", ")
}

/// Time of the first event of a file.
fn started(path: &PathBuf) -> Result<WallTime, EventsError> {
    let empty = || EventsError::Open { path: path.clone(), cause: io::ErrorKind::UnexpectedEof.into() };
    let event = EventFile::open(path)?.next().ok_or_else(empty)??;
    WallTime::from_secs(event.wall_time)
}

fn cell<'a>(results: &'a Results, column: &str, row: usize) -> Option<&'a Cell> {
    let column = results.columns.iter().position(|of_results| of_results.name == column)?;
    results.rows[row].cells.get(column)
}

fn number(results: &Results, column: &str, row: usize) -> Option<f64> {
    cell(results, column, row)?.number()
}

fn text<'a>(results: &'a Results, column: &str, row: usize) -> Option<&'a str> {
    match cell(results, column, row)? {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
