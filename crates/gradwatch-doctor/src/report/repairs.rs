//! What a run that repairs itself has tried.

use std::{
    io::BufReader,
    path::{Path, PathBuf},
};

use gradwatch_events::disk::{Folder, read_line};
use maud::{Markup, html};
use serde::Deserialize;

use super::{Report, series::Series};
use crate::repair::{ABANDONED, Outcome, RepairHistory, RepairRecord, Trial};

/// Longest line of metrics.jsonl to read, in bytes.
const MOST_BYTES: u64 = 1 << 30;

/// Repairs of a run, and the losses of the steps that they discarded.
#[derive(Debug, Clone, Default)]
pub struct Repairs {
    /// All decisions.
    pub history: RepairHistory,
    /// Losses of each abandoned part, the first one first.
    pub(super) abandoned: Vec<Series>,
}

/// A line of metrics.jsonl with a loss.
#[derive(Deserialize)]
struct Step {
    step: u64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    loss: f64,
}

impl Repairs {
    /// The decisions of a run that has just ended, without the steps that they discarded.
    pub fn of(history: RepairHistory) -> Self {
        Self { history, abandoned: Vec::new() }
    }

    /// Reads the repairs of a run folder; none in a folder of another program. What cannot be read is noted.
    pub(crate) fn read(folder: &Path, notes: &mut Vec<String>) -> Self {
        match RepairHistory::of_run(folder) {
            Ok(history) if history.records().is_empty() => Self::default(),
            Ok(history) => {
                let parts = (1..=history.records().len()).map(|number| folder.join(ABANDONED).join(number.to_string()));
                Self { history, abandoned: parts.take_while(|part| part.is_dir()).map(losses).collect() }
            }
            Err(error) => {
                notes.push(error.to_string());
                Self::default()
            }
        }
    }

    /// Last step of the abandoned parts.
    pub(super) fn last_step(&self) -> Option<u64> {
        self.abandoned.iter().filter_map(|losses| Some(losses.buckets().last()?.last_step)).max()
    }

