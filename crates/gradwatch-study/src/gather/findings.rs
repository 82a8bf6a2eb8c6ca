//! Verdict and findings of a run, from its `findings.jsonl` and `repairs.jsonl`.

use gradwatch_doctor::{
    diagnosis::{Diagnosis, Finding},
    repair::{REPAIRS, RepairHistory},
    report::{Repairs, Report},
};
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

/// Reads the findings of a run, as its report has them.
pub(super) fn read(unread: &mut Unread<'_>) -> Values {
    let Some(diagnosis) = read_diagnosis(unread) else { return Values::new() };
    let history = RepairHistory::of_run(unread.run).unwrap_or_else(|error| {
        unread.add(REPAIRS, error);
        RepairHistory::default()
    });
    let report = Report::default().with_findings(&diagnosis).with_repairs(Repairs::of(history));
    let open = report.ranked();
    let root = report.root_cause.and_then(|index| report.findings.get(index));
    let worst = report.verdict().severity;
    named([
        ("verdict", Cell::Text(worst.map_or_else(|| HEALTHY.to_owned(), |severity| severity.to_string()))),
        ("root_cause", Cell::Text(root.map_or_else(|| NONE.to_owned(), |finding| finding.rule.to_string()))),
        ("findings", list(&open)),
        ("withdrawn", list(&report.withdrawn.iter().collect::<Vec<_>>())),
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
