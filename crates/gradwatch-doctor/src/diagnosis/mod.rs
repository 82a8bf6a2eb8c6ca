//! Finds problems in a run: affected layers, first step, cause, and fixes.
//!
//! Rules check every tracked step on the host and access no tensor. A rule returns a [`Symptom`]. The symptoms of one
//! rule over all steps form one [`Finding`]. A finding that follows from another is merged into it: a NaN loss after an
//! explosion is one finding, not two.
//!
//! ```
//! use gradwatch_doctor::diagnosis::{Diagnosis, Facts, Observation, RuleName, Severity, Subject};
//!
//! let facts = Facts { classes: 10, ..Facts::default() };
//! let subject = Subject { config: None, facts: &facts };
//! let mut diagnosis = Diagnosis::default();
//! // A random guess costs ln 10 = 2.3.
//! let found = diagnosis.judge(&Observation { step: 0, loss: 40.0, ..Observation::default() }, &subject);
//! assert_eq!((found[0].rule, found[0].severity), (RuleName::InitialLoss, Severity::Warning));
//! ```

mod alarm;
mod change;
mod class_counts;
mod course;
mod facts;
mod finding;
mod need;
mod news;
mod observation;
mod parameter_role;
mod remedy;
mod remedy_success;
#[cfg(feature = "rule-sets")]
mod rule_sets;
mod rules;
mod thresholds;
mod weight_transfer;

use serde::{Deserialize, Serialize};

pub use alarm::Alarm;
pub use change::{Change, ChangeValue};
pub use class_counts::LISTED as LISTED_CLASSES;
pub use facts::{ChannelFacts, Facts, LostImages, ParameterFacts, RankFacts};
pub(crate) use finding::rank_list;
pub use finding::{Evidence, Figure, Finding, FindingState, Severity, Symptom, root_cause_first};
pub use need::{Need, rules_without_data};
pub use observation::{Evaluation, Observation, Subject};
pub use parameter_role::ParameterRole;
pub use remedy::Remedy;
#[cfg(feature = "rule-sets")]
pub use rule_sets::{RuleSet, mean_abs};
pub use thresholds::Thresholds;
pub use weight_transfer::{WeightTransfer, inserts_batch_norm};

use crate::config::Config;
pub use crate::config::{RuleName, RuleSetName};
use course::LossCourse;
use parameter_role::Roles;
pub use rules::follows_from;
use rules::{Rule, RuleContext, Rules, declarations};

/// All rules with their state, and the findings. Everything is part of a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Diagnosis {
    rules: Rules,
    #[serde(default)]
    course: LossCourse,
    findings: Vec<Finding>,
    #[serde(skip)]
    thresholds: Thresholds,
    #[serde(skip)]
    roles: Roles,
}

impl Diagnosis {
    /// Creates a diagnosis with custom thresholds. A checkpoint does not keep them.
    pub fn with_thresholds(thresholds: Thresholds) -> Self {
        Self { thresholds, ..Self::default() }
    }

    /// Checks a tracked step. Returns the findings that are new, got worse, or are withdrawn.
    pub fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Finding> {
        if self.course.start_task(subject.label_shuffles(seen.step)) {
            self.rules.in_order().into_iter().for_each(Rule::start_task);
        }
        self.course.add(seen.loss);
        self.run_rules(seen.step, subject, |rule, context| rule.judge(seen, context))
    }

    /// Checks an evaluation. Returns the findings that are new, got worse, or are withdrawn.
    pub fn judge_evaluation(&mut self, seen: &Evaluation, subject: &Subject<'_>) -> Vec<Finding> {
        let mut seen = *seen;
        if subject.label_shuffles(seen.step.saturating_sub(1)) > 0 {
            // Validation images keep their labels, so after a shuffle they say nothing about what the network learns.
            (seen.validation_loss, seen.validation_accuracy) = (f64::NAN, f64::NAN);
            seen.batch_statistics_accuracy = None;
        }
        self.run_rules(seen.step, subject, |rule, context| rule.judge_evaluation(&seen, context))
    }

