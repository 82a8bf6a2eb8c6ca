//! Readings as the rules of a diagnosis see them.

use super::{Reading, State};
use crate::{
    config::RuleName,
    diagnosis::{Observation, Subject},
};

impl Reading {
    /// What rules judge by.
    pub fn observe(&self, learning_rate: f64) -> Observation<'_> {
        Observation {
            step: self.step,
            loss: self.loss,
            learning_rate,
            total_norm: self.total_norm,
            skipped_in_a_row: self.skipped_in_a_row,
            gradients: self.gradients.as_ref(),
            updates: &self.updates,
            layers: &self.layers,
            // The proxy for models without taps takes names and sizes of every parameter, which is not for every step.
            depth_profile: if self.layers.is_empty() { None } else { self.depth_profile() },
        }
    }
}

impl State {
    /// Judges a reading; writes and says what is new or worse.
    pub(super) fn diagnose(&mut self, reading: &Reading, learning_rate: f64) {
        let Some(diagnosis) = &mut self.diagnosis else { return };
        let subject = Subject { config: &self.config, classes: self.classes.len() };
        for finding in diagnosis.judge(&reading.observe(learning_rate), &subject) {
            self.recorder.finding(reading.step, &finding);
            if finding.severity.stops(self.config.diagnosis.stop_at) {
                self.stop_for.get_or_insert(finding.rule);
            }
            // What was skipped is said where the run may end by it.
            if finding.rule != RuleName::NonFinite {
                tracing::warn!("{finding}");
            }
        }
    }
}
