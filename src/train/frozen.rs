//! What is not trained: parameters of frozen groups, all but the head in the first epochs, and statistics that are kept.

use tch::Tensor;

use super::TrainError;
use crate::{
    config::{Config, ModelConfig, OptimizerConfig},
    model::{Network, Parameter},
};

/// Names that a message has room for.
const MOST_NAMES: usize = 12;

/// The first of these names, and how many there are beside them.
fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let told = names[..names.len().min(MOST_NAMES)].join(", ");
    match names.len() {
        0 => "none: the model has none".into(),
        1..=MOST_NAMES => told,
        count => format!("{told} and {} more", count - MOST_NAMES),
    }
}

/// Each pattern is to name batch normalization that there is.
pub(super) fn check_kept_statistics(config: &Config, network: &Network) -> Result<(), TrainError> {
    let layers: Vec<&str> =
        network.parameters.buffers().filter_map(|buffer| buffer.name.as_str().strip_suffix(".running_mean")).collect();
    let fits_none = |pattern: &&String| {
        let alone = ModelConfig { freeze_batch_norm_statistics: vec![(*pattern).clone()], ..config.model.clone() };
        !layers.iter().any(|layer| alone.keeps_statistics(layer))
    };
    match config.model.freeze_batch_norm_statistics.iter().find(fits_none) {
        None => Ok(()),
        Some(pattern) => {
            let names = some_of(layers.into_iter());
            Err(TrainError::NoSuchStatistics { pattern: pattern.clone(), names })
        }
    }
}

/// Whether the head alone is trained in this epoch, from 0.
pub(super) fn is_head_alone(config: &OptimizerConfig, epoch: u64) -> bool {
    epoch < config.head_only_epochs
}

/// Parameters whose gradient was taken away and comes back.
#[derive(Debug, Default)]
pub(super) struct HeldBack(Vec<Tensor>);

impl HeldBack {
    /// Takes the gradient from parameters of frozen groups, and for a while from all but the head.
    pub(super) fn freeze(config: &Config, network: &Network) -> Result<Self, TrainError> {
        for group in &config.optimizer.groups {
            let fits = |name: &str| group.has(name);
            let mut found = false;
            for parameter in network.parameters.trainable().filter(|parameter| fits(parameter.name.as_str())) {
                found = true;
                if group.freeze {
                    let _ = parameter.tensor.f_set_requires_grad(false)?;
                }
            }
            if !found {
                let names = some_of(network.parameters.trainable().map(|parameter| parameter.name.as_str()));
                return Err(TrainError::NoSuchParameters { patterns: group.parameters.join(", "), names });
            }
        }
        let trained = || network.parameters.trainable().filter(|parameter| parameter.tensor.requires_grad());
        if trained().next().is_none() {
            return Err(TrainError::NothingToTrain);
        }
        if !is_head_alone(&config.optimizer, 0) {
            return Ok(Self::default());
        }
        let head = network.model.head();
        let is_of_head = |parameter: &Parameter| parameter.name.layer() == head;
        if !trained().any(is_of_head) {
            return Err(TrainError::NoHead);
        }
        let held_back: Vec<Tensor> = trained()
            .filter(|parameter| !is_of_head(parameter))
            .map(|parameter| parameter.tensor.shallow_clone())
            .collect();
        held_back.iter().try_for_each(|tensor| tensor.f_set_requires_grad(false).map(|_| ()))?;
        Ok(Self(held_back))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives their gradient back. Returns how many parameters that are.
    pub(super) fn release(&mut self) -> Result<usize, TrainError> {
        let released = std::mem::take(&mut self.0);
        released.iter().try_for_each(|tensor| tensor.f_set_requires_grad(true).map(|_| ()))?;
        Ok(released.len())
    }
}
