//! Rules of other diagnosis tools, with their own conditions, thresholds, and sampling, for comparison on the same run.
//!
//! The rules use gradwatch's statistics. If a tool uses another statistic, gradwatch derives it, and the rule's file
//! explains how and how accurately. If it cannot be derived, the rule is not checked; see [`RuleSet::not_judged`]. A
//! rule raises one alarm, at the step at which the tool would raise it.
//!
//! ```
//! use gradwatch_doctor::{
//!     config::RuleSetName,
//!     diagnosis::{ChannelFacts, Facts, Observation, RuleSet, Subject},
//! };
//!
//! let facts = Facts { channels: vec![ChannelFacts { mean: 0.286, std: 0.353 }], ..Facts::default() };
//! let mut rules = RuleSet::new(RuleSetName::Sagemaker, &[]);
//! let alarms = rules.judge(&Observation::default(), &Subject { config: None, facts: &facts });
//! assert_eq!(alarms[0].to_string(), "sagemaker/CheckInputImages at step 0: |mean| of a channel is 0.286, bound 0.2");
//! ```

mod autotrainer;
mod deepchecker;
mod deepdiagnosis;
mod measures;
mod sagemaker;

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Alarm, Evaluation, Observation, Subject};
use crate::config::{RuleSetName, SagemakerRule};
pub use measures::mean_abs;

/// Result of one rule: an [`Alarm`] without tool and step.
#[derive(Debug)]
struct Sighting {
    rule: &'static str,
    place: Option<Arc<str>>,
    seen: f64,
    bound: f64,
    meaning: &'static str,
}

impl Sighting {
    fn of_model(rule: &'static str, meaning: &'static str, seen: f64, bound: f64) -> Self {
        Self { rule, place: None, seen, bound, meaning }
    }

    fn at(self, place: &Arc<str>) -> Self {
        Self { place: Some(Arc::clone(place)), ..self }
    }
}

/// The rules of one tool with their state. Everything is part of a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleSet {
    tool: Tool,
    /// Rules that have raised an alarm.
    spoken: BTreeSet<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tool {
    Sagemaker(sagemaker::Sagemaker),
    Autotrainer(autotrainer::Autotrainer),
    Deepdiagnosis(deepdiagnosis::Deepdiagnosis),
    Deepchecker(deepchecker::Deepchecker),
}

impl RuleSet {
    /// Creates the rules of a tool with its defaults. `changes` replaces the parameters of SageMaker rules.
    pub fn new(name: RuleSetName, changes: &[SagemakerRule]) -> Self {
        let tool = match name {
            RuleSetName::Sagemaker => Tool::Sagemaker(sagemaker::Sagemaker::new(changes)),
            RuleSetName::Autotrainer => Tool::Autotrainer(autotrainer::Autotrainer::default()),
            RuleSetName::Deepdiagnosis => Tool::Deepdiagnosis(deepdiagnosis::Deepdiagnosis::default()),
            RuleSetName::Deepchecker => Tool::Deepchecker(deepchecker::Deepchecker::default()),
        };
        Self { tool, spoken: BTreeSet::new() }
    }

    /// Name of the tool.
    pub fn name(&self) -> RuleSetName {
        match self.tool {
            Tool::Sagemaker(_) => RuleSetName::Sagemaker,
            Tool::Autotrainer(_) => RuleSetName::Autotrainer,
            Tool::Deepdiagnosis(_) => RuleSetName::Deepdiagnosis,
            Tool::Deepchecker(_) => RuleSetName::Deepchecker,
        }
    }

    /// Checks a tracked step. Returns alarms of rules that have not raised one yet.
    pub fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Alarm> {
        let sightings = match &mut self.tool {
            Tool::Sagemaker(rules) => rules.judge(seen, subject),
            Tool::Autotrainer(rules) => rules.judge(seen, subject),
            Tool::Deepdiagnosis(rules) => rules.judge(seen, subject),
            Tool::Deepchecker(rules) => rules.judge(seen, subject),
        };
        self.alarms(seen.step, sightings)
    }

