//! Passes tracked steps and evaluations to the rules, and handles their findings.

use super::{Metrics, Reading, State, facts::lost_images};
use crate::{
    config::RuleName,
    diagnosis::{Alarm, Evaluation, Finding, Observation, Subject},
};

impl Reading {
    /// Converts the reading to the input of the rules.
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
            depth_profile: self.depth_profile.clone(),
            previous_cosine: self.previous_cosine,
            wait_fraction: None,
        }
    }
}

impl State {
    /// Checks a tracked step. Writes and logs findings that are new or got worse.
    pub(super) fn diagnose(&mut self, reading: &Reading, learning_rate: f64) {
        let wait_fraction = Some(self.clock.wait_fraction());
        let Some(diagnosis) = &mut self.diagnosis else { return };
        let subject = Subject { config: Some(&self.config), facts: &self.facts };
        let seen = Observation { wait_fraction, ..reading.observe(learning_rate) };
        let news = diagnosis.judge(&seen, &subject);
        let alarms = self.rule_sets.iter_mut().flat_map(|rules| rules.judge(&seen, &subject)).collect();
        self.tell(reading.step, news);
        self.tell_alarms(alarms);
    }

    /// Checks an evaluation. Writes and logs findings that are new or got worse.
    pub(super) fn diagnose_evaluation(&mut self, train: &Metrics, validation: &Metrics) {
        let lost = lost_images(&self.training, &self.validation);
        if lost != self.facts.lost_images {
            self.recorder.lost_images(self.step, &lost);
            self.facts.lost_images = lost;
        }
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
        let alarms = self.rule_sets.iter_mut().flat_map(|rules| rules.judge_evaluation(&seen, &subject)).collect();
        self.tell(self.step, news);
        self.tell_alarms(alarms);
        self.dump_if_asked();
    }

    /// Reports alarms of other rule sets. They trigger no action.
    fn tell_alarms(&mut self, alarms: Vec<Alarm>) {
        for alarm in alarms {
            self.recorder.alarm(&alarm);
            tracing::info!("{alarm}");
        }
    }

    fn tell(&mut self, step: u64, news: Vec<Finding>) {
        for finding in news {
            self.recorder.finding(step, &finding);
            if self.config.diagnosis.stop_at.includes(finding.severity) {
                self.stop_for.get_or_insert(finding.rule);
            }
            self.act(step, &finding);
            // `judge_skips` already logs skipped steps.
            if finding.rule != RuleName::NonFinite {
                tracing::warn!("{finding}");
            }
        }
    }

    /// Writes the last tracked steps if a finding asked for it.
    pub(super) fn dump_if_asked(&mut self) {
        if std::mem::take(&mut self.is_dump_asked_for)
            && let Err(error) = self.recent.write()
        {
            self.recorder.failed(&error);
        }
    }

    /// Runs the configured actions for a finding.
    fn act(&mut self, step: u64, finding: &Finding) {
        for action in self.config.diagnosis.actions.clone() {
            if !action.answers(finding.rule.name(), finding.severity) {
                continue;
            }
            if action.stop {
                self.stop_for.get_or_insert(finding.rule);
            }
            self.is_checkpoint_asked_for |= action.checkpoint;
            self.is_dump_asked_for |= action.dump;
            let run = self.recorder.folder().path().display().to_string();
            let told = serde_json::json!({ "run": run, "step": step, "finding": finding }).to_string();
            self.messenger.send(&action, &told);
        }
    }
}
