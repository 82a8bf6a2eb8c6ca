//! The training loop: forward, backward, measure, clip, step, write.

mod aside;
mod between;
mod buffers;
mod checkpoints;
mod confusion;
mod confusion_table;
mod dashboard;
mod data_identity;
mod diagnose;
mod early_stopping;
mod error;
mod evaluate;
mod explanations;
mod facts;
mod fitting;
mod frozen;
mod gradients;
mod guesses;
mod host_state;
mod kernel_choice;
mod look;
mod loss;
mod messenger;
mod metrics;
mod metrics_json;
mod model_interface;
mod numerics;
mod pictures;
mod progress;
mod reading;
mod recent;
mod recorder;
mod run_clock;
mod setup;
mod skips;
mod state;
mod step_events;
mod stop;
mod summary;
mod tally;
mod threads;
mod threshold_counts;
mod trained;

pub use buffers::Buffers;
pub use checkpoints::{Resume, loaded_config};
pub use confusion::{Cell, ClassCounts, Confusion};
pub use early_stopping::{Best, EarlyStopping};
pub use error::TrainError;
pub use evaluate::{evaluate, evaluate_with_curves};
pub use gradients::Gradients;
pub use host_state::HostState;
pub use look::Look;
pub use loss::Loss;
use messenger::Messenger;
pub use metrics::{ClassMetrics, Metrics};
pub use numerics::Numerics;
pub use progress::Progress;
pub use reading::Reading;
pub use recent::RecentSteps;
pub use recorder::{EXPLANATIONS, Recorder};
pub use setup::{Prepared, prepare, prepare_to_resume};
pub use state::{Ending, State};
pub use stop::{PREEMPTED, StopSignal};
pub use summary::Summary;
pub use tally::Tally;
pub use threshold_counts::ThresholdCounts;

use crate::{libtorch::clear_grads, model::Pass};

/// Trains until the run ends, `stop` has a signal, or an error occurs.
///
/// # Errors
/// See [`TrainError`].
pub fn train(state: &mut State, stop: &StopSignal) -> Result<Ending, TrainError> {
    stop.begin();
    // A run that was stopped between two steps may have unfinished work there.
    if let Some(ending) = state.settle(stop)? {
        return Ok(ending);
    }
    loop {
        let mut batches = state.start_epoch();
        while let Some(group) = state.next_group(&mut batches, stop)? {
            // Decide which statistics this step measures.
            let due = state.start_step(&group)?;

            // Micro-batches: each adds its part of the mean over the whole group. The hooks fire inside backward.
            state.buffers.save()?;
            let group_weight = state.loss.weight_of_group(&group);
            for batch in &group {
                let (images, labels) = state.numerics.to_device(batch)?;
                let (logits, loss_sum) = {
                    let _autocast = state.numerics.enter()?;
                    let tap = state.gradients.tap();
                    let pass = Pass::training();
                    let logits =
                        state.network.forward(&images, &if due.layers { pass.with_tap(&tap) } else { pass })?;
                    let loss_sum = state.loss.sum(&logits, &labels)?;
                    (logits, loss_sum)
                };
                state.gradients.backward(&loss_sum.f_div_scalar(group_weight)?, batch.labels.len())?;
                state.tally.add(&logits, &labels, &loss_sum, state.loss.weight_of(&batch.labels))?;
            }

            // Measure the gradients after removing a float16 loss scale. The statistics stay on the device.
            state.gradients.unscale()?;
            let measurement = state.gradients.measure(due)?;
            let clip = state.clip(&measurement.grads)?;

            // A non-finite gradient or update never reaches the weights.
            let rates = state.rates()?;
            let (update, not_taken) = state.take_step(rates, due, &clip)?;
            state.finish_update(&not_taken)?;

            // Device sync here, on tracked steps only: one copy to the host.
            let reading = if due.reading { Some(state.read(due, measurement, &clip, update)?) } else { None };
            clear_grads(state.gradients.params())?;

            // Write; then evaluate, save a checkpoint, and end, each when due.
            state.record_step(rates, due, reading, &group)?;
            state.step += 1;
            if let Some(ending) = state.settle(stop)? {
                return Ok(ending);
            }
        }
        state.finish_epoch(stop)?;
        if let Some(ending) = state.settle(stop)? {
            return Ok(ending);
        }
    }
}
