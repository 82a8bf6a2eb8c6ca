//! Verdict and findings of a run, from its `findings.jsonl`.

use std::{
    io::{self, BufRead, BufReader},
    path::Path,
};

use gradwatch_doctor::diagnosis::{Diagnosis, Finding};
use gradwatch_events::disk::Folder;

use super::{Values, named};
use crate::results::Cell;

const FILE: &str = "findings.jsonl";
/// Text of a run without findings.
const NONE: &str = "none";
/// Verdict of a run without findings.
const HEALTHY: &str = "healthy";

/// Reads the findings of a run.
pub(super) fn read(run: &Path, notes: &mut Vec<String>) -> Values {
    let diagnosis = match read_diagnosis(run) {
        Ok(diagnosis) => diagnosis,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Values::new(),
        Err(error) => {
            notes.push(format!("{} cannot be read: {error}", run.join(FILE).display()));
            return Values::new();
        }
    };
    let root = diagnosis.root_cause().map(|finding| finding.rule);
    let (mut open, withdrawn): (Vec<&Finding>, Vec<&Finding>) =
        diagnosis.findings().iter().partition(|finding| finding.is_open());
    // As the report of the run lists them.
    open.sort_by_key(|finding| (root != Some(finding.rule), std::cmp::Reverse(finding.severity), finding.first_step));
    let worst = open.iter().map(|finding| finding.severity).max();
    named([
        ("verdict", Cell::Text(worst.map_or_else(|| HEALTHY.to_owned(), |severity| severity.to_string()))),
        ("root_cause", Cell::Text(root.map_or_else(|| NONE.to_owned(), |rule| rule.to_string()))),
        ("findings", list(&open)),
        ("withdrawn", list(&withdrawn)),
    ])
}

/// `rule@first_step` of each finding.
fn list(findings: &[&Finding]) -> Cell {
    let names: Vec<String> =
        findings.iter().map(|finding| format!("{}@{}", finding.rule, finding.first_step)).collect();
    Cell::Text(if names.is_empty() { NONE.to_owned() } else { names.join(" ") })
}

/// The findings as they were last reported. Lines that are not findings, such as alarms of other tools' rules, and an
/// incomplete last line are left out.
fn read_diagnosis(run: &Path) -> io::Result<Diagnosis> {
    let lines = BufReader::new(Folder::open(run)?.open_file(FILE)?).lines().collect::<io::Result<Vec<_>>>()?;
    Ok(Diagnosis::of_news(lines.iter().filter_map(|line| serde_json::from_str::<Finding>(line).ok())))
}
