//! What is wrong with a run, where, since when, why, and what to change.
//!
//! Rules judge every reading on the host; none touches a tensor. What a rule sees is a [`Symptom`]; the symptoms of one rule
//! over the steps are one [`Finding`], and those that another finding explains are folded into it: a loss that is NaN after an
//! explosion is one finding, not two.
//!
//! ```
//! use gradwatch::{config::Config, diagnosis::{Diagnosis, Observation, RuleName, Severity, Subject}};
//!
//! let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"";
//! let subject = Subject { config: &Config::parse(toml, "demo.toml")?, classes: 10 };
//! let mut diagnosis = Diagnosis::default();
//! // A guess at random costs ln 10 = 2.3.
//! let found = diagnosis.judge(&Observation { step: 0, loss: 40.0, ..Observation::default() }, &subject);
//! assert_eq!((found[0].rule, found[0].severity), (RuleName::InitialLoss, Severity::Warning));
//! # Ok::<(), gradwatch::config::ConfigError>(())
//! ```

mod dead_relu;
mod depth_ends;
mod exploding;
mod finding;
mod initial_loss;
mod missing_gradient;
mod non_finite;
mod observation;
mod rule;
mod saturated;
mod update_ratio;
mod vanishing;

use serde::{Deserialize, Serialize};

pub use finding::{Evidence, Figure, Finding, Remedy, Severity, Symptom};
pub use observation::{Observation, Subject};
pub use rule::Rule;

pub use crate::config::RuleName;
use rule::{Rules, follows_from};

/// The rules with what they remember, and what they found. All of it is part of a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Diagnosis {
    rules: Rules,
    findings: Vec<Finding>,
}

impl Diagnosis {
    /// Judges a reading. Returns the findings that are new, or worse than they were.
    pub fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Finding> {
        let ignored = &subject.config.diagnosis.ignore;
        let mut news = Vec::new();
        for rule in self.rules.in_order() {
            let name = rule.name();
            let Some(symptom) = rule.judge(seen, subject).filter(|_| !ignored.contains(&name)) else { continue };
            if let Some(finding) = self.findings.iter_mut().find(|finding| finding.rule == name) {
                if finding.add(seen.step, symptom) {
                    news.push(finding.clone());
                }
            } else if let Some(cause) = self.findings.iter_mut().find(|finding| follows_from(name, finding.rule)) {
                cause.fold(name, seen.step);
            } else {
                let finding = Finding::new(name, seen.step, symptom);
                news.push(finding.clone());
                self.findings.push(finding);
            }
        }
        news
    }

    /// Everything that was found, in the order in which it was.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::{fixture::config, *};

    #[test]
    fn symptoms_of_one_rule_are_one_finding_and_those_of_its_consequences_are_folded_into_it() {
        let config = config("");
        let subject = Subject { config: &config, classes: 10 };
        let mut diagnosis = Diagnosis::default();
        for step in 0..30 {
            diagnosis.judge(&Observation { step, loss: 2.0, total_norm: 1.0, ..Observation::default() }, &subject);
        }
        assert!(diagnosis.findings().is_empty());
        let mut news = Vec::new();
        for step in 30..40 {
            let total_norm = if step < 35 { 1e6 } else { f64::NAN };
            let seen = Observation {
                step,
                loss: 20.0,
                total_norm,
                skipped_in_a_row: step.saturating_sub(34),
                ..Observation::default()
            };
            news.extend(diagnosis.judge(&seen, &subject));
        }
        assert_eq!(diagnosis.findings().len(), 1);
        let finding = &diagnosis.findings()[0];
        assert_eq!((finding.rule, finding.first_step), (RuleName::Exploding, 30));
        assert_eq!(finding.symptoms, [(RuleName::NonFinite, 35)]);
        // It is told when it is new and when it gets worse.
        assert_eq!(news.iter().map(|news| news.severity).collect::<Vec<_>>(), [Severity::Warning, Severity::Critical]);
    }

    #[test]
    fn rules_that_are_ignored_find_nothing() {
        let config = config("diagnosis.ignore = [\"initial_loss\"]");
        let subject = Subject { config: &config, classes: 10 };
        let seen = Observation { loss: 40.0, ..Observation::default() };
        assert!(Diagnosis::default().judge(&seen, &subject).is_empty());
    }

    #[test]
    fn a_diagnosis_that_was_written_and_read_goes_on_as_the_one_that_was_not() {
        let config = config("");
        let subject = Subject { config: &config, classes: 10 };
        let observe = |step: u64| {
            let total_norm = if step == 25 {
                f64::NAN
            } else if step > 28 {
                1e9
            } else {
                1.0
            };
            Observation {
                step,
                loss: if step > 28 { 20.0 } else { 2.0 },
                total_norm,
                skipped_in_a_row: u64::from(step == 25),
                ..Observation::default()
            }
        };
        let mut whole = Diagnosis::default();
        let mut resumed = Diagnosis::default();
        for step in 0..40 {
            let text = serde_json::to_string(&resumed).unwrap();
            resumed = serde_json::from_str(&text).unwrap();
            assert_eq!(whole.judge(&observe(step), &subject), resumed.judge(&observe(step), &subject), "step {step}");
        }
        assert_eq!(whole.findings().len(), 2);
        assert_eq!(serde_json::to_string(&whole).unwrap(), serde_json::to_string(&resumed).unwrap());
    }
}
