//! The changes to try next, and their order.

use super::{Found, RepairHistory, Trial};
use crate::diagnosis::{Remedy, follows_from};

/// A change to try for a finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The finding.
    pub found: Found,
    /// The change.
    pub remedy: Remedy,
    /// Changes to make together with it.
    pub with: Vec<Remedy>,
}

impl Candidate {
    /// The changes recommended for a finding, best first.
    pub fn all_of(found: &Found) -> impl Iterator<Item = Self> {
        found.remedies.iter().map(|remedy| Self { found: found.clone(), remedy: remedy.clone(), with: Vec::new() })
    }

    /// The changes of a trial, together with the best ones for the finding that the run had with them.
    fn together(trial: &Trial, found: &Found) -> impl Iterator<Item = Self> {
        let with: Vec<Remedy> = trial.remedies().cloned().collect();
        let found = Found {
            first_step: found.first_step.min(trial.found.first_step),
            found_at: found.found_at.max(trial.found.found_at),
            ..found.clone()
        };
        let best = found.remedies.clone().into_iter().take(TOGETHER);
        best.map(move |remedy| Self { found: found.clone(), remedy, with: with.clone() })
    }
}

/// Number of changes for a finding that are tried together with one for another finding.
const TOGETHER: usize = 2;

impl RepairHistory {
    /// The changes to try after `trial` was undone, in their order. `found` is the finding that the run had with the change.
    /// Some may not be allowed, or may have failed.
    pub fn next_candidates(&self, trial: &Trial, found: Option<&Found>) -> Vec<Candidate> {
        let failures: Vec<(&Trial, Option<&Found>)> = self.failures().collect();
        let mut candidates = Vec::new();
        let other = found.filter(|found| found.rule != trial.found.rule);
        if let Some(other) = other {
            // Two faults: the run had this finding without the change, and the one of the trial with the change for this
            // one.
            let is_mutual = |(failed, with): &&(&Trial, Option<&Found>)| {
                failed.found.rule == other.rule && with.is_some_and(|with| with.rule == trial.found.rule)
            };
            let partners = failures.iter().filter(is_mutual);
            candidates.extend(partners.flat_map(|(failed, _)| Candidate::together(failed, &trial.found)));
            // The finding of the trial may be a consequence.
            if follows_from(trial.found.rule, other.rule) && !follows_from(other.rule, trial.found.rule) {
                candidates.extend(Candidate::all_of(other));
            }
        }
        let next = trial.next_rate().map(|remedy| {
            let with = trial.with.clone();
            Candidate { found: trial.found.clone(), remedy, with }
        });
        // A step in the same direction comes first, and further ones after all other changes.
        let is_next_of = |other: &Trial| other.next_rate().is_some_and(|next| next.change == trial.remedy.change);
        let was_next = self.trials().any(|(other, _)| other.trial != trial.trial && is_next_of(other));
        candidates.extend(next.filter(|_| !was_next));
        let mut rules = Vec::new();
        let findings = failures.iter().flat_map(|(trial, found)| [Some(&trial.found), *found]);
        for found in [Some(&trial.found), found].into_iter().chain(findings).flatten() {
            if !rules.contains(&found.rule) {
                rules.push(found.rule);
                candidates.extend(Candidate::all_of(found));
            }
        }
        // Further steps of every change of the learning rate, the last one first.
        let further = failures.iter().rev().filter_map(|(failed, _)| Some((*failed, failed.next_rate()?)));
        candidates.extend(further.map(|(failed, remedy)| Candidate {
            found: failed.found.clone(),
            remedy,
            with: failed.with.clone(),
        }));
        for (failed, found) in failures {
            let other = found.filter(|found| found.rule != failed.found.rule);
            candidates.extend(other.into_iter().flat_map(|found| Candidate::together(failed, found)));
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, RuleName},
        repair::{RepairRecord, history::tests::trial},
    };

    const TOML: &str =
        "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\noptimizer.learning_rate = 0.1";

    fn found(rule: RuleName, change: &str) -> Found {
        let config = Config::parse(TOML, "test").unwrap();
        let remedies = vec![Remedy { change: change.into(), why: "it helps".into() }];
        Found { rule, remedies, ..trial(1, "optimizer.momentum = 0.5", &config, None).found }
    }

    fn tried(number: u32, found: &Found) -> Trial {
        let config = Config::parse(TOML, "test").unwrap();
        let change = found.remedies[0].change.to_string();
        Trial { found: found.clone(), ..trial(number, &change, &config, None) }
    }

    fn undone(trial: &Trial, found: &Found) -> [RepairRecord; 2] {
        let found = Some(Box::new(found.clone()));
        let undone = RepairRecord::Undone { trial: trial.trial, step: 9, reason: "no".into(), found };
        [RepairRecord::Trial(trial.clone()), undone]
    }

    fn next(records: Vec<RepairRecord>, trial: &Trial, found: &Found) -> Vec<String> {
        let history = records.into_iter().fold(RepairHistory::default(), |history, record| history.with(record));
        let text = |candidate: Candidate| {
            let with: Vec<String> = candidate.with.iter().map(|remedy| format!(" + {}", remedy.change)).collect();
            format!("{}{}", candidate.remedy.change, with.concat())
        };
        history.next_candidates(trial, Some(found)).into_iter().map(text).collect()
    }

    #[test]
    fn a_cause_comes_before_a_further_step_and_a_consequence_after_all_own_changes() {
        let rate = found(RuleName::LearningRate, "optimizer.learning_rate = 0.01");
        let dropout = found(RuleName::Dropout, "model.dropout = 0");
        let first = tried(1, &rate);
        let candidates = next(undone(&first, &dropout).into(), &first, &dropout);
        assert_eq!(candidates[..2], ["model.dropout = 0", "optimizer.learning_rate = 0.001"]);
        assert_eq!(candidates.last().unwrap(), "model.dropout = 0 + optimizer.learning_rate = 0.01");
        let non_finite = found(RuleName::NonFinite, "optimizer.eps = 0.001");
        let candidates = next(undone(&first, &non_finite).into(), &first, &non_finite);
        assert_eq!(candidates[..1], ["optimizer.learning_rate = 0.001"]);
        assert!(candidates.contains(&"optimizer.eps = 0.001".to_owned()));
    }

    #[test]
    fn two_faults_that_each_stop_the_run_are_repaired_together() {
        let rate = found(RuleName::LearningRate, "optimizer.learning_rate = 0.01");
        let decay = found(RuleName::WeightDecay, "optimizer.weight_decay = 0.0001");
        let (first, second) = (tried(1, &decay), tried(2, &rate));
        let records = [undone(&first, &rate), undone(&second, &decay)].concat();
        let candidates = next(records, &second, &decay);
        assert_eq!(candidates[0], "optimizer.learning_rate = 0.01 + optimizer.weight_decay = 0.0001");
    }
}
