//! What a checkpoint holds, in one literal.

use std::collections::BTreeMap;

use super::CheckpointName;
use crate::{
    disk::NamedTensors,
    events::{LogPosition, PendingPosition},
};

pub(super) const MODEL_FILE: &str = "model.safetensors";
pub(super) const EMA_FILE: &str = "ema.safetensors";
pub(super) const OPTIMIZER_FILE: &str = "optimizer.safetensors";
pub(super) const TRAINING_FILE: &str = "training.safetensors";
/// The files of tensors, in the order of [`Contents`].
pub(super) const TENSOR_FILES: [&str; 4] = [MODEL_FILE, EMA_FILE, OPTIMIZER_FILE, TRAINING_FILE];
pub(super) const HOST_FILE: &str = "host.json";
pub(super) const CONFIG_FILE: &str = "config.toml";

/// Everything that a run needs to go on as if it had never stopped. `H` is what it knows on the host, beside its tensors.
#[derive(Default)]
pub struct Contents<H> {
    /// Where in the run this is.
    pub name: CheckpointName,
    /// Wall time that the run has used, over all its sessions.
    pub elapsed_secs: f64,
    /// Validation figures of the evaluation at this very step, by name: for `keep_best`. Empty where there was none.
    pub metrics: BTreeMap<String, f64>,
    /// The whole experiment, as TOML.
    pub config: String,
    /// Weights and buffers, by the names of torch's `state_dict`.
    pub model: NamedTensors,
    /// The average of the weights, by the same names.
    pub ema: NamedTensors,
    /// Moments and step counts.
    pub optimizer: NamedTensors,
    /// All other tensors: clipper, loss scale, generators, sums of the running epoch.
    pub training: NamedTensors,
    /// Counters and histories.
    pub host: H,
    /// Logs that nothing is written to any more.
    pub finished_logs: Vec<LogPosition>,
    /// Logs that are being written, at the place that belongs to this step.
    pub logs: Vec<PendingPosition>,
}

impl<H> Contents<H> {
    /// The tensors of each of [`TENSOR_FILES`].
    pub(super) fn tensors(&self) -> [&NamedTensors; 4] {
        [&self.model, &self.ema, &self.optimizer, &self.training]
    }
}
