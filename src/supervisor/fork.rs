//! Repairs a run that has ended, in a copy beside it.

use std::path::{Path, PathBuf};

use super::{SupervisorError, decision::plan};
use crate::{
    assess,
    checkpoint::CheckpointName,
    config::{Config, RepairMode},
    diagnosis::{Finding, root_cause_first},
    events::RunFolder,
    repair::{REPAIRS, RepairHistory, RepairRecord, Trial},
};

/// How to repair a run that has ended.
#[derive(Debug, Clone)]
pub struct Fork {
    run: PathBuf,
    /// Config of the copy, which repairs itself.
    pub config: Config,
    /// Open findings to repair, the root cause first.
    pub findings: Vec<Finding>,
    /// Number of steps that the run has taken.
    pub steps: u64,
    /// The first change to try; otherwise why there is none.
    pub trial: Result<Trial, String>,
    /// Changes that the run has kept.
    kept: Vec<Trial>,
}

impl Fork {
    /// Plans the repair of the run in `run`, with its config and its own repairs. Changes nothing.
    ///
    /// # Errors
    /// If the files of the run cannot be read.
    pub fn plan(run: &Path, config: Config, history: &RepairHistory) -> Result<Self, SupervisorError> {
        let mut config = config;
        config.repair.mode = RepairMode::Auto;
        let report = assess(run)?.report;
        let steps = report.steps;
        let root = report.root_cause.and_then(|index| report.findings.get(index)).map(|finding| finding.rule);
        let severity = config.repair.severity;
        let mut findings: Vec<Finding> =
            report.findings.into_iter().filter(|finding| finding.severity >= severity).collect();
        root_cause_first(&mut findings, root);
        let trial = plan(run, &findings, &config)?;
        Ok(Self { run: run.to_owned(), config, findings, steps, trial, kept: history.kept().cloned().collect() })
    }

    /// Folder of the copy.
    pub fn folder(&self) -> PathBuf {
        let name = self.run.file_name().unwrap_or_default().to_string_lossy();
        self.run.with_file_name(format!("{name}-repaired"))
    }

    /// Copies the run, and records the first trial in the copy. Returns its folder.
    ///
    /// # Errors
    /// If the copy exists or cannot be written.
    pub fn create(&self, trial: Trial) -> Result<RunFolder, SupervisorError> {
        let to = self.folder();
        let last = trial.healthy_step.or(trial.from_step);
        let keeps = |name: &str| {
            let name: Result<CheckpointName, ()> = name.parse();
            name.is_ok_and(|name| last.is_some_and(|step| name.step <= step))
        };
        let toml = self.config.clone().to_keep(&self.run).to_toml();
        // The changes that the run has kept hold from the beginning of the copy, also if its checkpoint is from before them.
        let kept = self.kept.iter().map(|trial| RepairRecord::Prepared(trial.clone()));
        let records = kept.chain([RepairRecord::Trial(trial)]);
        let lines = records.map(|record| format!("{}\n", serde_json::to_string(&record).unwrap_or_default()));
        let lines: String = lines.collect();
        RunFolder::copy(&self.run, &to, keeps, |copy| {
            copy.replace("config.toml", toml.as_bytes())?;
            copy.replace(REPAIRS, lines.as_bytes())
        })?;
        Ok(RunFolder::open(&to)?)
    }
}
