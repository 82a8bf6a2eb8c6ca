//! The training loop and nothing else: forward, backward, look, clip, step, write.

mod buffers;
mod early_stopping;
mod error;
mod evaluate;
mod loss;
mod metrics;
mod progress;
mod reading;
mod recorder;
mod setup;
mod state;
mod stop;
mod summary;
mod tally;

pub use buffers::Buffers;
pub use early_stopping::{Best, EarlyStopping};
pub use error::TrainError;
pub use evaluate::evaluate;
pub use loss::Loss;
pub use metrics::{ClassMetrics, Metrics};
pub use progress::Progress;
pub use reading::{Gradients, Reading};
pub use recorder::Recorder;
pub use setup::{Prepared, prepare};
pub use state::{Ending, State};
pub use stop::StopSignal;
pub use summary::Summary;
pub use tally::Tally;

use crate::{clipping::ClipOutcome, config::ClippingMode, libtorch::clear_grads, model::Pass, optim::StepControl};

/// Trains until the run ends, `stop` asks for it, or an error makes going on impossible.
///
/// # Errors
/// See [`TrainError`].
pub fn train(state: &mut State, stop: &StopSignal) -> Result<Ending, TrainError> {
    loop {
        let mut batches = state.start_epoch();
        while let Some(group) = state.next_group(&mut batches)? {
            // Learning rate and momentum of this step; is it tracked?
            let rates = state.schedule.at(state.step);
            let is_tracked = state.is_tracked();

            // Micro-batches: each adds its share of the mean over the whole group. The hooks fire inside backward.
            state.buffers.save()?;
            let group_weight = state.loss.weight_of_group(&group);
            for batch in &group {
                let (images, labels) = state.to_device(batch)?;
                let logits = state.network.forward(&images, &Pass::training())?;
                let loss_sum = state.loss.sum(&logits, &labels)?;
                let loss = loss_sum.f_div_scalar(group_weight)?;
                loss.f_backward()?;
                state.tally.add(&logits, &labels, &loss_sum, state.loss.weight_of(&batch.labels))?;
                state.gradients.add_loss(&loss)?;
            }

            // The gradients as backward left them: norms that stay on the device.
            let measurement = state.gradients.measure(is_tracked)?;
            let clip = match state.config.clipping.mode {
                ClippingMode::None => ClipOutcome::unclipped(&measurement)?,
                ClippingMode::Norm => ClipOutcome::by_norm(&measurement, state.config.clipping.max_norm)?,
            };
            state.gradients.count_skips(&clip.found_inf)?;

            // Device sync here, on tracked steps only: loss, norms and skips come to the host in one copy.
            let reading =
                if is_tracked { Some(state.gradients.read(&measurement, &clip, &state.tally)?) } else { None };

            // Clipping and the skip of a non-finite step happen inside the fused kernel.
            let grad_scale = clip.grad_scale()?;
            let control = StepControl { grad_scale: grad_scale.as_ref(), found_inf: Some(&clip.found_inf) };
            state.optimizer.step(rates, &control)?;
            state.buffers.restore_where(&clip.found_inf)?;
            clear_grads(state.gradients.params())?;

            // Write; evaluate when due; end when due.
            state.record_step(rates, reading)?;
            state.step += 1;
            let ending = state.ending(stop);
            if state.should_evaluate(ending) {
                state.evaluate(stop)?;
            }
            if let Some(ending) = ending.or_else(|| state.early_stopping()) {
                return Ok(ending);
            }
        }
        if let Some(ending) = state.finish_epoch(stop)? {
            return Ok(ending);
        }
    }
}
