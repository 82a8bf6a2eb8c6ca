//! Readings and evaluations as the rules of a diagnosis see them.

use super::{Metrics, Reading, State};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Finding, Observation, Subject},
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
            weights: &self.weights,
            updates: &self.updates,
            layers: &self.layers,
            // The proxy for models without taps takes names and sizes of every parameter, which is not for every step.
            depth_profile: if self.layers.is_empty() { None } else { self.depth_profile() },
            previous_cosine: self.previous_cosine,
            wait_fraction: None,
        }
    }
}

impl State {
    /// Judges a reading; writes and says what is new or worse.
    pub(super) fn diagnose(&mut self, reading: &Reading, learning_rate: f64) {
        let wait_fraction = Some(self.clock.wait_fraction());
        let Some(diagnosis) = &mut self.diagnosis else { return };
        let subject = Subject { config: Some(&self.config), facts: &self.facts };
        let news = diagnosis.judge(&Observation { wait_fraction, ..reading.observe(learning_rate) }, &subject);
        self.tell(reading.step, news);
    }

    /// Judges an evaluation; writes and says what is new or worse.
    pub(super) fn diagnose_evaluation(&mut self, train: &Metrics, validation: &Metrics) {
        let Some(diagnosis) = &mut self.diagnosis else { return };
        let subject = Subject { config: Some(&self.config), facts: &self.facts };
        let seen = Evaluation {
            step: self.step,
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
        };
        let news = diagnosis.judge_evaluation(&seen, &subject);
        self.tell(self.step, news);
    }

    fn tell(&mut self, step: u64, news: Vec<Finding>) {
        for finding in news {
            self.recorder.finding(step, &finding);
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
