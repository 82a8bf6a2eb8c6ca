//! Reads the results of a study from the files of its runs.

mod evaluations;
mod findings;
mod positions;
mod reduce;
mod series;

use std::{collections::BTreeMap, num::NonZero, panic::resume_unwind, path::Path, thread};

use gradwatch_doctor::{named_enum, telemetry::tags};
use serde::{Deserialize, Serialize};

use crate::{
    definition::{SEED, Study},
    grid::Plan,
    results::{Cell, Results, Row},
};
pub use series::{Series, read_series};

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

/// Results of a study, and notes about files that could not be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gathered {
    /// The results.
    pub results: Results,
    /// Files and parts of files that are left out, and why.
    pub notes: Vec<String>,
}

/// Values of a run by column.
type Values = BTreeMap<String, Cell>;

impl Results {
    /// Reads the results of the runs in `folder`, the folder of the study. `states` has the end of each run that was
    /// started, by name. Values that a run does not have are missing; files that cannot be read are noted.
    pub fn gather(study: &Study, plans: &[Plan], folder: &Path, states: &BTreeMap<String, RunState>) -> Gathered {
        let columns = study.columns();
        let row = |plan: &Plan| {
            let (run, mut notes) = (folder.join(&plan.name), Vec::new());
            let mut values = of_plan(plan);
            values.extend(states.get(&plan.name).into_iter().flat_map(of_state));
            if run.is_dir() {
                values.extend(of_files(study, &run, &mut notes));
            }
            let cells = columns.iter().map(|column| values.remove(&column.name).unwrap_or(Cell::Missing)).collect();
            (Row { run: plan.name.clone(), folder: run, cells }, notes)
        };
        let (rows, notes): (_, Vec<_>) = on_all_cores(plans, row).into_iter().unzip();
        Gathered { results: Results { columns, rows }, notes: notes.concat() }
    }
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
    let seed = (SEED.to_owned(), Cell::Number(plan.seed as f64));
    plan.labels.iter().cloned().chain([seed]).collect()
}

fn of_state(state: &RunState) -> Values {
    named([
        ("state", Cell::Text(state.state.to_string())),
        ("ending", Cell::Text(state.ending.clone())),
        ("seconds", Cell::Number(state.seconds)),
    ])
}

/// Values from the files of a run.
fn of_files(study: &Study, run: &Path, notes: &mut Vec<String>) -> Values {
    let mut values = evaluations::read(run, notes);
    values.extend(findings::read(run, notes));
    let slopes = [tags::DEPTH_SLOPE.name(), tags::DEPTH_SLOPE_ERROR.name()];
    let patterns: Vec<&str> = slopes.into_iter().chain(study.measures.iter().map(|measure| &*measure.tag)).collect();
    let (series, unread) = read_series(run, &patterns);
    notes.extend(unread);
    values.extend(of_slopes(&series, slopes));
    let measured = study.measures.iter().map(|measure| (measure.name.clone(), reduce::value(measure, &series)));
    values.extend(measured);
    if study.gradient_problems {
        values.extend(positions::read(run, notes));
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
