//! Verdict and findings of a run, from its `findings.jsonl`.

use gradwatch_doctor::diagnosis::{Diagnosis, Finding};
use serde::{Deserialize, de::IgnoredAny};

use super::{Values, named, unread::Unread};
use crate::results::Cell;

const FILE: &str = "findings.jsonl";
/// Longest line to read, in bytes.
const MOST_LINE_BYTES: u64 = 1 << 26;
/// Text of a run without findings.
const NONE: &str = "none";
/// Verdict of a run without findings.
const HEALTHY: &str = "healthy";

/// An alarm of another tool's rule.
#[derive(Deserialize)]
struct Alarm {
    #[serde(rename = "alarm")]
    _alarm: IgnoredAny,
}

/// Reads the findings of a run.
pub(super) fn read(unread: &mut Unread<'_>) -> Values {
    let Some(diagnosis) = read_diagnosis(unread) else { return Values::new() };
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

/// The findings as they were last reported, without alarms of other tools' rules; `None` if a part of
/// the file is damaged: the run may have had other findings.
fn read_diagnosis(unread: &mut Unread<'_>) -> Option<Diagnosis> {
    let mut news = Vec::new();
    let damaged = unread.read_lines(FILE, MOST_LINE_BYTES, |line| {
        let finding = serde_json::from_slice::<Finding>(line).ok();
        let is_valid = finding.is_some() || serde_json::from_slice::<Alarm>(line).is_ok();
        news.extend(finding);
        is_valid
    });
    (damaged == Some(0)).then(|| Diagnosis::of_news(news))
}
