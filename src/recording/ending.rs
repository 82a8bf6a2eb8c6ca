//! Reasons for the end of a run.

use std::fmt;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use crate::config::RuleName;

/// Reason for the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The run reached `run.max_epochs`.
    MaxEpochs,
    /// The run reached `run.max_steps`.
    MaxSteps,
    /// The run reached `run.max_minutes`.
    MaxMinutes,
    /// `early_stopping.patience` ran out.
    EarlyStopping,
    /// This rule reported a finding listed in `diagnosis.stop_at`.
    Finding(RuleName),
    /// A finding of this rule has to be repaired first.
    Repair(RuleName),
    /// A trial of a repair is over.
    TrialOver,
    /// No repair of a finding of this rule is left to try.
    Unrepaired(RuleName),
    /// The process received this signal.
    Signal(i32),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MaxEpochs => f.write_str("run.max_epochs reached"),
            Self::MaxSteps => f.write_str("run.max_steps reached"),
            Self::MaxMinutes => f.write_str("run.max_minutes reached"),
            Self::EarlyStopping => f.write_str("no improvement for early_stopping.patience evaluations"),
            Self::Finding(rule) => write!(f, "a finding of {rule} (diagnosis.stop_at or an action)"),
            Self::Repair(rule) => write!(f, "a finding of {rule} to repair"),
            Self::TrialOver => f.write_str("the end of a trial"),
            Self::Unrepaired(rule) => write!(f, "repair gave up on {rule}; repairs.jsonl lists the trials"),
            Self::Signal(SIGINT) => f.write_str("SIGINT (Ctrl-C)"),
            Self::Signal(SIGTERM) => f.write_str("SIGTERM"),
            Self::Signal(SIGHUP) => f.write_str("SIGHUP (the terminal was closed)"),
            Self::Signal(SIGQUIT) => f.write_str("SIGQUIT"),
            Self::Signal(SIGUSR1) => f.write_str("SIGUSR1 (preempted)"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl Ending {
    /// Config change with which a finished run can resume, as arguments for `gradwatch resume`.
    pub(super) fn resume_arguments(self) -> &'static str {
        match self {
            Self::MaxEpochs => " --set run.max_epochs=MORE",
            Self::MaxSteps => " --set run.max_steps=MORE",
            Self::MaxMinutes => " --set run.max_minutes=MORE",
            Self::EarlyStopping => " --set early_stopping.patience=MORE",
            Self::Finding(_) => " --set diagnosis.stop_at=never",
            Self::Unrepaired(_) => " --set repair.mode=off",
            Self::Repair(_) | Self::TrialOver | Self::Signal(_) => "",
        }
    }
}
