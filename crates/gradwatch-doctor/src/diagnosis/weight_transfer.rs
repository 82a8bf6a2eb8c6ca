//! What a config change does to the weights of a run that has trained.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Change;
use crate::config::{Config, ModelConfig, Normalization};

/// Effect of a config change on trained weights, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightTransfer {
    /// The weights stay as they are.
    Kept,
    /// The weights stay, and the network gets batch normalization, which starts as the identity.
    Mapped,
    /// The network starts from new weights.
    New,
}

/// Tables of keys that change the training of the same weights.
const SAME_WEIGHTS: [&str; 6] = ["optimizer", "clipping", "schedule", "loss", "ema", "data"];
/// Keys of `[data]` that choose the images, not how they are read. A run keeps its images.
const IMAGES: [&str; 5] = ["data.path", "data.validation_path", "data.split_by", "data.workers", "data.prefetch"];
/// Key of the normalization layers.
const NORMALIZATION: &str = "model.normalization";
/// Keys of `[model]` without weights of their own.
const WITHOUT_WEIGHTS: [&str; 3] = ["model.activation", "model.dropout", "model.freeze_batch_norm_statistics"];

impl Change {
    /// Effect of the change on the trained weights of a run with `config`. `None` if it is advice, or does not change
    /// training.
    pub fn weight_transfer(&self, config: &Config) -> Option<WeightTransfer> {
        let key = self.key()?;
        let is_one_of = |keys: &[&str]| keys.contains(&key);
        match key.split('.').next()? {
            _ if is_one_of(&IMAGES) => None,
            table if SAME_WEIGHTS.contains(&table) => Some(WeightTransfer::Kept),
            "model" if is_one_of(&WITHOUT_WEIGHTS) => Some(WeightTransfer::Kept),
            "model" => {
                let is_insertion = |changed: Config| inserts_batch_norm(&config.model, &changed.model);
                let is_mapped = key == NORMALIZATION && self.apply_to(config).is_ok_and(is_insertion);
                Some(if is_mapped { WeightTransfer::Mapped } else { WeightTransfer::New })
            }
            _ if key == "run.precision" => Some(WeightTransfer::Kept),
            _ => None,
        }
    }
}

/// Whether a change of the model inserts batch normalization, which scale and shift can undo, into a network without
/// normalization.
pub fn inserts_batch_norm(before: &ModelConfig, after: &ModelConfig) -> bool {
    [before.normalization, after.normalization] == [Normalization::None, Normalization::Batch]
}

impl fmt::Display for WeightTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "keeps the weights",
            Self::Mapped => "keeps the weights and adds layers",
            Self::New => "needs new weights",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_or_renews_the_weights_or_does_not_change_training() {
        let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"cnn\"";
        let config = |more: &str| Config::parse(&format!("{toml}\n{more}"), "test").unwrap();
        let plain = config("");
        let batch = Change::from("model.normalization = \"batch\"");
        let grouped = config("model.normalization = \"group\"");
        assert_eq!(batch.weight_transfer(&grouped), Some(WeightTransfer::New), "it has other layers");
        for (change, want) in [
            ("optimizer.learning_rate = 0.1", Some(WeightTransfer::Kept)),
            ("clipping.agc.clip_factor = 0.02", Some(WeightTransfer::Kept)),
            ("data.normalize = \"computed\"", Some(WeightTransfer::Kept)),
            ("run.precision = \"bf16\"", Some(WeightTransfer::Kept)),
            ("model.activation = \"relu\"", Some(WeightTransfer::Kept)),
            ("model.normalization = \"batch\"", Some(WeightTransfer::Mapped)),
            ("model.normalization = \"group\"", Some(WeightTransfer::New)),
            ("model.initialization = \"orthogonal\"", Some(WeightTransfer::New)),
            ("model.depth = 4", Some(WeightTransfer::New)),
            ("data.path = \"images\"", None),
            ("early_stopping.patience = 3", None),
            ("run.max_epochs = 3", None),
            ("check the labels", None),
        ] {
            assert_eq!(Change::from(change).weight_transfer(&plain), want, "{change}");
        }
    }
}