    /// The changes that the run has, and how repair ended, in a few words; `None` without repairs.
    pub(super) fn summary(&self) -> Option<String> {
        let told = |trial: &Trial, from: String| format!("{} ({}), {from}", trial.changes(), trial.found.rule);
        let mut parts: Vec<String> = Vec::new();
        for record in self.history.records() {
            if let RepairRecord::Prepared(trial) = record {
                parts.push(told(trial, "before training".into()));
            }
        }
        let mut undone = 0;
        for (trial, outcome) in self.history.trials() {
            match outcome {
                Outcome::Kept(_) => parts.push(told(trial, format!("from step {}", trial.from_step.unwrap_or(0)))),
                Outcome::Open => parts.push(told(trial, "on trial".into())),
                Outcome::Undone(..) => undone += 1,
                Outcome::Failed(_) => parts.push(told(trial, "without success".into())),
            }
        }
        if undone > 0 {
            parts.push(format!("{undone} undone"));
        }
        if let Some(RepairRecord::GaveUp { rule, .. }) = self.history.gave_up() {
            parts.push(format!("gave up on {rule}"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn losses(folder: PathBuf) -> Series {
    let mut series = Series::default();
    let Ok(file) = Folder::open(&folder).and_then(|folder| folder.open_file("metrics.jsonl")) else { return series };
    let (mut file, mut line) = (BufReader::new(file), Vec::new());
    // Reads line by line, because a run may have millions of steps.
    while read_line(&mut file, &mut line, MOST_BYTES).unwrap_or(false) {
        if line.starts_with(b"{\"kind\":\"step\"")
            && let Ok(Step { step, loss }) = serde_json::from_slice(&line)
        {
            series.add(step, loss);
        }
    }
    series
}

/// The table of the trials.
pub(super) fn repairs(report: &Report) -> Markup {
    let history = &report.repairs.history;
    let prepared = history.records().iter().filter_map(|record| match record {
        RepairRecord::Prepared(trial) => Some((trial, "before training".to_owned(), "kept".to_owned())),
        _ => None,
    });
    let trials = history.trials().map(|(trial, outcome)| {
        let from = match trial.from_step {
            Some(step) => format!("step {step}"),
            None => "the beginning".to_owned(),
        };
        let outcome = match outcome {
            Outcome::Open => format!("on trial until step {}", trial.until_step),
            Outcome::Kept(step) => format!("kept at step {step}"),
            Outcome::Undone(step, reason) => format!("undone at step {step}: {reason}"),
            Outcome::Failed(step) => format!("no success; the run ended with it at step {step}"),
        };
        (trial, from, outcome)
    });
    let rows: Vec<(&Trial, String, String)> = prepared.chain(trials).collect();
    let other = history
        .records()
        .iter()
        .filter(|record| matches!(record, RepairRecord::NoRemedy { .. } | RepairRecord::GaveUp { .. }));
    let other: Vec<String> = other.map(ToString::to_string).collect();
    html! {
        @if !rows.is_empty() || !other.is_empty() {
            section aria-labelledby="repairs" {
                h2 id="repairs" { "Repairs" }
                @if !rows.is_empty() {
                    p class="caption" {
                        "Changes that the run made to its own config. Dotted lines in the loss chart are the steps that "
                        "it discarded."
                    }
                    div class="scroll" tabindex="0" role="region" aria-labelledby="repairs" {
                        table class="parameters repairs" {
                            thead {
                                tr {
                                    @for name in ["Change", "Finding", "Since", "Trained from", "Outcome"] {
                                        th scope="col" { (name) }
                                    }
                                }
                            }
                            tbody {
                                @for (trial, from, outcome) in &rows {
                                    tr {
                                        th scope="row" { code { (trial.changes()) } }
                                        td { (trial.found.rule) }
                                        td { "step " (trial.found.first_step) }
                                        td { (from) }
                                        td { (outcome) }
                                    }
                                }
                            }
                        }
                    }
                }
                @if !other.is_empty() { ul class="notes" { @for line in &other { li { (line) } } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        config::{RuleName, Severity},
        diagnosis::Finding,
        repair::REPAIRS,
        report::{fixture, html, markdown, terminal},
    };

    /// A run that has lowered its learning rate, after another change that was undone.
    fn run() -> (tempfile::TempDir, Repairs) {
        let folder = tempfile::tempdir().unwrap();
        let trial = |number: u32, change: &str| {
            format!(
                "{{\"event\":\"trial\",\"trial\":{number},\"rule\":\"learning_rate\",\"severity\":\"critical\",\
                 \"first_step\":3,\"found_at\":20,\"cause\":\"too high <b>\",\"remedy\":{{\"change\":\"{change}\",\
                 \"why\":\"it helps\"}},\"settings\":[],\"weights\":\"kept\",\"from_step\":null,\"healthy_step\":null,\
                 \"until_step\":70,\"discarded\":20,\"remedies\":[]}}"
            )
        };
        let lines = [
            trial(1, "optimizer.momentum = 0.5"),
            "{\"event\":\"returned\",\"trial\":1}".into(),
            "{\"event\":\"undone\",\"trial\":1,\"step\":40,\"reason\":\"it is back\"}".into(),
            trial(2, "optimizer.learning_rate = 0.01"),
            "{\"event\":\"returned\",\"trial\":2}".into(),
            "{\"event\":\"kept\",\"trial\":2,\"step\":70}".into(),
        ];
        fs::write(folder.path().join(REPAIRS), lines.join("\n")).unwrap();
        let abandoned = folder.path().join(ABANDONED).join("1");
        fs::create_dir_all(&abandoned).unwrap();
        let line = |step: u64| format!("{{\"kind\":\"step\",\"step\":{step},\"loss\":{}}}\n", 2 + step);
        fs::write(abandoned.join("metrics.jsonl"), (0..30).map(line).collect::<String>()).unwrap();
        let repairs = Repairs::read(folder.path(), &mut Vec::new());
        (folder, repairs)
    }

    #[test]
    fn repairs_are_in_every_form_of_the_report() {
        let (_folder, repairs) = run();
        assert_eq!((repairs.abandoned.len(), repairs.last_step()), (1, Some(29)));
        let report = Report { repairs, ..fixture::report(20, vec![]) };
        let line = "repairs     optimizer.learning_rate = 0.01 (learning_rate), from step 0; 1 undone";
        assert!(terminal(&report).lines().any(|found| found == line), "{}", terminal(&report));
        let page = html(&report);
        assert!(page.contains("undone at step 40: it is back") && page.contains("kept at step 70"), "{page}");
        assert!(page.contains("abandoned 1") && !page.contains("<b>\""), "{page}");
        let text = markdown(&report);
        assert!(
            text.contains("## Repairs\n\n- trial 1: learning") && text.contains("- trial 2: the change stays"),
            "{text}"
        );
    }

    #[test]
    fn a_finding_that_a_change_has_ended_is_withdrawn_unless_it_is_back() {
        let (_folder, repairs) = run();
        let seen_until = |last_step: u64| {
            let found = crate::report::fixture::finding(RuleName::LearningRate, Severity::Critical, 30);
            let other = crate::report::fixture::finding(RuleName::Dropout, Severity::Warning, 90);
            let report = fixture::report(100, vec![Finding { last_step, ..found }, other]);
            let report = Report { root_cause: Some(0), ..report }.with_repairs(repairs.clone());
            (report.findings.len(), report.withdrawn.len(), report.root_cause)
        };
        // The change was kept at step 70.
        assert_eq!(seen_until(69), (1, 1, Some(0)));
        assert_eq!(seen_until(70), (2, 0, Some(0)));
    }

    #[test]
    fn a_run_without_repairs_says_nothing_and_a_damaged_file_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let mut notes = Vec::new();
        assert!(Repairs::read(folder.path(), &mut notes).history.records().is_empty() && notes.is_empty());
        assert_eq!(repairs(&Report::default()).into_string(), "");
        fs::write(folder.path().join(REPAIRS), "{").unwrap();
        Repairs::read(folder.path(), &mut notes);
        assert!(notes[0].contains("repairs.jsonl is damaged at line 1"), "{notes:?}");
    }
}
