//! The report of a run for the terminal.

use super::{Report, verdict::phrase_of};
use crate::{
    diagnosis::{Finding, FindingState},
    number::count,
};

/// Most findings to print after the first.
const OTHERS: usize = 3;
/// Most changes to print.
const REMEDIES: usize = 3;

/// Renders the report in at most ten lines, plus one for repairs and one for each alarm of another tool, without a final newline.
pub fn terminal(report: &Report) -> String {
    let mut lines = vec![line("verdict", &report.verdict().sentence)];
    let findings = report.ranked();
    if let Some(first) = findings.first() {
        lines.extend(details(first));
    }
    let others = findings.get(1..).unwrap_or_default();
    let told = if others.len() > OTHERS { OTHERS - 1 } else { others.len() };
    for (index, other) in others[..told].iter().enumerate() {
        let text =
            format!("{} ({}){} since step {}", phrase_of(other), other.severity, other.place(), other.first_step);
        lines.push(line(if index == 0 { "also" } else { "" }, &text));
    }
    if others.len() > told {
        lines.push(line("", &format!("and {}", count(others.len() - told, "more finding"))));
    }
    if let Some(repairs) = report.repairs.summary() {
        lines.push(line("repairs", &repairs));
    }
    if !report.withdrawn.is_empty() {
        let reason = |finding: &Finding| match &finding.state {
            FindingState::Withdrawn { step, reason } => format!("{} (at step {step}: {reason})", finding.rule),
            _ => finding.rule.to_string(),
        };
        lines.push(line("withdrawn", &report.withdrawn.iter().map(reason).collect::<Vec<_>>().join(", ")));
    }
    if !report.not_judged.is_empty() {
        lines.push(line("not checked", &report.not_judged.join("; ")));
    }
    if !report.notes.is_empty() {
        lines.push(line("notes", &report.notes.join("; ")));
    }
    for (index, alarm) in report.alarm_lines().iter().enumerate() {
        lines.push(line(if index == 0 { "rule sets" } else { "" }, alarm));
    }
    lines.join("\n")
}

/// The cause of a finding and its first changes, a line each.
pub(crate) fn details(finding: &Finding) -> Vec<String> {
    let mut lines = vec![line("cause", &finding.cause)];
    for (index, remedy) in finding.remedies.iter().take(REMEDIES).enumerate() {
        lines.push(line(if index == 0 { "try" } else { "or" }, &format!("{}: {}", remedy.change, remedy.why)));
    }
    lines
}

fn line(label: &str, text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Names may contain control characters that move the cursor.
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    format!("{label:<12}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{Remedy, RuleName, Severity},
        report::fixture::{finding, report},
    };

    #[test]
    fn a_finding_is_told_with_its_cause_and_its_remedies() {
        let text = terminal(&report(20, vec![finding(RuleName::Vanishing, Severity::Critical, 5)]));
        let want = "\
verdict     The run cannot succeed with these settings: the gradient vanishes on its way to the input in conv1 to fc, \
since step 5.
cause       the gradient shrinks at every layer
try         model.activation = \"relu\": its slope is 1
or          model.normalization = \"batch\": it keeps sizes";
        assert_eq!(text, want);
    }

    #[test]
    fn a_withdrawn_finding_is_listed_with_its_reason() {
        let state = FindingState::Withdrawn { step: 9, reason: "the loss has fallen".into() };
        let withdrawn = vec![Finding { state, ..finding(RuleName::Exploding, Severity::Info, 5) }];
        let text = terminal(&Report { withdrawn, ..report(20, vec![]) });
        assert!(text.ends_with("withdrawn   exploding (at step 9: the loss has fallen)"), "{text}");
    }

    #[test]
    fn there_are_ten_lines_at_most() {
        let mut findings: Vec<Finding> =
            RuleName::ALL.iter().map(|rule| finding(*rule, Severity::Warning, 0)).collect();
        let remedy = Remedy { change: "a = 1".into(), why: "it\nhelps\u{1b}[2J".into() };
        findings.iter_mut().for_each(|finding| finding.remedies = vec![remedy.clone(); 9]);
        let notes = vec!["one".into(), "two".into()];
        let text = terminal(&Report { notes: notes.clone(), not_judged: notes, ..report(20, findings) });
        assert_eq!(text.lines().count(), 10, "{text}");
        let more = format!("and {} more findings", RuleName::ALL.len() - 3);
        assert!(text.contains(&more) && text.ends_with("notes       one; two"), "{text}");
        assert!(text.contains("a = 1: it helps[2J"), "{text}");
    }
}
