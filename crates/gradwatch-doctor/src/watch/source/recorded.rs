//! Findings that a run wrote itself.

use std::{io::BufReader, path::Path, time::SystemTime};

use gradwatch_events::disk::{Folder, read_line};

use crate::{diagnosis::Finding, report::Report};

/// The latest state of each finding in findings.jsonl. A run checks more than its event files contain, such as the time
/// that it waits for images.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    findings: Vec<Finding>,
    stamp: Option<(u64, SystemTime)>,
}

impl Recorded {
    /// Longest line to read, in bytes.
    const MOST_LINE_BYTES: u64 = 1 << 24;

    /// Reads the file if it has changed.
    pub(super) fn update(&mut self, folder: &Path) {
        let file = Folder::open(folder).and_then(|folder| folder.open_file("findings.jsonl")).ok();
        let stamp = file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .and_then(|file| Some((file.len(), file.modified().ok()?)));
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        self.findings.clear();
        let Some(mut file) = file.map(BufReader::new) else { return };
        let mut line = Vec::new();
        while read_line(&mut file, &mut line, Self::MOST_LINE_BYTES).unwrap_or(false) {
            // Lines about alarms of other tools are no findings.
            let Ok(finding) = serde_json::from_slice::<Finding>(&line) else { continue };
            self.findings.retain(|known| known.rule != finding.rule);
            self.findings.push(finding);
        }
    }

    /// Adds the findings of rules that found nothing in the event files.
    pub(super) fn add_to(&self, report: &mut Report) {
        let is_known =
            |finding: &Finding| report.findings.iter().chain(&report.withdrawn).any(|known| known.rule == finding.rule);
        let new: Vec<Finding> =
            self.findings.iter().filter(|finding| finding.is_open() && !is_known(finding)).cloned().collect();
        report.findings.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use gradwatch_events::JsonLines;

    use super::*;
    use crate::{
        diagnosis::{FindingState, RuleName, Severity},
        report::fixture::finding,
    };

    #[test]
    fn the_last_line_of_a_rule_counts_and_known_rules_are_not_added() {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = JsonLines::open(folder.path().join("findings.jsonl")).unwrap();
        let starved = finding(RuleName::Starvation, Severity::Warning, 3);
        let state = FindingState::Withdrawn { step: 9, reason: "the loss has fallen".into() };
        let gone = Finding { state, ..finding(RuleName::LossPlateau, Severity::Warning, 3) };
        for finding in [&starved, &Finding { state: FindingState::Open, ..gone.clone() }, &gone] {
            lines.write(finding).unwrap();
        }
        lines.write(&serde_json::json!({ "step": 1, "alarm": {} })).unwrap();
        lines.write(&finding(RuleName::Vanishing, Severity::Critical, 3)).unwrap();
        let mut recorded = Recorded::default();
        recorded.update(folder.path());
        let mut report =
            Report { findings: vec![finding(RuleName::Vanishing, Severity::Info, 1)], ..Report::default() };
        recorded.add_to(&mut report);
        let told: Vec<_> = report.findings.iter().map(|finding| (finding.rule, finding.severity)).collect();
        assert_eq!(told, [(RuleName::Vanishing, Severity::Info), (RuleName::Starvation, Severity::Warning)]);
    }
}
