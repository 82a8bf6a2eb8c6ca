//! All repairs of a run.

use std::{
    io,
    path::{Path, PathBuf},
};

use gradwatch_events::disk::{Folder, read_regular};
use thiserror::Error;
use toml::Value;

use super::{Found, Outcome, REPAIRS, RepairRecord, Setting, Trial};
use crate::{
    config::{Config, ConfigError, RuleName, override_value},
    diagnosis::{Change, Finding},
};

/// Largest `repairs.jsonl` to read, in bytes. Thousands of trials have a tenth of it.
const MOST_BYTES: u64 = 1 << 26;

/// The records of a run, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RepairHistory {
    records: Vec<RepairRecord>,
}

/// Error of reading `repairs.jsonl`.
#[derive(Debug, Error)]
pub enum ReadRepairsError {
    /// The file cannot be read.
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        cause: io::Error,
    },
    /// A line is damaged.
    #[error("{} is damaged at line {line}: {cause}; restore the file, or start a new run", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
}

/// A change that the config of the run has, or no longer has.
struct Applied<'a> {
    settings: &'a [Setting],
    is_active: bool,
}

impl RepairHistory {
    /// Reads the records of a run folder; empty without the file.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn read(folder: &Folder) -> Result<Self, ReadRepairsError> {
        let path = folder.path().join(REPAIRS);
        let bytes = match read_regular(&path, MOST_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(|cause| ReadRepairsError::Unreadable { path: path.clone(), cause })?,
        };
        let mut records = Vec::new();
        for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, bytes)| !bytes.is_empty()) {
            let record = serde_json::from_slice(bytes);
            records.push(record.map_err(|cause| ReadRepairsError::Damaged { path: path.clone(), line, cause })?);
        }
        Ok(Self { records })
    }

    /// Reads the records of the run in a folder; empty without the file, or if there is no such folder.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn of_run(run: &Path) -> Result<Self, ReadRepairsError> {
        Folder::open(run).map_or_else(|_| Ok(Self::default()), |folder| Self::read(&folder))
    }

    /// Adds records of one decision and writes all records atomically. They are on disk when this returns.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn add(&mut self, folder: &Folder, records: impl IntoIterator<Item = RepairRecord>) -> io::Result<()> {
        self.records.extend(records);
        let mut text = String::new();
        for record in &self.records {
            text += &serde_json::to_string(record)?;
            text.push('\n');
        }
        folder.replace(REPAIRS, text.as_bytes())
    }

    /// The history with one more record, which is not written.
    pub fn with(&self, record: RepairRecord) -> Self {
        let mut history = self.clone();
        history.records.push(record);
        history
    }

    /// All records.
    pub fn records(&self) -> &[RepairRecord] {
        &self.records
    }

    /// One line for each record that says something new.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.records.iter().filter(|record| !matches!(record, RepairRecord::Returned { .. })).map(ToString::to_string)
    }

    /// All trials with their outcomes.
    pub fn trials(&self) -> impl Iterator<Item = (&Trial, Outcome)> {
        self.records.iter().filter_map(|record| match record {
            RepairRecord::Trial(trial) => Some((trial, self.outcome(trial.trial))),
            _ => None,
        })
    }

    fn outcome(&self, number: u32) -> Outcome {
        let found = self.records.iter().find_map(|record| match record {
            RepairRecord::Kept { trial, step } if *trial == number => Some(Outcome::Kept(*step)),
            RepairRecord::Undone { trial, step, reason, .. } if *trial == number => {
                Some(Outcome::Undone(*step, reason.clone()))
            }
            RepairRecord::GaveUp { trial, step, from_step: None, .. } if *trial == number => {
                Some(Outcome::Failed(*step))
            }
            _ => None,
        });
        found.unwrap_or(Outcome::Open)
    }

    /// The changes that stay, those before the first step among them.
    pub fn kept(&self) -> impl Iterator<Item = &Trial> {
        self.records.iter().filter_map(|record| match record {
            RepairRecord::Prepared(trial) => Some(trial),
            RepairRecord::Trial(trial) => matches!(self.outcome(trial.trial), Outcome::Kept(_)).then_some(trial),
            _ => None,
        })
    }

    /// Optimizer steps taken when the change that has ended the finding was kept; `None` if it was seen since then.
    pub fn ended_at(&self, finding: &Finding) -> Option<u64> {
        let kept = self.trials().filter_map(|(trial, outcome)| match outcome {
            Outcome::Kept(step) if trial.found.rule == finding.rule => Some(step),
            _ => None,
        });
        kept.last().filter(|step| finding.last_step < *step)
    }

    /// The trial with this number.
    pub fn trial(&self, number: u32) -> Option<&Trial> {
        self.trials().map(|(trial, _)| trial).find(|trial| trial.trial == number)
    }

    /// The trial that has not ended.
    pub fn open_trial(&self) -> Option<&Trial> {
        self.trials().find(|(_, outcome)| *outcome == Outcome::Open).map(|(trial, _)| trial)
    }

    /// The last trial.
    pub fn last_trial(&self) -> Option<&Trial> {
        self.trials().last().map(|(trial, _)| trial)
    }

    /// The record with which repair gave up.
    pub fn gave_up(&self) -> Option<&RepairRecord> {
        self.records.iter().rfind(|record| matches!(record, RepairRecord::GaveUp { .. }))
    }

    /// Whether no allowed change may repair findings of the rule.
    pub fn is_without_remedy(&self, name: RuleName) -> bool {
        self.records.iter().any(|record| matches!(record, RepairRecord::NoRemedy { rule, .. } if *rule == name))
    }

    /// Whether the changes were tried together from this step and did not help, with the config as it is now.
    pub fn has_failed(&self, changes: &[&Change], from_step: Option<u64>) -> bool {
        self.failures().any(|(trial, _)| {
            let is_same = trial.remedies().count() == changes.len()
                && trial.remedies().all(|remedy| changes.contains(&&remedy.change));
            is_same && trial.from_step == from_step
        })
    }

    /// The trials that did not help, with the config as it is now: since the last change that stays. Each with the finding
    /// that the run had with the change.
    pub fn failures(&self) -> impl Iterator<Item = (&Trial, Option<&Found>)> {
        let is_kept = |record: &RepairRecord| matches!(record, RepairRecord::Kept { .. });
        let start = self.records.iter().rposition(is_kept).map_or(0, |kept| kept + 1);
        let since = &self.records[start..];
        since.iter().filter_map(move |record| {
            let (number, found) = match record {
                RepairRecord::Undone { trial, found, .. } => (*trial, found.as_deref()),
                RepairRecord::GaveUp { trial, from_step: None, .. } => (*trial, None),
                _ => return None,
            };
            Some((self.trial(number)?, found))
        })
    }

    /// Steps that trials have discarded so far.
    pub fn discarded(&self) -> u64 {
        self.trials().map(|(trial, _)| trial.discarded).sum()
    }

    fn applied(&self) -> impl DoubleEndedIterator<Item = Applied<'_>> {
        self.records.iter().filter_map(|record| match record {
            RepairRecord::Prepared(trial) => Some(Applied { settings: &trial.settings, is_active: true }),
            RepairRecord::Trial(trial) => {
                let is_active = !matches!(self.outcome(trial.trial), Outcome::Undone(..));
                Some(Applied { settings: &trial.settings, is_active })
            }
            _ => None,
        })
    }

    /// The config with all changes that stay or are on trial, and without those that were undone. Values that are neither
    /// those before nor after a change are somebody's own and stay.
    ///
    /// # Errors
    /// If the result is not valid.
    pub fn apply_to(&self, config: &Config) -> Result<Config, ConfigError> {
        let mut config = config.clone();
        for Applied { settings, .. } in self.applied().rev().filter(|applied| !applied.is_active) {
            config = replace(&config, settings.iter().map(|setting| (setting, &setting.after, &setting.before)))?;
        }
        for Applied { settings, .. } in self.applied().filter(|applied| applied.is_active) {
            config = replace(&config, settings.iter().map(|setting| (setting, &setting.before, &setting.after)))?;
        }
        Ok(config)
    }
}

