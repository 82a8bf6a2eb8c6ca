//! Changes that a repair may try.

use super::Setting;
use crate::{
    config::Config,
    diagnosis::{Remedy, WeightTransfer},
};

/// A change that a repair may try.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The change, and its effect.
    pub remedy: Remedy,
    /// The config keys that it sets.
    pub settings: Vec<Setting>,
    /// What it does to the weights.
    pub weights: WeightTransfer,
}

impl Proposal {
    /// Checks a recommended change: it must be a config line that `repair.allow` allows, that changes training, and that
    /// gives a valid config. `None` otherwise.
    pub fn of(remedy: &Remedy, config: &Config) -> Option<Self> {
        let weights = remedy.change.weight_transfer()?;
        let settings = Setting::of(&remedy.change, config).ok()?;
        let is_allowed = |key: &str| config.repair.allows(key);
        let all_are_allowed =
            remedy.change.key().is_some_and(is_allowed) || settings.iter().all(|setting| is_allowed(&setting.key));
        (!settings.is_empty() && all_are_allowed).then(|| Self { remedy: remedy.clone(), settings, weights })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_allowed_changes_training_and_is_new() {
        let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"";
        let parse = |more: &str| Config::parse(&format!("{toml}\n{more}"), "test").unwrap();
        let proposed = |change: &str, more: &str| {
            let remedy = Remedy { change: change.into(), why: "it helps".into() };
            let config = parse(&format!("optimizer.learning_rate = 0.1\n{more}"));
            Proposal::of(&remedy, &config)
        };
        let all = "repair.allow = [\"*\"]";
        let rate = proposed("optimizer.learning_rate = 0.01", "").unwrap();
        let setting =
            Setting { key: "optimizer.learning_rate".into(), before: Some("0.1".into()), after: Some("0.01".into()) };
        assert_eq!((rate.settings, rate.weights), (vec![setting], WeightTransfer::Kept));
        assert_eq!(proposed("model.initialization = \"orthogonal\"", "").unwrap().weights, WeightTransfer::New);
        assert!(proposed("model.initialization = \"orthogonal\"", "repair.allow = [\"optimizer.*\"]").is_none());
        let whole = "repair.allow = [\"model.initialization.method\"]";
        assert!(proposed("model.initialization = \"orthogonal\"", whole).is_some());
        assert!(proposed("model.activation = \"tanh\"", "").is_none(), "it is another network");
        assert!(proposed("model.activation = \"tanh\"", all).is_some());
        assert!(proposed("optimizer.learning_rate = 0.1", all).is_none(), "it changes nothing");
        assert!(proposed("early_stopping.patience = 3", all).is_none(), "it does not change training");
        assert!(proposed("check the labels", all).is_none());
    }
}
