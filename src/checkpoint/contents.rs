//! The contents of a checkpoint.

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
/// The tensor files, in the order of [`Contents`].
pub(super) const TENSOR_FILES: [&str; 4] = [MODEL_FILE, EMA_FILE, OPTIMIZER_FILE, TRAINING_FILE];
pub(super) const HOST_FILE: &str = "host.json";
pub(super) const CONFIG_FILE: &str = "config.toml";

/// Everything a run needs to resume bit for bit. `H` is its state on the host, in addition to the tensors.
#[derive(Default)]
pub struct Contents<H> {
    /// Position in the run.
    pub name: CheckpointName,
    /// Wall time used by the run, over all its sessions.
    pub elapsed_secs: f64,
    /// Validation metrics of the evaluation at this step, by name, for `keep_best`. Empty if there was no evaluation at
    /// this step.
    pub metrics: BTreeMap<String, f64>,
    /// The run's config, as TOML.
    pub config: String,
    /// Weights and buffers, under the names of torch's `state_dict`.
    pub model: NamedTensors,
    /// Average of the weights, under the same names.
    pub ema: NamedTensors,
    /// Moments and step counts.
    pub optimizer: NamedTensors,
    /// All other tensors: clipper, loss scale, random generators, sums of the current epoch.
    pub training: NamedTensors,
    /// Counters and histories.
    pub host: H,
    /// Logs that are no longer written to.
    pub finished_logs: Vec<LogPosition>,
    /// Logs that are still written to, with their positions at this step.
    pub logs: Vec<PendingPosition>,
}

impl<H> Contents<H> {
    /// The tensors of each of [`TENSOR_FILES`].
    pub(super) fn tensors(&self) -> [&NamedTensors; 4] {
        [&self.model, &self.ema, &self.optimizer, &self.training]
    }
}