/// Sets each key whose value is the first one to the second one.
fn replace<'a>(
    config: &Config,
    settings: impl Iterator<Item = (&'a Setting, &'a Option<String>, &'a Option<String>)>,
) -> Result<Config, ConfigError> {
    let has = |key: &str, value: &Option<String>| config.value(key).map(|value| value.to_string()) == *value;
    let values: Vec<(&str, Option<Value>)> = settings
        .filter(|(setting, from, _)| has(&setting.key, from))
        .map(|(setting, _, to)| (setting.key.as_str(), to.as_deref().map(override_value)))
        .collect();
    config.with_values(values.iter().map(|(key, value)| (*key, value.as_ref())))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        config::Severity,
        diagnosis::{Remedy, WeightTransfer},
    };

    const TOML: &str =
        "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\noptimizer.learning_rate = 0.1";

    fn config(more: &[&str]) -> Config {
        let more: Vec<String> = more.iter().map(|text| (*text).to_owned()).collect();
        Config::parse_with(TOML, "test", &more).unwrap()
    }

    pub(in crate::repair) fn trial(number: u32, change: &str, config: &Config, from_step: Option<u64>) -> Trial {
        let change = Change::from(change);
        Trial {
            trial: number,
            found: Found {
                rule: RuleName::LearningRate,
                severity: Severity::Critical,
                first_step: 3,
                found_at: 20,
                cause: "the steps are too large".into(),
                remedies: Vec::new(),
            },
            with: Vec::new(),
            settings: Setting::of(&change, config).unwrap(),
            weights: change.weight_transfer(config).unwrap_or(WeightTransfer::New),
            remedy: Remedy { change, why: "takes smaller steps".into() },
            from_step,
            healthy_step: from_step,
            until_step: 70,
            discarded: 20,
        }
    }

    #[test]
    fn the_config_follows_what_was_kept_and_undone_from_any_earlier_config() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let mut history = RepairHistory::default();
        let start = config(&[]);
        let add = |history: &mut RepairHistory, record| {
            history.add(&folder, [record]).unwrap();
            assert_eq!(RepairHistory::read(&folder).unwrap(), *history);
        };
        add(&mut history, RepairRecord::Trial(trial(1, "optimizer.learning_rate = 0.01", &start, Some(4))));
        let lower = config(&["optimizer.learning_rate=0.01"]);
        assert_eq!(history.apply_to(&start).unwrap(), lower);
        add(&mut history, RepairRecord::Returned { trial: 1 });
        assert_eq!(history.open_trial().unwrap().trial, 1);
        assert_eq!(history.apply_to(&lower).unwrap(), lower, "a config that has the change keeps it");
        add(&mut history, RepairRecord::Undone { trial: 1, step: 30, reason: "it is back".into(), found: None });
        assert_eq!(history.apply_to(&lower).unwrap(), start);
        let lowered = Change::from("optimizer.learning_rate = 0.01");
        assert!(history.has_failed(&[&lowered], Some(4)) && !history.has_failed(&[&lowered], None));
        assert_eq!(history.apply_to(&start).unwrap(), start);
        add(&mut history, RepairRecord::Trial(trial(2, "model.initialization = \"orthogonal\"", &start, None)));
        let orthogonal = config(&["model.initialization=orthogonal"]);
        for earlier in [&lower, &start, &orthogonal] {
            assert_eq!(history.apply_to(earlier).unwrap(), orthogonal);
        }
        add(&mut history, RepairRecord::Kept { trial: 2, step: 70 });
        assert!(history.open_trial().is_none());
        assert_eq!(history.discarded(), 40);
        // The config is another one now, so the change may help.
        assert!(!history.has_failed(&[&lowered], Some(4)));
        // Somebody's own value stays.
        let own = config(&["optimizer.learning_rate=0.05", "model.initialization=kaiming_normal"]);
        assert_eq!(history.apply_to(&own).unwrap(), own);
        // A run that gives up without a checkpoint ends with its last change.
        add(&mut history, RepairRecord::Trial(trial(3, "optimizer.learning_rate = 0.2", &orthogonal, None)));
        let gave_up = RepairRecord::GaveUp {
            trial: 3,
            rule: RuleName::LearningRate,
            step: 90,
            from_step: None,
            reason: "no".into(),
        };
        add(&mut history, gave_up);
        assert!(history.gave_up().is_some() && history.open_trial().is_none());
        assert!(history.has_failed(&[&Change::from("optimizer.learning_rate = 0.2")], None));
        let last = config(&["optimizer.learning_rate=0.2", "model.initialization=orthogonal"]);
        assert_eq!(history.apply_to(&last).unwrap(), last);
    }

    #[test]
    fn a_damaged_file_is_named_with_its_line() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        assert_eq!(RepairHistory::read(&folder).unwrap(), RepairHistory::default());
        std::fs::write(place.path().join(REPAIRS), "{\"event\":\"returned\",\"trial\":1}\n{\"event\"").unwrap();
        let error = RepairHistory::read(&folder).unwrap_err().to_string();
        assert!(error.contains("repairs.jsonl is damaged at line 2: "), "{error}");
    }
}