    fn run_rules(
        &mut self,
        step: u64,
        &Subject { config, facts }: &Subject<'_>,
        judge: impl Fn(&mut dyn Rule, &RuleContext<'_>) -> Option<Symptom>,
    ) -> Vec<Finding> {
        let Self { rules, course, findings, thresholds, roles } = self;
        if !roles.fit(facts) {
            *roles = Roles::new(facts);
        }
        let context = RuleContext { config, facts, roles, course, thresholds };
        let ignored = config.map_or(&[][..], |config| &config.diagnosis.ignore);
        let has_learned = context.learned().is_some();
        let mut news = Vec::new();
        for rule in rules.in_order() {
            let name = rule.name();
            let is_refuted = has_learned && rule.is_refuted_by_learning();
            let symptom = judge(rule, &context).filter(|_| !is_refuted && !ignored.contains(&name));
            let Some(symptom) = symptom else {
                let open = findings.iter_mut().find(|finding| finding.rule == name && finding.is_open());
                if let Some(finding) = open.filter(|finding| finding.last_step < step)
                    && let Some(reason) = rule.recovery(finding, step, &context)
                {
                    finding.withdraw(step, reason);
                    news.push(finding.clone());
                }
                continue;
            };
            if let Some(finding) = add_symptom(findings, name, step, symptom).map(|index| &mut findings[index]) {
                if let Some(config) = config {
                    finding.remedies.retain(|remedy| applies(remedy, config));
                }
                remedy_success::sort(name, &mut finding.remedies);
                news.push(finding.clone());
            }
        }
        news
    }

    /// All findings, in the order of their appearance, including withdrawn ones.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The findings that hold, in the order of their appearance.
    pub fn open_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_open())
    }

    /// The open finding to fix first: among the most severe ones, the one whose rule comes first in the order from cause
    /// to consequence.
    pub fn root_cause(&self) -> Option<&Finding> {
        let place = |finding: &Finding| declarations().iter().position(|rule| rule.name == finding.rule);
        self.open_findings().min_by_key(|finding| (std::cmp::Reverse(finding.severity), place(finding)))
    }
}

/// Whether a recommended change is possible and changes something. Parses a config, so only findings that are reported
/// are checked.
fn applies(remedy: &Remedy, config: &Config) -> bool {
    // Layers from a TorchScript file, or layers that must match a weight file, cannot be changed.
    let has_file = config.model.known().is_none() || config.model.weights.is_some();
    !(has_file && remedy.change.is_in("model")) && remedy.change.changes(config)
}

