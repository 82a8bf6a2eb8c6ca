//! Studies: grids of training runs, their results, and the charts and pages that compare them.
//!
//! ```text
//! STUDY.toml -> Study -> grid: one Plan per run -> (the runs) -> Results -> charts, tables, pages
//! ```
//!
//! Needs no libtorch: the runs are ordinary runs of `gradwatch train`, and this crate reads their files.
//!
//! ```
//! use std::{collections::BTreeMap, fs};
//!
//! use gradwatch_study::{Results, Study};
//!
//! let folder = tempfile::tempdir()?;
//! let base = "run.max_steps = 100\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"";
//! fs::write(folder.path().join("base.toml"), base)?;
//! let text = "base = \"base.toml\"\nseeds = [1, 2]\naxes.model.depth = [4, 8]";
//! let study = Study::parse(text.to_owned(), &folder.path().join("depths.toml"))?;
//!
//! let plans = study.grid()?.plans;
//! assert_eq!(plans[0].name, "depth=4,seed=1");
//! assert_eq!(plans[0].assignments, ["model.depth=4", "run.seed=1"]);
//! // None of the runs has started.
//! let results = Results::gather(&study, &plans, folder.path(), &BTreeMap::new()).results;
//! assert_eq!((results.rows.len(), &*results.columns[0].name), (4, "model.depth"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod definition;
#[cfg(test)]
mod fixture;
mod folder;
mod gather;
mod gradient_problems;
mod grid;
mod halving;
mod hparams;
mod results;

pub mod groups;

pub mod chart;

mod table;

mod page;

pub mod comparison;

mod output;

pub use definition::{
    Axis, AxisValue, ChartDefinition, ChartKind, Filter, Goal, Halving, Measure, Reduction, Scale, Study, StudyError,
    TableDefinition,
};
pub use folder::{Identity, RunRecord, StudyFolder, StudyFolderError};
pub use gather::{Gathered, RunSeries, RunState, Series, State, read_series};
pub use grid::{Grid, InvalidRun, Plan};
pub use halving::survivors;
pub use hparams::{HparamsPage, write_hparams};
pub use output::{StudyOutputError, write_study};
pub use page::{StudyNotes, study_page};
pub use results::{Cell, Column, ColumnKind, Results, ResultsError, Row};
pub use table::Table;
