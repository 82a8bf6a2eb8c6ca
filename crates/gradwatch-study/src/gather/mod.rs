//! Reads the results of a study from the files of its runs.

mod absent_tag;
mod evaluations;
mod findings;
mod positions;
mod reduce;
mod series;
mod unread;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    panic::resume_unwind,
    path::Path,
    thread,
};

use gradwatch_doctor::{config::matches, named_enum, telemetry::tags};
use serde::{Deserialize, Serialize};

use crate::{
    definition::{Measure, SEED, Study, UNREAD_FILES},
    grid::Plan,
    results::{Cell, Results, Row},
};
pub(crate) use absent_tag::absence;
pub use series::{RunSeries, Series, read_series};
use unread::Unread;

named_enum! {
    /// How far a run has come.
    pub enum State {
        /// It has ended by itself.
        Finished = "finished",
        /// It has ended with an error.
        Failed = "failed",
        /// It was stopped, or successive halving ended it.
        Stopped = "stopped",
    }
}

/// End of a run, as its runner knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// How far the run has come.
    pub state: State,
    /// Why it ended, such as `run.max_steps reached`.
    pub ending: String,
    /// Wall time.
    pub seconds: f64,
}

/// Results of a study, and notes about values that they lack.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gathered {
    /// The results.
    pub results: Results,
    /// Missing and damaged files of the runs, and measures of a tag that no run has.
    pub notes: Vec<String>,
}

/// Names of event files.
const EVENT_FILES: &str = "events.out.tfevents.*";

/// Values of a run by column.
type Values = BTreeMap<String, Cell>;

impl Results {
    /// Reads the results of the runs in `folder`, the folder of the study. `states` has the end of each run that was
    /// started, by name. Values that a run does not have are missing. Files that are missing although the run has ended,
    /// or that cannot be read, are noted, and so are measures of a tag that no run has.
    pub fn gather(study: &Study, plans: &[Plan], folder: &Path, states: &BTreeMap<String, RunState>) -> Gathered {
        let columns = study.columns();
        let row = |plan: &Plan| {
            let (run, state) = (folder.join(&plan.name), states.get(&plan.name));
            let mut values = of_plan(plan);
            values.extend(state.into_iter().flat_map(of_state));
            let mut unread = Unread::new(&run, state.map(|state| state.state));
            let mut tags = BTreeSet::new();
            if run.is_dir() {
                values.extend(of_files(study, &mut unread, &mut tags));
            } else {
                unread.add_missing_folder();
            }
            values.extend(unread.names().map(|names| (UNREAD_FILES.to_owned(), Cell::Text(names))));
            let notes = std::mem::take(&mut unread.notes);
            let cells = columns.iter().map(|column| values.remove(&column.name).unwrap_or(Cell::Missing)).collect();
            (Row { run: plan.name.clone(), folder: run, cells }, notes, tags)
        };
        let (mut rows, mut notes, mut tags) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (row, of_run, of_files) in on_all_cores(plans, row) {
            rows.push(row);
            notes.extend(of_run);
            tags.extend(of_files);
        }
        let results = Self { columns, rows };
        notes.extend(absent_measures(study, &results, &tags));
        Gathered { results, notes }
    }
}

/// A note for each measure of a tag that no run has; no notes before a run has written any tag.
fn absent_measures(study: &Study, results: &Results, tags: &BTreeSet<String>) -> Vec<String> {
    let has_value = |name: &str| {
        let column = results.column(name);
        results.rows.iter().any(|row| column.and_then(|column| row.cells.get(column)) != Some(&Cell::Missing))
    };
    let is_absent = |measure: &&Measure| {
        let is_scalar = |tag: &String| matches(&measure.tag, tag);
        !tags.is_empty() && !has_value(&measure.name) && (measure.steps.is_none() || !tags.iter().any(is_scalar))
    };
    let note = |measure: &Measure| format!("measure {}: {}", measure.name, absence(&measure.tag, tags));
    study.measures.iter().filter(is_absent).map(note).collect()
}

/// Applies a function to all items, on all cores. The results are in the order of the items.
fn on_all_cores<T: Sync, R: Send>(items: &[T], function: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let each = |items: &[T]| items.iter().map(&function).collect::<Vec<R>>();
    thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(cores).max(1));
        let threads: Vec<_> = parts.map(|items| scope.spawn(move || each(items))).collect();
        let parts = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        parts.flatten().collect()
    })
}

fn of_plan(plan: &Plan) -> Values {
    let seed = (SEED.to_owned(), Cell::integer(plan.seed));
    plan.labels.iter().cloned().chain([seed]).collect()
}

fn of_state(state: &RunState) -> Values {
    named([
        ("state", Cell::Text(state.state.to_string())),
        ("ending", Cell::Text(state.ending.clone())),
        ("seconds", Cell::Number(state.seconds)),
    ])
}

/// Values from the files of a run. Adds the tags of its event files if the study has measures.
fn of_files(study: &Study, unread: &mut Unread<'_>, tags: &mut BTreeSet<String>) -> Values {
    let metrics = evaluations::read(unread);
    let mut values = findings::read(unread);
    let slopes = [tags::DEPTH_SLOPE.name(), tags::DEPTH_SLOPE_ERROR.name()];
    let patterns: Vec<&str> = slopes
        .into_iter()
        .chain([tags::VALIDATION_LOSS.name()])
        .chain(study.measures.iter().map(|measure| &*measure.tag))
        .collect();
    let RunSeries { series, tags: of_run, last_step, files, damaged, cut } = read_series(unread.run, &patterns);
    damaged.iter().for_each(|(file, problem)| unread.add(file, problem));
    cut.iter().for_each(|file| unread.add_cut(file));
    let evaluated_at = series.get(tags::VALIDATION_LOSS.name()).and_then(|series| series.keys().next_back()).copied();
    match metrics {
        Some(metrics) if metrics.reaches(last_step, evaluated_at) || !unread.is_finished() => {
            values.extend(metrics.values);
        }
        Some(_) => unread.add(evaluations::FILE, "ends before the event files: its values are left out"),
        None => {}
    }
    if files == 0 && damaged.is_empty() {
        unread.add_missing(EVENT_FILES);
    }
    if !study.measures.is_empty() {
        tags.extend(of_run);
    }
    values.extend(of_slopes(&series, slopes));
    let measured = study.measures.iter().map(|measure| (measure.name.clone(), reduce::value(measure, &series)));
    values.extend(measured);
    if study.gradient_problems {
        values.extend(positions::read(unread));
    }
    values
}

/// The slope of the depth profile at step 0 and at the last step, from the tags of the slope and its error.
fn of_slopes(series: &Series, [slope, error]: [&str; 2]) -> Values {
    let at_start = |tag| series.get(tag).and_then(|series| series.get(&0)).copied();
    let at_end = series.get(slope).and_then(|series| series.values().next_back()).copied();
    named([
        ("initial_slope", at_start(slope).into()),
        ("initial_slope_error", at_start(error).into()),
        ("final_slope", at_end.into()),
    ])
}

fn named<const N: usize>(values: [(&str, Cell); N]) -> Values {
    values.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod unread_tests;
