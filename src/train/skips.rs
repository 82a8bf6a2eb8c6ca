//! Skipped steps: finds their cause, and ends the run if there are too many.

use super::{State, TrainError, group::Group};
use crate::{
    config::{ClippingMode, NonFinite, Precision},
    number::count as plural,
    recording::Reading,
};

/// Describes the handling of steps with a non-finite gradient.
fn handling_of(policy: NonFinite) -> &'static str {
    match policy {
        NonFinite::Skip | NonFinite::Stop => "skipped, so the weights did not change",
        NonFinite::Zero => "taken with these values set to 0, or skipped if the total norm overflows f32",
    }
}

impl State {
    /// Finds the first non-finite value of the step. Replays only the first of several consecutive bad steps.
    pub(super) fn find_non_finite(&mut self, reading: &Reading, group: &Group) -> Result<Option<String>, TrainError> {
        let Some(gradients) = &reading.gradients else { return Ok(None) };
        let is_of_update = self.gradients.rejected()?.is_some();
        let origin = if reading.skipped_in_a_row == 1 && !is_of_update { self.replay(group)? } else { None };
        let micro_batch = reading.bad_micro_batch.map(|index| format!(" of micro-batch {index}")).unwrap_or_default();
        Ok(Some(match (origin, gradients.first_non_finite()) {
            (Some(origin), _) => {
                if let Some(recorder) = &mut self.output.recorder {
                    recorder.origin(reading.step, &origin);
                }
                origin.to_string()
            }
            (None, Some(first)) => format!("the gradient of {}{micro_batch}", first.name),
            (None, None) => "no single parameter (the total norm overflows f32)".into(),
        }))
    }

    /// Ends the run once the host knows of too many bad steps in a row that were not tracked. Device sync, but only after
    /// bad steps.
    pub(super) fn judge_unread_skips(&mut self) -> Result<(), TrainError> {
        if self.optimization.bad_in_a_row < self.most_skips() {
            return Ok(());
        }
        let skips = self.gradients.read_skips()?;
        self.judge_skips(skips, None)
    }

    /// Number of consecutive skipped steps that ends the run.
    fn most_skips(&self) -> u64 {
        let config = &self.config.optimizer;
        if config.non_finite == NonFinite::Stop { 1 } else { config.max_skipped_steps }
    }

    /// Reports the steps skipped since the last check, and ends the run if there are too many in a row.
    pub(super) fn judge_skips(
        &mut self,
        [skipped, in_a_row]: [u64; 2],
        culprit: Option<String>,
    ) -> Result<(), TrainError> {
        let step = self.counters.step;
        let count = skipped.saturating_sub(self.counters.skipped_steps);
        self.counters.skipped_steps = skipped;
        // Device sync, but only after skipped steps.
        let rejected = if count > 0 { self.gradients.rejected()? } else { None };
        let remedy = self.remedy(rejected.is_some());
        let parameter = culprit.unwrap_or_else(|| "an unknown parameter (the step was not tracked)".into());
        match &rejected {
            _ if count == 0 => {}
            Some(parameter) => tracing::warn!(
                "step {step}: a finite gradient gave an update that is not finite in {parameter}; skipped {} \
                 since the last check, so the weights and the optimizer did not change; {remedy}",
                plural(count, "step")
            ),
            None if in_a_row == 0 && self.gradients.scaler().is_some() => tracing::info!(
                "step {step}: skipped {} because the float16 loss scale made the gradients overflow; gradwatch \
                 halves it until they fit",
                plural(count, "step")
            ),
            None => {
                let handling = handling_of(self.config.optimizer.non_finite);
                tracing::warn!(
                    "step {step}: {} had a gradient that was not finite, first in {parameter}; {handling}; if this \
                     happens again, check the data, or {remedy}",
                    plural(count, "step")
                );
            }
        }
        match rejected {
            _ if in_a_row < self.most_skips() => Ok(()),
            Some(parameter) => Err(TrainError::NonFiniteUpdate { step, in_a_row, parameter, remedy }),
            None => {
                let weights = match self.config.optimizer.non_finite {
                    NonFinite::Skip | NonFinite::Stop => "the weights are those of the last finite step",
                    NonFinite::Zero => "the steps were taken with these values set to 0",
                };
                Err(TrainError::NonFinite { step, in_a_row, parameter, weights, remedy })
            }
        }
    }

    /// Recommended changes, without those already in effect.
    fn remedy(&self, is_of_update: bool) -> String {
        let optimizer = &self.config.optimizer;
        let has_decay = optimizer.weight_decay > 0.0;
        let is_clipped = self.config.clipping.mode != ClippingMode::None;
        let is_half = self.config.run.precision == Precision::Fp16;
        let remedies = [
            (optimizer.learning_rate > 0.0, "lower optimizer.learning_rate"),
            (is_of_update && has_decay, "lower optimizer.weight_decay"),
            (!is_of_update && !is_clipped, "set clipping.mode = \"norm\""),
            (!is_of_update && is_half, "set run.precision = \"bf16\", which has the range of fp32"),
        ];
        let remedies: Vec<&str> = remedies.into_iter().filter_map(|(helps, remedy)| helps.then_some(remedy)).collect();
        if remedies.is_empty() { "check the data and the weights".into() } else { remedies.join(" or ") }
    }
}
