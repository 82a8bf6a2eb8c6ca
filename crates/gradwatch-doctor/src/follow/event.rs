//! What there is to tell about a followed run, as text and as JSON.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    diagnosis::{Finding, FindingState},
    number::count,
    printable,
    report::{details, phrase_of},
    watch::RunState,
};

/// How a finding has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    New,
    /// More severe, or on another rank.
    Worse,
    Resolved,
}

impl Change {
    fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worse => "worse",
            Self::Resolved => "resolved",
        }
    }
}

/// Something to tell about a run.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Folder or event file of the run.
    pub run: PathBuf,
    /// Name of the run, if there are several.
    pub name: Option<String>,
    pub what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// Everything that was written before is read.
    Start {
        steps: u64,
        findings: usize,
    },
    Finding {
        change: Change,
        finding: Box<Finding>,
    },
    /// The run has ended.
    End {
        state: RunState,
        steps: u64,
        findings: usize,
    },
    /// Something about the files, for stderr.
    Note(String),
}

impl Event {
    /// Lines for people, without a final newline. Text of foreign files may contain control characters.
    pub(crate) fn text(&self, now: OffsetDateTime) -> String {
        let run = || printable::path(&self.run);
        match &self.what {
            What::Note(note) => format!("{}: {note}", run()),
            What::Start { steps, findings } => {
                format!(
                    "{}following {}: {} so far, {}",
                    self.start(now, None),
                    run(),
                    steps_of(*steps),
                    open(*findings)
                )
            }
            What::End { state, steps, findings } => {
                let end = match state {
                    RunState::Finished => "the run finished",
                    _ => "the run stopped before its last step",
                };
                format!("{}{end} after {}, {}", self.start(now, None), steps_of(*steps), open(*findings))
            }
            What::Finding { change: Change::Resolved, finding } => {
                format!("{}resolved: {finding}", self.start(now, Some(step_of(finding))))
            }
            What::Finding { change, finding } => {
                let Finding { rule, severity, first_step, .. } = &**finding;
                let (start, phrase, place) =
                    (self.start(now, Some(step_of(finding))), phrase_of(finding), finding.place());
                let change = change.label();
                let first = format!("{start}{change} {severity} {rule}: {phrase}{place}, since step {first_step}");
                std::iter::once(first).chain(details(finding)).collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// Time, name of the run, and step.
    fn start(&self, now: OffsetDateTime, step: Option<u64>) -> String {
        let name = self.name.iter().map(|name| format!("{name}  ")).collect::<String>();
        let step = step.map(|step| format!("step {step}  ")).unwrap_or_default();
        format!("{}  {name}{step}", time(now))
    }

    /// One JSON object; `None` for notes. A finding has the keys `run`, `step`, and `finding` of the messages that a
    /// training run sends.
    pub(crate) fn json(&self, now: OffsetDateTime) -> Option<Value> {
        let (event, more) = match &self.what {
            What::Note(_) => return None,
            What::Start { steps, findings } => ("start", json!({ "steps": steps, "findings": findings })),
            What::End { state, steps, findings } => {
                ("end", json!({ "state": state.label(), "steps": steps, "findings": findings }))
            }
            What::Finding { change, finding } => {
                (change.label(), json!({ "step": step_of(finding), "finding": finding }))
            }
        };
        let mut line = Map::new();
        line.insert("time".into(), time(now).into());
        line.insert("event".into(), event.into());
        line.insert("run".into(), self.run.display().to_string().into());
        if let Value::Object(more) = more {
            line.extend(more);
        }
        Some(line.into())
    }
}

/// UTC time with seconds.
fn time(now: OffsetDateTime) -> String {
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}

/// Step at which a finding was seen last, or at which it was withdrawn.
fn step_of(finding: &Finding) -> u64 {
    match &finding.state {
        FindingState::Withdrawn { step, .. } => *step,
        _ => finding.last_step,
    }
}

fn steps_of(steps: u64) -> String {
    count(steps as usize, "step")
}

fn open(findings: usize) -> String {
    if findings == 0 { "no open findings".into() } else { count(findings, "open finding") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{RuleName, Severity},
        report::fixture::finding,
    };

    fn at(what: What, name: Option<&str>) -> (Event, OffsetDateTime) {
        let event = Event { run: "logs/a".into(), name: name.map(str::to_owned), what };
        (event, OffsetDateTime::from_unix_timestamp(1_767_366_245).unwrap())
    }

    #[test]
    fn a_finding_has_time_step_severity_rule_layers_cause_and_changes() {
        let what =
            |change| What::Finding { change, finding: Box::new(finding(RuleName::Vanishing, Severity::Critical, 5)) };
        let (event, now) = at(what(Change::New), None);
        let want = "\
2026-01-02T15:04:05Z  step 25  new critical vanishing: the gradient vanishes on its way to the input in conv1 to fc, \
since step 5
cause       the gradient shrinks at every layer
try         model.activation = \"relu\": its slope is 1
or          model.normalization = \"batch\": it keeps sizes";
        assert_eq!(event.text(now), want);
        let (event, _) = at(what(Change::Worse), Some("a"));
        assert!(event.text(now).starts_with("2026-01-02T15:04:05Z  a  step 25  worse critical vanishing: "));
        let json = event.json(now).unwrap();
        assert_eq!((&json["event"], &json["step"], &json["run"]), (&"worse".into(), &25.into(), &"logs/a".into()));
        assert_eq!((&json["finding"]["rule"], &json["time"]), (&"vanishing".into(), &"2026-01-02T15:04:05Z".into()));
    }

    #[test]
    fn a_resolved_finding_tells_why() {
        let state = FindingState::Withdrawn { step: 40, reason: "the loss has fallen".into() };
        let resolved = Finding { state, ..finding(RuleName::Vanishing, Severity::Critical, 5) };
        let (event, now) = at(What::Finding { change: Change::Resolved, finding: Box::new(resolved) }, None);
        let want = "2026-01-02T15:04:05Z  step 40  resolved: vanishing, found at step 5 in conv1 to fc, is withdrawn at \
                    step 40: the loss has fallen";
        assert_eq!(event.text(now), want);
        assert_eq!(event.json(now).unwrap()["step"], 40);
    }

    #[test]
    fn start_and_end_tell_the_steps_and_the_open_findings() {
        let (event, now) = at(What::Start { steps: 1, findings: 0 }, None);
        assert_eq!(event.text(now), "2026-01-02T15:04:05Z  following logs/a: 1 step so far, no open findings");
        let (event, _) = at(What::End { state: RunState::Finished, steps: 600, findings: 2 }, Some("a"));
        assert_eq!(event.text(now), "2026-01-02T15:04:05Z  a  the run finished after 600 steps, 2 open findings");
        assert_eq!(event.json(now).unwrap()["state"], "finished");
        let (event, _) = at(What::End { state: RunState::Stopped, steps: 6, findings: 0 }, None);
        assert!(event.text(now).ends_with("the run stopped before its last step after 6 steps, no open findings"));
        assert_eq!(at(What::Note("odd".into()), None).0.json(now), None);
    }
}
