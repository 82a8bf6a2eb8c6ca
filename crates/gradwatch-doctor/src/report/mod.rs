//! Renders the report of a run as HTML, Markdown, JSON, and a few lines for the terminal.
//!
//! This module reads and writes no files. [`Course`] collects data in bounded memory; [`html`] renders a standalone
//! page.
//!
//! ```
//! use gradwatch_doctor::{diagnosis::Observation, report::{self, Course, Report}};
//!
//! let mut course = Course::default();
//! for step in 0..100 {
//!     let loss = 2.3 / (step + 1) as f64;
//!     course.add(&Observation { step, loss, learning_rate: 0.1, total_norm: 1.0, ..Observation::default() });
//! }
//! let report = Report { title: "MLP".into(), run: "run-1".into(), steps: 100, course, ..Report::default() };
//! assert_eq!(report.verdict().sentence, "Healthy: no problems found in 100 steps.");
//! assert!(report::html(&report).starts_with("<!DOCTYPE html>"));
//! assert_eq!(report::terminal(&report), "verdict     Healthy: no problems found in 100 steps.");
//! ```

mod chart;
mod classes;
mod course;
mod curves;
mod depth;
mod evidence;
mod finding;
mod grid;
mod heat_map;
mod json;
mod layer_rows;
mod layer_table;
mod log_median;
mod markdown;
mod page;
mod profiles;
mod rank_course;
mod ranks;
mod repairs;
mod scale;
mod series;
mod terminal;
mod verdict;

pub use classes::{ClassRow, Illustration};
pub use course::Course;
pub use json::json;
pub use markdown::markdown;
pub use page::{STYLE, html, list};
pub use repairs::Repairs;
pub use scale::Scale;
pub use terminal::terminal;
pub use verdict::Verdict;

pub(crate) use grid::{Grid, Table};
pub(crate) use profiles::Profile;
pub(crate) use rank_course::RankCourse;
pub(crate) use series::Series;
pub(crate) use terminal::details;
pub(crate) use verdict::phrase_of;

use crate::config::Config;
use crate::diagnosis::{Alarm, Diagnosis, Finding, FindingState, RankFacts};

/// Contents of a report.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Title, such as the model and the data set.
    pub title: String,
    /// Name or path of the run.
    pub run: String,
    /// The complete config as TOML, if there is one.
    pub config: Option<String>,
    /// More key facts, such as the device or the run time, as pairs of name and value.
    pub facts: Vec<(String, String)>,
    /// Problems of the run that still hold.
    pub findings: Vec<Finding>,
    /// Findings that no longer hold.
    pub withdrawn: Vec<Finding>,
    /// Index of the finding to fix first.
    pub root_cause: Option<usize>,
    /// Changes that the run made to its own config.
    pub repairs: Repairs,
    /// Alarms of other tools' rules.
    pub alarms: Vec<Alarm>,
    /// Curves, heat maps, and layer statistics of the run.
    pub course: Course,
    /// Host and device of each rank of a data-parallel run; empty with one process.
    pub ranks: Vec<RankFacts>,
    /// Per-class metrics of the last evaluation.
    pub classes: Vec<ClassRow>,
    /// Grad-CAM pictures of the model's predictions.
    pub illustrations: Vec<Illustration>,
    /// Other notes.
    pub notes: Vec<String>,
    /// Rules that could not be checked, and why.
    pub not_judged: Vec<String>,
    /// Number of steps taken.
    pub steps: u64,
}

impl Report {
    /// The config of the run, parsed; `None` without one, or if this version does not read it.
    fn parsed_config(&self) -> Option<Config> {
        Config::parse(self.config.as_deref()?, &self.run).ok()
    }

    /// Adds the findings of a diagnosis and marks its root cause.
    pub fn with_findings(self, diagnosis: &Diagnosis) -> Self {
        let (findings, withdrawn): (Vec<_>, Vec<_>) = diagnosis.findings().iter().cloned().partition(Finding::is_open);
        // Compares the rule, because each rule has one finding, and figures that are NaN equal nothing.
        let is_it = |root: &Finding| findings.iter().position(|finding| finding.rule == root.rule);
        let root_cause = diagnosis.root_cause().and_then(is_it);
        Self { findings, withdrawn, root_cause, ..self }
    }

    /// Adds the repairs of the run. Findings that a change has ended are withdrawn.
    pub fn with_repairs(self, repairs: Repairs) -> Self {
        let root = self.root_cause.and_then(|index| self.findings.get(index)).map(|finding| finding.rule);
        let (mut findings, mut withdrawn) = (Vec::new(), self.withdrawn);
        for finding in self.findings {
            match repairs.history.ended_at(&finding) {
                Some(step) => {
                    let state = FindingState::Withdrawn { step, reason: "a repair has ended it".to_owned() };
                    withdrawn.push(Finding { state, ..finding });
                }
                None => findings.push(finding),
            }
        }
        let worst = findings.iter().map(|finding| finding.severity).max();
        let is_root = |finding: &Finding| Some(finding.rule) == root;
        let is_worst = |finding: &Finding| Some(finding.severity) == worst;
        let root_cause = findings.iter().position(is_root).or_else(|| findings.iter().position(is_worst));
        Self { findings, withdrawn, root_cause, repairs, ..self }
    }

    /// Withdrawn findings, one line each.
    fn withdrawn_lines(&self) -> Vec<String> {
        self.withdrawn.iter().map(Finding::to_string).collect()
    }

    /// Alarms of other tools' rules, one line each.
    fn alarm_lines(&self) -> Vec<String> {
        self.alarms.iter().map(Alarm::to_string).collect()
    }
}

/// Index of an entry, which is nearly always at `next`.
fn index_of<T>(entries: &[T], next: usize, is_it: impl Fn(&T) -> bool) -> Option<usize> {
    match entries.get(next) {
        Some(entry) if is_it(entry) => Some(next),
        _ => entries.iter().position(is_it),
    }
}

#[cfg(test)]
pub(crate) mod fixture;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Facts, Observation, Subject};

    #[test]
    fn a_root_cause_with_a_figure_that_is_nan_is_still_the_root_cause() {
        let (facts, mut diagnosis) = (Facts { classes: 10, ..Facts::default() }, Diagnosis::default());
        let subject = Subject { config: None, facts: &facts };
        for (step, loss, skipped_in_a_row) in [(0, 2.3, 0), (1, 9.0, 0), (2, f64::NAN, 1)] {
            let seen = Observation { step, loss, total_norm: 1.0, skipped_in_a_row, ..Observation::default() };
            diagnosis.judge(&seen, &subject);
        }
        let report = Report::default().with_findings(&diagnosis);
        assert!(report.findings[0].figures.iter().any(|figure| figure.seen.is_nan()));
        assert_eq!(report.root_cause, Some(0));
    }
}
