//! Handles untrained state: parameters of frozen groups, all but the head in the first epochs, and frozen statistics.

use tch::Tensor;

use super::TrainError;
use crate::{
    config::{Config, ModelConfig, OptimizerConfig},
    model::{Network, Parameter},
};

/// Most names in a message.
const MOST_NAMES: usize = 12;

/// Lists the first names and the number of the others.
fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let first = names[..names.len().min(MOST_NAMES)].join(", ");
    match names.len() {
        0 => "none (the model has none)".into(),
        1..=MOST_NAMES => first,
        count => format!("{first} and {} more", count - MOST_NAMES),
    }
}

/// Checks that each pattern of `model.freeze_batch_norm_statistics` matches a batch normalization.
pub(super) fn check_kept_statistics(config: &Config, network: &Network) -> Result<(), TrainError> {
    let layers: Vec<&str> = network.parameters.batch_norms().collect();
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

/// Whether only the head is trained in this epoch (counted from 0).
pub(super) fn is_head_alone(config: &OptimizerConfig, epoch: u64) -> bool {
    epoch < config.head_only_epochs
}

/// Parameters outside the head that are frozen for the first epochs and released later.
#[derive(Debug, Default)]
pub(super) struct FrozenBackbone(Vec<Tensor>);

impl FrozenBackbone {
    /// Freezes the parameters of frozen groups for good, and all but the head for the first epochs.
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
        let backbone: Vec<Tensor> = trained()
            .filter(|parameter| !is_of_head(parameter))
            .map(|parameter| parameter.tensor.shallow_clone())
            .collect();
        backbone.iter().try_for_each(|tensor| tensor.f_set_requires_grad(false).map(|_| ()))?;
        Ok(Self(backbone))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Releases the parameters and returns their number.
    pub(super) fn release(&mut self) -> Result<usize, TrainError> {
        let released = std::mem::take(&mut self.0);
        released.iter().try_for_each(|tensor| tensor.f_set_requires_grad(true).map(|_| ()))?;
        Ok(released.len())
    }
}
