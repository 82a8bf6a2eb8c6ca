//! Compares runs that exist already, of gradwatch or any other program: configs, curves, findings, and final metrics.
//!
//! ```
//! use gradwatch_events::SummaryWriter;
//! use gradwatch_study::comparison::{ComparedRun, Comparison};
//!
//! let logdir = tempfile::tempdir()?;
//! let mut runs = Vec::new();
//! for (name, loss) in [("slow", 2.0), ("fast", 1.0)] {
//!     let writer = SummaryWriter::create(logdir.path().join(name))?;
//!     (0..20).try_for_each(|step| writer.scalar("Loss/train", step, loss))?;
//!     writer.close()?;
//!     runs.push(ComparedRun::read(&logdir.path().join(name))?);
//! }
//! let comparison = Comparison::new(runs);
//! assert!(comparison.terminal().contains("step loss"));
//! assert!(comparison.html().starts_with("<!DOCTYPE html>"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod page;
mod run;
mod terminal;

use std::collections::BTreeMap;

use gradwatch_doctor::{
    config::differences,
    diagnosis::{Finding, FindingState, RuleName},
};

pub use run::{ComparedRun, run_folders};

use crate::results::{Cell, Column, ColumnKind, Results, Row};

/// Config keys with the place of a run. They do not count as differences.
const PLACES: [&str; 2] = ["run.logdir", "run.name"];

/// Runs side by side.
#[derive(Debug, Clone)]
pub struct Comparison {
    runs: Vec<ComparedRun>,
    /// Names of the runs: their folders' names, or their paths if two names are equal.
    names: Vec<String>,
}

/// A property with its value in each run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Property {
    name: String,
    values: Vec<String>,
}

impl Property {
    /// Whether two runs have different values.
    fn differs(&self) -> bool {
        self.values.windows(2).any(|pair| pair[0] != pair[1])
    }
}

impl Comparison {
    /// Compares the runs, in this order.
    pub fn new(runs: Vec<ComparedRun>) -> Self {
        let short = |run: &ComparedRun| {
            let name = run.path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.unwrap_or_else(|| run.path.display().to_string())
        };
        let mut names: Vec<String> = runs.iter().map(short).collect();
        if (1..names.len()).any(|index| names[..index].contains(&names[index])) {
            names = runs.iter().map(|run| run.path.display().to_string()).collect();
        }
        // The same run may be given twice.
        let given = names.clone();
        for (index, name) in names.iter_mut().enumerate() {
            let before = given[..index].iter().filter(|other| *other == name).count();
            if before > 0 {
                *name = format!("{name} ({})", before + 1);
            }
        }
        Self { runs, names }
    }

    /// Config keys with different values, with those of each run; a dash for a run without a config.
    fn config_differences(&self) -> Vec<Property> {
        let configs: Vec<_> = self.runs.iter().map(|run| run.config.as_ref()).collect();
        let Some(first) = configs.iter().copied().flatten().next() else { return Vec::new() };
        // A run that a key has no difference for has the value of the first config.
        let mut keys: BTreeMap<String, (String, BTreeMap<usize, String>)> = BTreeMap::new();
        for (index, config) in configs.iter().enumerate() {
            let of_run = config.iter().flat_map(|config| differences(first, config));
            for difference in of_run.filter(|difference| !PLACES.contains(&&*difference.key)) {
                let text =
                    |value: Option<toml::Value>| value.map_or_else(|| "not set".to_owned(), |value| value.to_string());
                let entry = keys.entry(difference.key).or_insert_with(|| (text(difference.before), BTreeMap::new()));
                entry.1.insert(index, text(difference.after));
            }
        }
        let property = |(name, (before, mut others)): (String, (String, BTreeMap<usize, String>))| {
            let value = |(index, config): (usize, &Option<_>)| match config {
                Some(_) => others.remove(&index).unwrap_or_else(|| before.clone()),
                None => "–".to_owned(),
            };
            Property { name, values: configs.iter().enumerate().map(value).collect() }
        };
        keys.into_iter().map(property).collect()
    }

    /// Rules with a finding in any run, with severity and first step in each: those that differ first.
    fn findings(&self) -> Vec<Property> {
        let of =
            |run: &ComparedRun, rule: RuleName| run.findings.iter().find(|finding| finding.rule == rule).map(described);
        let has_finding = |rule: &&RuleName| self.runs.iter().any(|run| of(run, **rule).is_some());
        let property = |rule: &RuleName| Property {
            name: rule.name().to_owned(),
            values: self.runs.iter().map(|run| of(run, *rule).unwrap_or_else(|| "–".into())).collect(),
        };
        let mut findings: Vec<Property> = RuleName::ALL.iter().filter(has_finding).map(property).collect();
        findings.sort_by_key(|finding| !finding.differs());
        findings
    }

    /// Final metrics, one row per run.
    fn results(&self) -> Results {
        let columns = run::METRICS.iter().map(|(name, _)| (*name).to_owned());
        let columns = columns.chain(["verdict".to_owned(), "root cause".to_owned()]);
        let row = |(run, name): (&ComparedRun, &String)| {
            let numbers = run::METRICS.iter().map(|(_, metric)| metric(run).into());
            let texts = [run.verdict(), run.root_cause.map_or("–", RuleName::name)];
            let texts = texts.into_iter().map(|text| Cell::Text(text.to_owned()));
            Row { run: name.clone(), folder: run.path.clone(), cells: numbers.chain(texts).collect() }
        };
        Results {
            columns: columns.map(|name| Column { name, kind: ColumnKind::Measure }).collect(),
            rows: self.runs.iter().zip(&self.names).map(row).collect(),
        }
    }

    /// Notes of all runs about parts that could not be read, with the names of the runs.
    fn notes(&self) -> Vec<String> {
        let notes = self.runs.iter().zip(&self.names);
        notes.flat_map(|(run, name)| run.notes.iter().map(move |note| format!("{name}: {note}"))).collect()
    }

    /// Whether part of the files of a run could not be read.
    pub fn is_damaged(&self) -> bool {
        self.runs.iter().any(|run| run.is_damaged)
    }
}

/// Severity and first step of a finding: `critical, step 12`.
fn described(finding: &Finding) -> String {
    let state = match &finding.state {
        FindingState::Withdrawn { step, .. } => format!(", withdrawn at step {step}"),
        FindingState::Open | FindingState::Worsening => String::new(),
    };
    format!("{}, step {}{state}", finding.severity, finding.first_step)
}

#[cfg(test)]
mod tests;