    /// Checks an evaluation. Returns alarms of rules that have not raised one yet.
    pub fn judge_evaluation(&mut self, seen: &Evaluation, subject: &Subject<'_>) -> Vec<Alarm> {
        let sightings = match &mut self.tool {
            Tool::Sagemaker(rules) => rules.judge_evaluation(seen),
            Tool::Autotrainer(rules) => rules.judge_evaluation(seen, subject),
            Tool::Deepdiagnosis(rules) => rules.judge_evaluation(seen, subject),
            Tool::Deepchecker(_) => Vec::new(),
        };
        self.alarms(seen.step, sightings)
    }

    /// Rules of the tool that are not checked, and the data they would need.
    pub fn not_judged(&self) -> Vec<(&'static str, &'static str)> {
        match &self.tool {
            Tool::Sagemaker(_) => sagemaker::not_judged(),
            Tool::Autotrainer(_) => autotrainer::NOT_JUDGED.to_vec(),
            Tool::Deepdiagnosis(_) => deepdiagnosis::NOT_JUDGED.to_vec(),
            Tool::Deepchecker(_) => deepchecker::NOT_JUDGED.to_vec(),
        }
    }

    fn alarms(&mut self, step: u64, sightings: Vec<Sighting>) -> Vec<Alarm> {
        let set = self.name();
        let news = sightings.into_iter().filter(|sighting| self.spoken.insert(sighting.rule.to_owned()));
        news.map(|Sighting { rule, place, seen, bound, meaning }| Alarm {
            set,
            rule: rule.to_owned(),
            step,
            place,
            seen,
            bound,
            meaning: meaning.to_owned(),
        })
        .collect()
    }
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation, gradients};

    #[test]
    fn a_rule_speaks_once() {
        let case = Case::new("");
        let mut rules = RuleSet::new(RuleSetName::Sagemaker, &[]);
        let small = gradients(&[("a.weight", 1e-9)]);
        let mut judged = |step| {
            let seen = Observation { step, gradients: Some(&small), loss: f64::NAN, ..Observation::default() };
            rules.judge(&seen, &case.subject()).iter().any(|alarm| alarm.rule == "VanishingGradient")
        };
        assert_eq!([499, 500, 1000].map(&mut judged), [false, true, false]);
    }

    #[test]
    fn every_set_names_itself_and_rules_it_cannot_judge() {
        for name in RuleSetName::ALL {
            let rules = RuleSet::new(*name, &[]);
            assert_eq!(rules.name(), *name);
            assert!(!rules.not_judged().is_empty());
        }
    }

    #[test]
    fn a_set_that_was_written_and_read_goes_on_as_the_one_that_was_not() {
        let case = fixture::run_of(60, "");
        for name in RuleSetName::ALL {
            let mut whole = RuleSet::new(*name, &[]);
            let mut resumed = whole.clone();
            let mut judged = 0;
            for step in 0..120u32 {
                resumed = serde_json::from_str(&serde_json::to_string(&resumed).unwrap()).unwrap();
                let grads = fixture::flat(1e-3 * 0.6f64.powi(step as i32));
                let loss = if step == 77 { f64::INFINITY } else { 2.3 };
                let step = 100 * u64::from(step);
                let weights = [fixture::tensor("a.weight", 1.0)];
                let seen =
                    Observation { step, loss, gradients: Some(&grads), weights: &weights, ..Observation::default() };
                let alarms = whole.judge(&seen, &case.subject());
                assert_eq!(alarms, resumed.judge(&seen, &case.subject()));
                let seen =
                    Evaluation { train_loss: loss, train_accuracy: 0.1, validation_accuracy: 0.1, ..evaluation(step) };
                let more = whole.judge_evaluation(&seen, &case.subject());
                assert_eq!(more, resumed.judge_evaluation(&seen, &case.subject()));
                judged += alarms.len() + more.len();
            }
            assert!(judged > 0, "{name}");
            assert_eq!(serde_json::to_string(&whole).unwrap(), serde_json::to_string(&resumed).unwrap());
        }
    }
}
