//! The file of a study: the runs, and the charts and tables that compare them.
//!
//! All problems of a file are reported at once, as for a config.

mod axis;
mod chart;
mod check;
mod columns;
mod error;
mod filter;
mod halving;
mod keys;
mod measure;
mod names;
mod settings;

use std::path::{Path, PathBuf};

use gradwatch_doctor::config::{Notes, RunConfig, Section, parse_toml};
use gradwatch_events::disk;
use toml::Value;

use crate::results::Cell;
pub(crate) use axis::last_part;
pub use axis::{Axis, AxisValue};
pub(crate) use chart::slug;
pub use chart::{ChartDefinition, ChartKind, Scale, TableDefinition};
pub(crate) use columns::{RUN, SEED, UNREAD_FILES};
pub use error::StudyError;
pub use filter::Filter;
pub use halving::{Goal, Halving};
pub use measure::{Measure, Reduction};

/// Largest study file to read, in bytes.
pub(crate) const MOST_BYTES: u64 = 1 << 20;
/// The file that lists all keys of a study.
const ALL_KEYS: &str = "docs/studies.md";

/// A study, from its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// Name of the file, without `.toml`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Contents of the file.
    pub text: String,
    /// Config of all runs.
    pub base: PathBuf,
    /// The question that the study answers.
    pub question: Option<String>,
    /// Overrides of the base for all runs.
    pub set: Vec<(String, Value)>,
    /// Settings that the runs differ in. Every combination is a run.
    pub axes: Vec<Axis>,
    /// Seeds. Every combination runs once with each.
    pub seeds: Vec<u64>,
    /// Combinations to leave out: those that all filters of any entry admit.
    pub exclusions: Vec<Vec<Filter>>,
    /// Successive halving, if the worst runs end early.
    pub halving: Option<Halving>,
    /// Whether the results have a column for every position in the network and every problem of its gradients.
    pub gradient_problems: bool,
    /// Additional columns.
    pub measures: Vec<Measure>,
    /// Charts.
    pub charts: Vec<ChartDefinition>,
    /// Tables.
    pub tables: Vec<TableDefinition>,
}

impl Study {
    /// Reads a study file.
    ///
    /// # Errors
    /// If the file cannot be read, or if a key or value is invalid.
    pub fn load(path: &Path) -> Result<Self, StudyError> {
        let refuse = |cause| StudyError::Unreadable { path: path.to_owned(), cause };
        let text = disk::read_regular_text(path, MOST_BYTES).map_err(refuse)?;
        Self::parse(text, path)
    }

    /// Reads the text of a study file. The path of the base starts at the folder of `path`.
    ///
    /// # Errors
    /// If a key or value is invalid, or the base cannot be read.
    pub fn parse(text: String, path: &Path) -> Result<Self, StudyError> {
        let name = path.display().to_string();
        let table = parse_toml(&text).map_err(|message| StudyError::Syntax { name: name.clone(), message })?;
        let notes = Notes::referring_to(ALL_KEYS);
        let study = Self::read(Section::root(table, &notes), text, path, &notes);
        study.check(&notes);
        let problems = notes.into_problems();
        if problems.is_empty() { Ok(study) } else { Err(StudyError::Invalid { name, problems }) }
    }

    /// Reads the root table. If a problem is noted, the study is not valid.
    fn read(mut root: Section<'_>, text: String, path: &Path, notes: &Notes) -> Self {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let base = names::text(&mut root, "base", "the config of all runs, relative to the study file");
        let base = base.map(|base| path.parent().unwrap_or(Path::new("")).join(base));
        let seed = base.as_ref().and_then(|base| base_seed(base, &root)).unwrap_or_else(|| RunConfig::default().seed);
        let base = base.unwrap_or_default();
        let question = root.optional("question", |text: &String| !text.trim().is_empty(), "text");
        let set = keys::flat(root.section("set").rest());
        let mut axes = keys::flat(root.section("axes").rest());
        keys::sort_as_written(&mut axes, "axes", &text);
        let axes = axes.into_iter().map(|(name, value)| Axis::read(name, value, notes)).collect();
        let are_seeds = |seeds: &Vec<u64>| !seeds.is_empty() && !has_duplicates(seeds);
        let seeds = root.optional("seeds", are_seeds, "a list of different seeds");
        let seeds = seeds.unwrap_or_else(|| vec![seed]);
        let exclusions = root.numbered_sections("exclude").into_iter().map(Filter::read).collect();
        let gradient_problems = root.any("gradient_problems", false);
        let measures = root.numbered_sections("measures").into_iter().filter_map(Measure::read).collect();
        let mut study = Self {
            name,
            path: path.to_owned(),
            text,
            base,
            question,
            set,
            axes,
            seeds,
            exclusions,
            halving: None,
            gradient_problems,
            measures,
            charts: Vec::new(),
            tables: Vec::new(),
        };
        // The rest refers to columns.
        let columns = study.columns();
        let halving = root.has("halving").then(|| root.section("halving"));
        study.halving = halving.and_then(|section| Halving::read(section, &columns));
        let has_texts = |axis: &&Axis| axis.values.iter().any(|value| matches!(value.label, Cell::Text(_)));
        let texts = study.axes.iter().filter(has_texts).map(|axis| &*axis.name);
        let texts: Vec<&str> = texts.chain(columns::TEXTS).collect();
        let of_charts = root.numbered_sections("charts").into_iter();
        let charts = of_charts.filter_map(|section| ChartDefinition::read(section, &columns, &texts)).collect();
        study.charts = charts;
        let of_tables = root.numbered_sections("tables").into_iter();
        study.tables = of_tables.filter_map(|section| TableDefinition::read(section, &columns)).collect();
        root.finish();
        study
    }
}

/// Seed in the base, if there is one. Reports a base that cannot be read.
fn base_seed(base: &Path, root: &Section<'_>) -> Option<u64> {
    let report = |text: String| root.problem("base", format!("{}: {text}", base.display()));
    let text = disk::read_regular_text(base, MOST_BYTES)
        .map_err(|cause| report(format!("{cause}; want the path of a config, relative to the study file")));
    let table = parse_toml(&text.ok()?).map_err(|message| report(format!("not valid TOML: {message}"))).ok()?;
    table.get("run")?.get("seed")?.as_integer()?.try_into().ok()
}

fn has_duplicates<T: PartialEq>(values: &[T]) -> bool {
    values.iter().enumerate().any(|(index, value)| values[..index].contains(value))
}

#[cfg(test)]
mod scale_tests;
#[cfg(test)]
mod tests;