/// Adds a symptom. Returns the index of its finding if it is new or got worse.
fn add_symptom(findings: &mut Vec<Finding>, rule: RuleName, step: u64, symptom: Symptom) -> Option<usize> {
    if let Some(index) = findings.iter().position(|finding| finding.rule == rule) {
        return findings[index].add(step, symptom).then_some(index);
    }
    // A finding that only informs explains no problem.
    let explains = |finding: &Finding| finding.is_open() && finding.severity > Severity::Info;
    // Dead units and vanishing gradients that the untrained network did not have are the damage of too high a learning rate,
    // which may be found after them.
    let is_too_high = rule == RuleName::LearningRate && symptom.severity >= Severity::Critical;
    let is_damage = |finding: &Finding| is_too_high && finding.first_step > 0 && follows_from(finding.rule, rule);
    let is_cause = |finding: &Finding| explains(finding) && follows_from(rule, finding.rule) && !is_damage(finding);
    if let Some(cause) = findings.iter_mut().find(|finding| is_cause(finding)) {
        cause.fold(rule, step);
        return None;
    }
    let mut finding = Finding::new(rule, step, symptom);
    // Merges consequences that appeared before their cause.
    findings.retain(|earlier| {
        let follows = earlier.is_open() && explains(&finding) && follows_from(earlier.rule, rule);
        if follows {
            finding.absorb(earlier);
        }
        !follows
    });
    findings.push(finding);
    Some(findings.len() - 1)
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::{
        fixture::{Case, profile},
        *,
    };

    #[test]
    fn symptoms_of_one_rule_are_one_finding_and_those_of_its_consequences_are_folded_into_it() {
        let case = Case::new("");
        let mut diagnosis = Diagnosis::default();
        for step in 0..30 {
            let seen = Observation { step, loss: 2.0, total_norm: 1.0, ..Observation::default() };
            diagnosis.judge(&seen, &case.subject());
        }
        assert!(diagnosis.findings().is_empty());
        let mut news = Vec::new();
        for step in 30..40 {
            let total_norm = if step < 35 { 1e6 } else { f64::NAN };
            let seen = Observation {
                step,
                loss: 3.0,
                total_norm,
                skipped_in_a_row: step.saturating_sub(34),
                ..Observation::default()
            };
            news.extend(diagnosis.judge(&seen, &case.subject()));
        }
        assert_eq!(diagnosis.findings().len(), 1);
        let finding = &diagnosis.findings()[0];
        assert_eq!((finding.rule, finding.first_step), (RuleName::Exploding, 30));
        assert_eq!(finding.symptoms, [(RuleName::NonFinite, 35)]);
        // A finding is reported when it is new and when it gets worse.
        assert_eq!(
            news.iter().map(|news| news.severity).collect::<Vec<_>>(),
            [Severity::Info, Severity::Warning, Severity::Critical]
        );
    }

    #[test]
    fn shuffled_labels_are_no_divergence_no_explosion_and_no_overfitting() {
        let found = |more: &str| {
            let mut case = Case::new(more);
            case.facts.steps_per_epoch = 100;
            let mut diagnosis = Diagnosis::default();
            for step in 0..200 {
                let is_old = step < 100;
                let loss = if is_old { 2.3 - 0.02 * step as f64 } else { 3.5 - 0.005 * (step - 100) as f64 };
                let total_norm = if is_old { 0.01 } else { 2.0 };
                diagnosis.judge(&Observation { step, loss, total_norm, ..Observation::default() }, &case.subject());
            }
            let (train, validation) = ((0.1, 1.0), (5.0, 0.1));
            let seen = Evaluation {
                step: 200,
                train_loss: train.0,
                train_accuracy: train.1,
                validation_loss: validation.0,
                validation_accuracy: validation.1,
                batch_statistics_accuracy: Some(0.1),
            };
            diagnosis.judge_evaluation(&seen, &case.subject());
            let mut rules: Vec<_> = diagnosis.findings().iter().map(|finding| finding.rule).collect();
            rules.sort_by_key(|rule| rule.name());
            rules
        };
        assert_eq!(found(""), [RuleName::GradientAccumulation, RuleName::Overfitting]);
        assert_eq!(found("data.label_shuffle_epochs = [1]"), []);
        // An evaluation before the shuffle counts.
        assert_eq!(found("data.label_shuffle_epochs = [2]"), [RuleName::GradientAccumulation, RuleName::Overfitting]);
    }

    #[test]
    fn what_was_seen_before_its_cause_is_folded_into_it_too() {
        let case = Case::new("model.activation = \"sigmoid\"");
        let mut diagnosis = Diagnosis::default();
        let judge = |diagnosis: &mut Diagnosis, step, profile| {
            let seen = Observation { step, loss: 2.31, depth_profile: profile, ..Observation::default() };
            diagnosis.judge(&seen, &case.subject())
        };
        for step in 0..200 {
            judge(&mut diagnosis, step, None);
        }
        assert_eq!(diagnosis.findings()[0].rule, RuleName::LossPlateau);
        for step in 200..203 {
            judge(&mut diagnosis, step, Some(profile(&[1e-6, 1e-3, 1.0])));
        }
        let [finding] = diagnosis.findings() else { panic!("{:?}", diagnosis.findings()) };
        assert_eq!((finding.rule, finding.first_step), (RuleName::Vanishing, 199));
        assert_eq!(finding.symptoms, [(RuleName::LossPlateau, 199)]);
    }

    #[test]
    fn rules_that_are_ignored_find_nothing() {
        let case = Case::new("diagnosis.ignore = [\"initial_loss\"]");
        let seen = Observation { loss: 40.0, ..Observation::default() };
        assert!(Diagnosis::default().judge(&seen, &case.subject()).is_empty());
    }

    #[test]
    fn the_root_cause_is_the_worst_and_of_equals_the_nearest_to_a_cause() {
        let mut findings = Vec::new();
        for (rule, severity) in [
            (RuleName::Overfitting, Severity::Warning),
            (RuleName::LabelImbalance, Severity::Warning),
            (RuleName::BatchNorm, Severity::Info),
        ] {
            let symptom = Symptom {
                severity,
                layers: Vec::new(),
                ranks: Vec::new(),
                figures: Vec::new(),
                cause: String::new(),
                remedies: Vec::new(),
            };
            add_symptom(&mut findings, rule, 0, symptom);
        }
        let diagnosis = Diagnosis { findings, ..Diagnosis::default() };
        assert_eq!(diagnosis.root_cause().unwrap().rule, RuleName::LabelImbalance);
        assert_eq!(Diagnosis::default().root_cause(), None);
    }

    #[test]
    fn a_high_learning_rate_explains_the_damage_that_was_found_before_it_but_not_what_was_there_at_step_0() {
        let found = |first_step: u64, severity: Severity| {
            let mut findings = Vec::new();
            let symptom = |severity| Symptom {
                severity,
                layers: Vec::new(),
                ranks: Vec::new(),
                figures: Vec::new(),
                cause: String::new(),
                remedies: Vec::new(),
            };
            add_symptom(&mut findings, RuleName::DeadRelu, first_step, symptom(Severity::Critical));
            add_symptom(&mut findings, RuleName::LearningRate, 30, symptom(severity));
            let [finding] = &findings[..] else { panic!("{findings:?}") };
            finding.rule
        };
        assert_eq!(found(20, Severity::Critical), RuleName::LearningRate);
        assert_eq!(found(0, Severity::Critical), RuleName::DeadRelu);
        // A rate that is too low kills nothing.
        assert_eq!(found(20, Severity::Warning), RuleName::DeadRelu);
    }

    #[test]
    fn a_diagnosis_that_was_written_and_read_goes_on_as_the_one_that_was_not() {
        let case = Case::new("");
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
        for step in 0..90 {
            let text = serde_json::to_string(&resumed).unwrap();
            resumed = serde_json::from_str(&text).unwrap();
            // As text, because a figure that is NaN equals nothing.
            let judge = |diagnosis: &mut Diagnosis| format!("{:?}", diagnosis.judge(&observe(step), &case.subject()));
            assert_eq!(judge(&mut whole), judge(&mut resumed), "step {step}");
        }
        assert!(!whole.findings()[0].symptoms.is_empty(), "{:?}", whole.findings());
        assert_eq!(serde_json::to_string(&whole).unwrap(), serde_json::to_string(&resumed).unwrap());
    }

    #[test]
    fn names_and_remedies_of_older_runs_are_still_read() {
        let case = Case::new("diagnosis.ignore = [\"input_not_normalised\"]");
        assert_eq!(case.config.diagnosis.ignore, [RuleName::InputNotNormalized]);
        let text = r#"{"rule":"input_not_normalised","severity":"warning","layers":[],"first_step":0,"last_step":0,
            "figures":[],"cause":"","remedies":[{"change":"model.initialization = \"centred_logistic\"","why":""},
            {"change":"data.path","why":""}],"evidence":[],"symptoms":[["input_not_normalised",3]]}"#;
        let finding: Finding = serde_json::from_str(text).unwrap();
        assert_eq!((finding.rule, finding.symptoms[0].0), (RuleName::InputNotNormalized, RuleName::InputNotNormalized));
        assert_eq!(finding.remedies[0].change, Change::from("model.initialization = \"centred_logistic\""));
        let json = serde_json::to_string(&finding).unwrap();
        assert!(json.starts_with("{\"rule\":\"input_not_normalized\""), "{json}");
        // The state of the rules keeps the names of its fields.
        let state = serde_json::to_value(Diagnosis::default()).unwrap();
        assert!(state["rules"]["input_not_normalised"].is_object(), "{state}");
    }
}
