//! Steps that were not taken: what was wrong with them, and when a run can take no more of them.

use super::{Reading, State, TrainError};
use crate::{
    config::{ClippingMode, NonFinite, Precision},
    data::Batch,
};

/// What became of steps whose gradient was not finite.
fn did(policy: NonFinite) -> &'static str {
    match policy {
        NonFinite::Skip | NonFinite::Stop => "skipped, the weights are untouched",
        NonFinite::Zero => "taken with 0 in its place, or skipped where the squares of all are beyond f32",
    }
}

impl State {
    /// Where the step first went wrong: looked for by a replay on the first bad step in a row, and not on those that
    /// repeat it.
    pub(super) fn culprit(&mut self, reading: &Reading, group: &[Batch]) -> Result<Option<String>, TrainError> {
        let Some(gradients) = &reading.gradients else { return Ok(None) };
        let is_of_update = self.gradients.rejected()?.is_some();
        let origin = if reading.skipped_in_a_row == 1 && !is_of_update { self.replay(group)? } else { None };
        let micro_batch = reading.bad_micro_batch.map(|index| format!(" of micro-batch {index}")).unwrap_or_default();
        Ok(Some(match (origin, gradients.first_non_finite()) {
            (Some(origin), _) => {
                self.recorder.origin(reading.step, &origin);
                origin.to_string()
            }
            (None, Some(first)) => format!("the gradient of {}{micro_batch}", first.name),
            (None, None) => "none alone (the squares of all together are beyond f32)".into(),
        }))
    }

    /// Where no reading is due by itself, ends a run as soon as the host has heard of too many steps that were not taken. Device
    /// sync here, after such steps alone.
    pub(super) fn judge_unread_skips(&mut self) -> Result<(), TrainError> {
        let is_read = self.config.monitor.every_steps > 0;
        if is_read || self.skips_heard_of < self.most_skips() {
            return Ok(());
        }
        let skips = self.gradients.read_skips()?;
        self.judge_skips(skips, None)
    }

    /// Steps in a row that may not be taken before the run ends.
    fn most_skips(&self) -> u64 {
        let config = &self.config.optimizer;
        if config.non_finite == NonFinite::Stop { 1 } else { config.max_skipped_steps }
    }

    /// Says which steps were skipped since the last look, and ends a run that can take no more.
    pub(super) fn judge_skips(
        &mut self,
        [skipped, in_a_row]: [u64; 2],
        culprit: Option<String>,
    ) -> Result<(), TrainError> {
        let step = self.step;
        let count = skipped.saturating_sub(self.skipped_steps);
        self.skipped_steps = skipped;
        // Device sync here, after such steps alone.
        let rejected = if count > 0 { self.gradients.rejected()? } else { None };
        let remedy = self.remedy(rejected.is_some());
        let parameter = culprit.unwrap_or_else(|| "a parameter that no reading saw".into());
        match &rejected {
            _ if count == 0 => {}
            Some(parameter) => tracing::warn!(
                "step {step}: a finite gradient gave an update that is not finite in {parameter} ({count} step(s) not taken \
                 since the last look); everything is as before the step; {remedy}"
            ),
            None if in_a_row == 0 && self.gradients.scaler().is_some() => tracing::info!(
                "step {step}: {count} step(s) were skipped, whose gradients the float16 loss scale had made too large; it is \
                 halved until they fit"
            ),
            None => {
                let done = did(self.config.optimizer.non_finite);
                tracing::warn!(
                    "step {step}: {count} step(s) with a gradient that was not finite, first in {parameter}; {done}; if it \
                     happens again look at the data, {remedy}"
                );
            }
        }
        match rejected {
            _ if in_a_row < self.most_skips() => Ok(()),
            Some(parameter) => Err(TrainError::NonFiniteUpdate { step, in_a_row, parameter, remedy }),
            None => Err(TrainError::NonFinite { step, in_a_row, parameter, remedy }),
        }
    }

    /// What may help, without what is done already.
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
        if remedies.is_empty() { "look at the data and the weights".into() } else { remedies.join(" or ") }
    }
}
